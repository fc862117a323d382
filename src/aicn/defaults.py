"""Every default and limit, with its unit in its name and its reason beside it.

Sections follow the layers. A number that a user may change is the default of a configuration field; all
others are limits that keep a queue, a table, a body or a wait bounded.
"""

from __future__ import annotations

from typing import Final

# --- compatibility: fixed by the network that exists ------------------------------------------------------

PROTOCOL_VERSION: Final = "aicn/0.0.1"
"""Identify's protocol version; the reference sends the same."""

CHAT_PROXY_PROTOCOL: Final = "/chat-proxy/0.0.1"
"""Stream protocol that carries one HTTP exchange."""

KAD_PROTOCOL_SUFFIX: Final = "/kad/1.0.0"
"""Appended to `Routing.ProtocolPrefix`."""
