"""One HTTP exchange between two nodes, on one stream."""

from __future__ import annotations

from typing import Final

STREAM_HEAD_TIMEOUT_S: Final = 30.0
"""From an inbound stream to its whole request head: generous for a relayed path, short for an idle attacker."""

STREAM_OPEN_TIMEOUT_S: Final = 10.0
"""Opening a stream takes one round trip on a connection that stands, or a dial where none does."""

STREAM_BUFFER_BYTES: Final = 262_144
"""Bytes held in each direction of a stream; the native core uses the same."""

SERVED_MAX_PER_PEER: Final = 512
"""Requests of one peer that are worked on at once: half of the connections to model servers, others want some."""

INBOUND_STREAMS_MAX: Final = 4_096
"""Inbound streams served at once; further ones are reset."""

LOOPBACK_MAX_STREAMS: Final = 1_024
"""Requests of a node to its own models at once."""

REQUEST_BODY_MAX_BYTES: Final = 268_435_456
"""256 MiB: a large image edit with its mask; streamed through, never held whole by the answering node."""

FORM_BEGINNING_BYTES: Final = 65_536
"""Of a form in which a Worker waits for the model's name before it sends the head on: SDKs write small fields first."""

HTTP_HEAD_MAX_BYTES: Final = 65_536
"""Longest start line and headers of one HTTP message."""

HTTP_MAX_HEADERS: Final = 100
"""Headers of one HTTP message."""
