"""How many tokens a stream had: asked of every model server, hidden from a client that did not ask.

Source: OpenAI's API reference, `stream_options.include_usage`: the last event of a stream then has no choices and
the usage of the whole request; all others may have `"usage": null`.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import msgspec

from aicn.wire.event_stream import data_of, split_events
from aicn.wire.json_members import NO_JSON, members_of, with_member

_MEMBER: Final = b'"stream_options":{"include_usage":true}'
_OPENING: Final = re.compile(rb"\s*\{\s*(?P<empty>\})?")
_NAME: Final = "stream_options"
_NO_CHOICES: Final = re.compile(rb'"choices"\s*:\s*\[\s*\]')


class _Asked(msgspec.Struct):
    stream: msgspec.Raw = msgspec.Raw(b"")
    stream_options: msgspec.Raw = msgspec.Raw(b"")


class _Options(msgspec.Struct):
    include_usage: msgspec.Raw = msgspec.Raw(b"")


class _Chunk(msgspec.Struct):
    choices: list[msgspec.Raw] = msgspec.field(default_factory=list)
    usage: dict[str, Any] | None = None
    error: Any = None


_asked: Final = msgspec.json.Decoder(_Asked)
_options: Final = msgspec.json.Decoder(_Options)
_chunk: Final = msgspec.json.Decoder(_Chunk)


class Wish(NamedTuple):
    """What a request says of streams."""

    streams: bool
    """Whether it wants one."""
    with_usage: bytes | None
    """Its body, but asking for the usage as well; None where nothing is to be added."""


_NO_STREAM: Final = Wish(streams=False, with_usage=None)


def wish_of(body: bytes, *, has_usage_option: bool = True) -> Wish:
    """Return what the body of a request says of streams; what is not understood is for the model server to say.

    Args:
        body: JSON.
        has_usage_option: whether the endpoint knows `stream_options`, as chats and completions do. In the body that
            is returned then, all other values are untouched.
    """
    if b'"stream"' not in body:
        return _NO_STREAM
    try:
        asked = _asked.decode(body)
        if not _is_true(asked.stream):
            return _NO_STREAM
        return Wish(streams=True, with_usage=_added(body, bytes(asked.stream_options)) if has_usage_option else None)
    except NO_JSON:
        return _NO_STREAM


def _is_true(value: msgspec.Raw) -> bool:
    return memoryview(value)[:5].tobytes() == b"true"


def _added(body: bytes, options: bytes) -> bytes | None:
    if not options:
        return _inserted(body)
    if options == b"null":
        return with_member(body, _NAME, b'{"include_usage":true}')
    if not options.startswith(b"{") or _is_true(_options.decode(options).include_usage):
        return None
    members = members_of(options)
    members["include_usage"] = msgspec.Raw(b"true")
    return with_member(body, _NAME, msgspec.json.encode(members))


def _inserted(body: bytes) -> bytes | None:
    opening = _OPENING.match(body)
    if opening is None or opening["empty"] is not None:
        return None
    at = opening.end()
    return b"%b%b,%b" % (body[:at], _MEMBER, body[at:])


class UsageFilter:
    """Takes the event out of a stream that has nothing but the usage."""

    __slots__ = ()

    def feed(self, events: bytes) -> bytes:
        """Return whole events without those that only tell the usage; most streams have one of them, at the end."""
        if _NO_CHOICES.search(events) is None:
            return events
        return b"".join(event for event in split_events(events) if not _is_usage_only(event))


def _is_usage_only(event: bytes) -> bool:
    if _NO_CHOICES.search(event) is None:
        return False
    try:
        chunk = _chunk.decode(data_of(event))
    except NO_JSON:
        return False
    return not chunk.choices and chunk.usage is not None and chunk.error is None
