"""Server-sent events on their way through: bytes unchanged, whole events only, and an honest end.

`aicn.wire.event_stream` takes them apart.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

import msgspec

from aicn import defaults
from aicn.endpoints import Endpoint
from aicn.wire.event_stream import BYTE_ORDER_MARK, data_of, name_of, split_events
from aicn.wire.json_members import NO_JSON

_DONE: Final = re.compile(
    rb"(?:[\r\n]|\A\xef\xbb\xbf)data: ?\[DONE\](?:[\r\n]|(?<=[\r\n])(?::|id|event|retry)[^\r\n]*)*\Z"
)
"""The final event, and behind it at most what says nothing: comments, and the fields that are no data."""

_DONE_WINDOW_BYTES: Final = 256
"""More than the longest form of the final event that is known, its other fields included."""

_RESPONSE_END: Final = re.compile(
    rb'(?:\A|[\r\n])(?:event: ?|data: ?\{\s*"type"\s*:\s*")response\.(?:completed|failed|incomplete)["\r\n]'
)
_MESSAGE_END: Final = re.compile(rb'(?:\A|[\r\n])(?:event: ?|data: ?\{\s*"type"\s*:\s*")message_stop["\r\n]')

_END_MARK: Final = re.compile(rb'"(?:response\.(?:completed|failed|incomplete)|message_stop)"')
"""Inside of a JSON string the quotes would be escaped."""

_ENDS: Final = (b"\n\n", b"\n\r\n", b"\r\r")
_LONGEST_END_BYTES: Final = 3

DONE_EVENT: Final = b"data: [DONE]\n\n"
"""How a stream of OpenAI's chat ends."""


class Ending(Enum):
    """How a stream says that it is whole."""

    DONE = "[DONE]"
    """OpenAI's chat and completions."""
    RESPONSE = "response.completed, response.failed or response.incomplete"
    """OpenAI's responses."""
    MESSAGE = "message_stop"
    """Anthropic's messages."""
    NONE = ""
    """By nothing but its end: speech, transcriptions, images."""


_ENDINGS: Final = {
    Endpoint.CHAT: Ending.DONE,
    Endpoint.COMPLETIONS: Ending.DONE,
    Endpoint.RESPONSES: Ending.RESPONSE,
    Endpoint.MESSAGES: Ending.MESSAGE,
}


def ending_of(endpoint: Endpoint) -> Ending:
    """Return how a stream of `endpoint` ends."""
    return _ENDINGS.get(endpoint, Ending.NONE)


class EventStream:
    """Follows an event stream so that a cut can be told apart from an end.

    `feed` returns all bytes up to the end of the last complete event and keeps an unfinished event back until
    its rest arrives: a client never sees half an event, and an error event can be appended at any moment. An
    event longer than `defaults.SSE_HELD_MAX_BYTES` is passed on in parts.

    Attributes:
        broken_event: whether part of an unfinished event has been passed on.
    """

    def __init__(self, ending: Ending = Ending.DONE) -> None:
        """Start before the first byte of a stream that ends in that way."""
        self._ending = ending
        self._held = b""
        self._tail = b""
        self._said = False
        self.broken_event = False

    @property
    def done(self) -> bool:
        """Whether the stream, if it ends here, is whole by its own word."""
        return self._said and not (self.broken_event and self._ending is not Ending.DONE)

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they arrive; return those that may leave now."""
        data, self._held = self._held + data, b""
        middle = self.broken_event
        # An event that is being passed on in parts may end on a line end of which half has gone already.
        gone = self._tail[-_LONGEST_END_BYTES:] if middle else b""
        cut = max(0, _end_of_last_event(gone + data) - len(gone))
        unfinished = len(data) - cut
        if not unfinished:
            self.broken_event = False
        elif unfinished > defaults.SSE_HELD_MAX_BYTES or (middle and not cut):
            self.broken_event = True
        else:
            self._held, data = data[cut:], data[:cut]
            self.broken_event = False
        self._note(data, middle=middle)
        return data

    def finish(self) -> bytes:
        """Return what was held back, at a clean end of the stream."""
        rest, self._held = self._held, b""
        self._note(rest, middle=self.broken_event)
        if self._ending is Ending.NONE:
            # Nothing but the end of a line tells an event that was cut from one that nobody closed.
            self._said = not self._tail or self._tail.endswith((b"\n", b"\r"))
        return rest

    def _note(self, data: bytes, *, middle: bool) -> None:
        if not data:
            return
        tail = (self._tail or b"\n") + data[-_DONE_WINDOW_BYTES:]
        if not self._tail and data.startswith(BYTE_ORDER_MARK):
            tail = data[-_DONE_WINDOW_BYTES:]
        self._tail = tail[-_DONE_WINDOW_BYTES:]
        if self._ending is Ending.DONE:
            self._said = b"[DONE]" in self._tail and _DONE.search(self._tail) is not None
        elif not self._said and not middle and self._ending is not Ending.NONE:
            pattern = _RESPONSE_END if self._ending is Ending.RESPONSE else _MESSAGE_END
            self._said = pattern.search(data) is not None or _tells_end(data)


def _tells_end(events: bytes) -> bool:
    """Whether one of `events` is of a type that ends a stream, wherever among its members that is said."""
    return _END_MARK.search(events) is not None and any(
        _END_MARK.fullmatch(_failure_of(event).type) is not None for event in split_events(events)
    )


def _end_of_last_event(data: bytes) -> int:
    """Return the index behind the last empty line, 0 if there is none."""
    if data.endswith(b"\n\n"):
        return len(data)
    return max((found + len(end) for end in _ENDS if (found := data.rfind(end)) >= 0), default=0)


class _Failure(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw(b"null")
    type: msgspec.Raw = msgspec.Raw(b"null")


_ERROR_MARKS: Final = (b'"error"', b"event: error", b"event:error", b"response.failed")
"""Inside of a JSON string the quotes would be escaped."""

_FAILED_NAMES: Final = frozenset({b"error", b"response.failed"})

_NO_ERROR: Final = frozenset({b"", b"null", b'""', b"false", b"0"})
"""What is no error by its truth: some servers always have the member."""

_failure: Final = msgspec.json.Decoder(_Failure)


def may_tell_error(events: bytes) -> bool:
    """Whether it is worth asking each of `events` for a failure; texts in them that speak of errors do not count."""
    return any(mark in events for mark in _ERROR_MARKS)


def tells_error(event: bytes) -> bool:
    """Whether one event tells of a failure of the model server, in the words of OpenAI, Anthropic or the reference."""
    if not may_tell_error(event):
        return False
    if name_of(event) in _FAILED_NAMES:
        return True
    said = _failure_of(event)
    return bytes(said.error) not in _NO_ERROR or bytes(said.type).strip(b'"') in _FAILED_NAMES


def _failure_of(event: bytes) -> _Failure:
    try:
        return _failure.decode(data_of(event))
    except NO_JSON:
        # No object: nothing that a client would take for an error either.
        return _Failure()


__all__ = [
    "DONE_EVENT",
    "Ending",
    "EventStream",
    "ending_of",
    "may_tell_error",
    "tells_error",
]
