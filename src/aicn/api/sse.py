"""Server-sent events on their way through: bytes unchanged, whole events only, and an honest end.

`aicn.wire.event_stream` takes them apart.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, NamedTuple

import msgspec

from aicn import defaults
from aicn.endpoints import Endpoint
from aicn.wire.event_stream import DONE, EVENT_END, data_of, is_cut, name_of, split_events
from aicn.wire.json_members import NO_JSON

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


class Piece(NamedTuple):
    """What of a stream may leave."""

    data: bytes
    is_whole: bool
    """Whether it is whole events; else it is part of one that is too long to be held."""


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

    def feed(self, data: bytes) -> list[Piece]:
        """Take bytes as they arrive; return those that may leave now."""
        data, self._held = self._held + data, b""
        pieces = []
        if self.broken_event:
            end = self._end_of_broken(data)
            self.broken_event = end == 0
            rest, data = (data[:end], data[end:]) if end else (data, b"")
            self._note(rest, middle=True)
            pieces.append(Piece(rest, is_whole=False))
        if cut := _end_of_last_event(data):
            events, data = data[:cut], data[cut:]
            self._note(events, middle=False)
            pieces.append(Piece(events, is_whole=True))
        if len(data) > defaults.SSE_HELD_MAX_BYTES:
            self.broken_event = True
            self._note(data, middle=False)
            pieces.append(Piece(data, is_whole=False))
        else:
            self._held = data
        return pieces

    def _end_of_broken(self, data: bytes) -> int:
        """Return the index behind the event that is being passed on in parts, 0 if it does not end in `data`."""
        # Half of the line end on which it ends may have gone already.
        gone = self._tail
        ends = (found.end() - len(gone) for found in EVENT_END.finditer(gone + data))
        return next((end for end in ends if end > 0), 0)

    def finish(self) -> bytes:
        """Return what was held back, at a clean end of the stream, if it is an event that nobody has closed."""
        rest, self._held = self._held, b""
        if self._ending is not Ending.NONE and not self.broken_event and is_cut(rest):
            # A part of an event, which no client could read.
            rest = b""
        self._note(rest, middle=self.broken_event)
        if self._ending is Ending.NONE:
            # Nothing but the end of a line tells an event that was cut from one that nobody closed.
            self._said = not self._tail or self._tail.endswith((b"\n", b"\r"))
        return rest

    def _note(self, data: bytes, *, middle: bool) -> None:
        """Look whether `data` tells the end; `middle`: it begins inside of an event that is passed on in parts."""
        if not data:
            return
        self._tail = (self._tail + data[-_LONGEST_END_BYTES:])[-_LONGEST_END_BYTES:]
        if self._said or middle or self._ending is Ending.NONE:
            return
        if self._ending is Ending.DONE:
            # Whoever has read it has stopped there, whatever comes behind it.
            self._said = DONE in data and any(data_of(event) == DONE for event in split_events(data))
        else:
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
    "Piece",
    "ending_of",
    "may_tell_error",
    "tells_error",
]
