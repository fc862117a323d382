"""Server-sent events taken apart.

Source of the format: WHATWG HTML, section 9.2 (event streams): lines end in LF, CRLF or CR; an empty line ends an
event; a byte order mark may stand before the first.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from aicn.wire.json_members import NO_JSON

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

DONE: Final = b"[DONE]"
"""The data of the last event of OpenAI's chats and completions."""

_decode: Final = msgspec.json.Decoder().decode

EVENT_END: Final = re.compile(rb"(?>\r\n|[\r\n])(?>\r\n|[\r\n])")
"""The end of a line and an empty line; the groups are atomic so that CRLF is never taken for two ends."""

_DATA: Final = re.compile(rb"(?:\A|(?<=[\r\n]))data(?::[ ]?([^\r\n]*)|(?=[\r\n]|\Z))")
_NAME: Final = re.compile(rb"(?:\A|(?<=[\r\n]))event(?::[ ]?([^\r\n]*)|(?=[\r\n]|\Z))")


def split_events(data: bytes) -> list[bytes]:
    """Return whole events one by one, each with the empty line that ends it; joined they are `data`."""
    events = []
    start = 0
    for found in EVENT_END.finditer(data):
        events.append(data[start : found.end()])
        start = found.end()
    if start < len(data):
        events.append(data[start:])
    return events


def data_of(event: bytes) -> bytes:
    """Return the data of one event, its lines joined; empty for a comment."""
    lines = _DATA.findall(event.removeprefix(BYTE_ORDER_MARK))
    return lines[0] if len(lines) == 1 else b"\n".join(lines)


def name_of(event: bytes) -> bytes:
    """Return the name of one event, empty if it has none; of several lines with one the last counts."""
    names = _NAME.findall(event.removeprefix(BYTE_ORDER_MARK))
    return names[-1] if names else b""


def is_cut(event: bytes) -> bool:
    """Return whether what stands at the end of a stream of JSON, unclosed, is only a part of an event."""
    data = data_of(event)
    if not data:
        # A comment is whole. A name without data says that there is more to come.
        return bool(name_of(event))
    if data == DONE:
        return False
    try:
        _decode(data)
    except NO_JSON:
        return True
    return False
