"""The HTTP surface: what callers may send, and what is held for them."""

from __future__ import annotations

from typing import Final

JSON_BODY_MAX_BYTES: Final = 33_554_432
"""32 MiB: a chat with several images inline. It is held whole, so that it can be sent to another peer."""

JSON_ANSWER_MAX_BYTES: Final = 67_108_864
"""64 MiB: several images as base64. A JSON answer is held whole, so that a cut one never looks like success."""

SSE_HELD_MAX_BYTES: Final = 65_536
"""Longest unfinished event that is held back; a longer one is passed on in parts. Bounds the copying that a
peer can cause by sending one byte at a time."""

API_MAX_CONNECTIONS: Final = 4_096
"""Open HTTP connections of a listener; beyond it those go that are idle, and while none is the answer is 503."""

PIPELINED_MAX: Final = 16
"""Requests that may wait on one connection behind the one being answered: each takes some 2 KB; no SDK sends any."""

API_KEEPALIVE_S: Final = 75
"""Idle HTTP connections are kept as long as common reverse proxies keep theirs."""

API_HEAD_TIMEOUT_S: Final = 30.0
"""From a connection, or the first byte of a later request, to the end of the request's head."""

OPEN_FILES_MAX: Final = 16_384
"""The process asks its system for so many open files: two listeners at their bound, and as much for all else. Half of
a TLS handshake takes some 60 kB until its time is up, so that more would be room for an attack."""

SHUTDOWN_GRACE_S: Final = 5
"""Requests under way get this long to end before the node goes."""

TLS_HANDSHAKE_TIMEOUT_S: Final = 10.0
"""From a connection to the end of its TLS handshake, which takes some round trips."""

TLS_POLL_S: Final = 5.0
"""How often a node looks whether its certificate was renewed: two calls of the file system."""

LINGER_S: Final = 10.0
"""For what is left of a request's body after its answer, where the connection is to be closed."""

BODY_TIMEOUT_S: Final = 120.0
"""From the head of an HTTP request to the end of its body: 32 MiB over a slow line."""

STALL_TIMEOUT_S: Final = 120.0
"""A reader that takes nothing, or a writer that sends nothing of a message it has begun, for this long is gone: it
must not keep a model busy."""

LIST_DEFAULT_NUMBER: Final = 100
"""Entries in a list when the caller names no number."""

LIST_MAX_NUMBER: Final = 10_000
"""Entries in a list at most."""

UPLOAD_HELD_MAX_BYTES: Final = 2_097_152
"""2 MiB: a photo as phones send it. Up to there an upload is held, so that it can be sent to another peer."""

UPLOAD_TIMEOUT_S: Final = 1_800.0
"""From the held beginning of an upload to its end: the largest that is taken, at 150 KB/s."""

EDIT_ANSWER_HELD_MAX_BYTES: Final = 1_048_576
"""1 MiB: every error fits, and an answer up to there is whole or an error; a longer one is passed on as it comes."""

HELD_MAX_BYTES: Final = 268_435_456
"""256 MiB for the bodies and answers of all requests together: four of the largest answers at once."""

HELD_UNCOUNTED_BYTES: Final = 65_536
"""Of each request so much is not counted, so that large ones never keep small ones out; 256 MiB on all connections."""

SPOOLED_MAX_BYTES: Final = 4_294_967_296
"""4 GiB: what forms of one kind, whose model is named behind a large file, may have on the disk together."""

SPOOL_READ_BYTES: Final = 262_144
"""One read of a form that was put on the disk: large enough that the change of threads does not count."""

PASSED_ERROR_MAX_BYTES: Final = 65_536
"""Of a model server's error that must become an event, since the head has left; only its message is told."""
