"""How the model server of the tests answers a request, and what it saw of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Plan:
    """How to answer one request. The default is a short and healthy answer."""

    events: int = 5
    """Content events of a streamed answer."""
    gap_ms: float = 0.0
    """Pause before every event but the first."""
    first_byte_ms: float = 0.0
    """Pause before the head of the answer."""
    first_event_ms: float = 0.0
    """Pause between the head and the first event."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    """Added to, or in place of, the usual headers."""
    body: bytes | None = None
    """Answer with exactly this, whole; None: an answer shaped like OpenAI's."""
    chunks: tuple[bytes, ...] | None = None
    """Answer with exactly these, one write each, `gap_ms` apart; None: the usual."""
    die_after: int | None = None
    """Cut the connection after so many writes, before the end; 0: after the head. What was written is sure to arrive
    only if there is a gap before the cut."""
    die_at_once: bool = False
    """Cut the connection instead of answering."""
    hang: bool = False
    """Accept the request and never answer."""
    piece_bytes: int = 0
    """Split every write into pieces of so many bytes; 0: do not."""
    done: bool = True
    """End a stream with `data: [DONE]`."""
    before_body: bool = False
    """Answer without reading the request's body."""
    body_bytes: int | None = None
    """Read so much of the request's body and then no more, until the client is gone; None: read it."""
    stamp: bool = False
    """Put `"written_ns"`, the monotonic clock at the write, into every event."""
    lifelike: bool = False
    """Do what the request asks for, as servers with OpenAI's API do; see `support.model_answers`."""


@dataclass(slots=True)
class Seen:
    """One request as it arrived, and what became of its client."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    arrived_s: float
    """Monotonic."""
    body_size_bytes: int = 0
    body_sha256: str = ""
    writes: int = 0
    """Events or chunks handed to the socket so far."""
    finished: bool = False
    """The whole answer was written."""
    gone_s: float | None = None
    """Monotonic time at which the client was found gone before the end; None: it stayed."""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server is through with the request, however it went."""

    def json(self) -> Any:
        """Return the decoded body."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """Return the first header of that name, in any case of letters."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)
