"""The tools that stand beside a node."""

from __future__ import annotations

from typing import Final

PING_BYTES: Final = 32
"""Bytes of one ping, fixed by the protocol."""

PING_COUNT: Final = 5
"""Pings to a peer where `aicn tool ping` is told no number, as many as the reference's tool sends."""

PING_MAX_PEERS: Final = 100
"""Peers pinged by one command: each has a connection, a stream and a line on the screen."""

TOOL_PING_INTERVAL_S: Final = 86_400.0
"""Between the pings by which the host of a tool measures for itself: never again after the first, since a peer
keeps one ping stream of another and would end that of `aicn tool ping`."""

LOAD_MAX_REQUESTS: Final = 1_000_000
"""Requests of one `aicn tool load`: two times of 8 bytes are kept of each, 16 MB."""

LOAD_MAX_CONCURRENCY: Final = 1_000
"""Requests at once of one `aicn tool load`: a process may open 1,024 files where nobody has changed that."""

LOAD_LINE_MAX_BYTES: Final = 1_048_576
"""Longest line of an event stream that is waited for, 1 MiB: an event with an image may be long."""

LOAD_EXAMPLE_MAX_BYTES: Final = 300
"""What is kept of the first answer of each kind that says an error: a sentence."""

HTTP_PROXY_MAX_EXCHANGES: Final = 256
"""Requests under way in one proxy; further ones are told 503. Each holds two sockets or streams and their buffers."""
