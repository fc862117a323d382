"""Reads a streamed answer for what it says of itself: its first content, its end, an error in the middle.

Source of the format: WHATWG HTML, section 9.2 (event streams), and OpenAI's chat completion chunks in `data:`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from aicn import defaults
from aicn.wire.event_stream import DONE
from aicn.wire.json_members import NO_JSON


class _Delta(msgspec.Struct):
    content: Any = None
    reasoning_content: Any = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    text: Any = None


class _Event(msgspec.Struct):
    choices: list[_Choice] = msgspec.field(default_factory=list)
    error: Any = None


_event = msgspec.json.Decoder(_Event)


class EventReader:
    """Follows one event stream.

    Attributes:
        content_events: events that carried words so far. An event of another kind than a chat's counts as one.
        done: whether `data: [DONE]` was seen.
        error: what an error event said; empty if there was none.
    """

    def __init__(self) -> None:
        """Start before the first byte."""
        self.content_events = 0
        self.done = False
        self.error = ""
        self._unfinished = b""

    def feed(self, data: bytes) -> None:
        """Take bytes as they arrive."""
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._take(line[len(b"data:") :].strip())
        if len(self._unfinished) > defaults.LOAD_LINE_MAX_BYTES:
            # Too long to wait for; its rest is no line of its own that begins with `data:`.
            self._unfinished = b""
            self.content_events += 1

    def _take(self, data: bytes) -> None:
        if data == DONE:
            self.done = True
            return
        try:
            event = _event.decode(data)
        except NO_JSON:
            self.content_events += 1
            return
        if event.error is not None:
            said = event.error.get("message", event.error) if isinstance(event.error, dict) else event.error
            self.error = str(said)
        elif any(choice.delta.content or choice.delta.reasoning_content or choice.text for choice in event.choices):
            self.content_events += 1
