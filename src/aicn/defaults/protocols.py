"""What nodes speak: the names of the protocols between them."""

from __future__ import annotations

from typing import Final

PROTOCOL_VERSION: Final = "aicn/0.0.1"
"""Identify's protocol version; the reference sends the same."""

CHAT_PROXY_PROTOCOL: Final = "/chat-proxy/0.0.1"
"""Stream protocol that carries one HTTP exchange."""

INFERENCE_PROTOCOL: Final = "/aicn/inference/0.1.0"
"""Carries what `CHAT_PROXY_PROTOCOL` has no path for. The framing is the same; who speaks that one only would send
such a request to the wrong URL of its model server, and so must be able to refuse it."""

INFERENCE_PROTOCOLS: Final = (CHAT_PROXY_PROTOCOL, INFERENCE_PROTOCOL)
"""Both: what a node that serves models answers."""

KAD_PROTOCOL_SUFFIX: Final = "/kad/1.0.0"
"""Appended to `Routing.ProtocolPrefix`."""

PING_PROTOCOL: Final = "/ipfs/ping/1.0.0"
"""libp2p's ping; every peer speaks it."""

HTTP_PROXY_PROTOCOL: Final = "/proxy-example/0.0.1"
"""Stream protocol of the reference's HTTP proxy: one request, one answer."""

OWN_AGENT: Final = "AIComputingNode@aicn"
"""How identify's agent version of this program begins."""
