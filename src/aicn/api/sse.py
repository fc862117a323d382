"""Server-sent events on their way through: bytes unchanged, whole events only, and an honest end.

Source of the format: WHATWG HTML, section 9.2 (event streams): lines end in LF, CRLF or CR; an empty line ends
an event.
"""

from __future__ import annotations

import re

from aicn import defaults

_DONE = re.compile(rb"[\r\n]data: ?\[DONE\][\r\n]*\Z")
_DONE_WINDOW_BYTES = 32
"""More than the longest form of the final event, line ends included."""

_ENDS = (b"\n\n", b"\n\r\n", b"\r\r")
_LONGEST_END_BYTES = 3


class EventStream:
    """Follows an event stream so that a cut can be told apart from an end.

    `feed` returns all bytes up to the end of the last complete event and keeps an unfinished event back until
    its rest arrives: a client never sees half an event, and an error event can be appended at any moment. An
    event longer than `defaults.SSE_HELD_MAX_BYTES` is passed on in parts.

    Attributes:
        done: whether the last event seen was `data: [DONE]`.
        broken_event: whether part of an unfinished event has been passed on.
    """

    def __init__(self) -> None:
        """Start before the first byte."""
        self._held = b""
        self._tail = b"\n"
        self.done = False
        self.broken_event = False

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they arrive; return those that may leave now."""
        data, self._held = self._held + data, b""
        # An event that is being passed on in parts may end on a line end of which half has gone already.
        gone = self._tail[-_LONGEST_END_BYTES:] if self.broken_event else b""
        cut = max(0, _end_of_last_event(gone + data) - len(gone))
        unfinished = len(data) - cut
        if not unfinished:
            self.broken_event = False
        elif unfinished > defaults.SSE_HELD_MAX_BYTES or (self.broken_event and not cut):
            self.broken_event = True
        else:
            self._held, data = data[cut:], data[:cut]
            self.broken_event = False
        self._note(data)
        return data

    def finish(self) -> bytes:
        """Return what was held back, at a clean end of the stream."""
        rest, self._held = self._held, b""
        self._note(rest)
        return rest

    def _note(self, data: bytes) -> None:
        if data:
            self._tail = (self._tail + data[-_DONE_WINDOW_BYTES:])[-_DONE_WINDOW_BYTES:]
            self.done = _DONE.search(self._tail) is not None


def _end_of_last_event(data: bytes) -> int:
    """Return the index behind the last empty line, 0 if there is none."""
    if data.endswith(b"\n\n"):
        return len(data)
    return max((found + len(end) for end in _ENDS if (found := data.rfind(end)) >= 0), default=0)
