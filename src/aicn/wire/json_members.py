"""Change one member of a JSON object and leave every other byte of its values as it came."""

from __future__ import annotations

import functools
import re
from typing import Any, Final

import msgspec

NO_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for bytes that are not the JSON that is wanted; the last where it is nested too deeply."""

MEMBERS_MAX: Final = 262_144
"""Of an object that is taken apart, and all that it holds: each takes some 200 bytes of memory and 1 µs of the loop.
Counted by its colons, those in texts included."""

_NUMBER_MAX_DIGITS: Final = 15
"""Of a number that is taken for a count; more is somebody's joke."""

_ESCAPED: Final = (b"\\u005", b"\\u006", b"\\u007")
"""How a letter of a name begins that is written as an escape, which nobody does but to hide it."""

_EMPTY_LIST: Final = re.compile(rb"\[\s*\]")
_VALUE: Final = re.compile(rb"\s*:\s*")

_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def members_of(body: bytes) -> dict[str, msgspec.Raw]:
    """Return the members of a JSON object; of a name that is there twice the last one counts.

    Raises:
        One of `NO_JSON`: `body` is no JSON object, or has more than `MEMBERS_MAX` members.
    """
    if body.count(b":") > MEMBERS_MAX:
        raise msgspec.ValidationError(f"the object may have more than {MEMBERS_MAX} members")
    return _object.decode(body)


def whole_number(raw: msgspec.Raw | None) -> int | None:
    """Return a member that is a whole number as somebody counts, None if it is something else or not there."""
    text = b"" if raw is None else bytes(raw)
    return int(text) if text.isdigit() and len(text) <= _NUMBER_MAX_DIGITS else None


def lists_any(raw: msgspec.Raw) -> bool:
    """Return whether a member is a list with anything in it."""
    text = memoryview(raw)
    return text[:1].tobytes() == b"[" and _EMPTY_LIST.fullmatch(text) is None


def stands_once(body: bytes, name: str) -> bool:
    """Return whether a member `name`, which `body` is known to have, surely stands in it once only.

    Programs differ in which one of two they take, so that a second one could mean something else to the next reader.
    Those written in Go take `Model` for `model`: names that differ in capital letters alone are the same here.
    """
    return _only_place(body, name) is not None


def with_text_member(body: bytes, name: str, text: str, *, adds: bool = True) -> bytes:
    """Return `body` with the member `name` set to `text`; see `with_member`.

    Raises:
        One of `NO_JSON`: as `with_member`.
    """
    return with_member(body, name, msgspec.json.encode(text), adds=adds)


def with_member(body: bytes, name: str, value: bytes, *, adds: bool = True) -> bytes:
    """Return `body` with the one member `name` set to `value`.

    Where the member can be found at once, only its value's bytes change. Where its name stands in other places too, or
    is written with escapes or capital letters, the members are written anew, each once, its value with the bytes it
    had.

    Args:
        body: a JSON object.
        name: of a member, in small letters of ASCII.
        value: its new value, as JSON.
        adds: whether it is added if it is not there; else `body` stays as it is then.

    Raises:
        One of `NO_JSON`: `body` is no JSON object, or one with too many members to be written anew.
    """
    at = _only_place(body, name)
    if at is not None and (old := bytes(_member(name).decode(body).value)):
        return body if old == value else b"%b%b%b" % (body[:at], value, body[at + len(old) :])
    members = members_of(body)
    named = [each for each in members if each.casefold() == name]
    if not named and not adds:
        return body
    for other in named:
        if other != name:
            del members[other]
    members[name] = msgspec.Raw(value)
    return msgspec.json.encode(members)


def _only_place(body: bytes, name: str) -> int | None:
    """Return where the value begins of the only member of that name, in `body` or deeper; None if others may be."""
    if any(escape in body for escape in _ESCAPED):
        return None
    quoted = b'"%b"' % name.encode()
    lowered = body.lower()
    place: int | None = None
    at = lowered.find(quoted)
    while at >= 0:
        value = _VALUE.match(body, at + len(quoted))
        # Behind a backslash it is the end of a text that quotes the name.
        if value is not None and body[at - 1 : at] != b"\\":
            if place is not None or not body.startswith(quoted, at):
                return None
            place = value.end()
        at = lowered.find(quoted, at + 1)
    return place


@functools.cache
def _member(name: str) -> msgspec.json.Decoder[Any]:
    """Return what decodes objects of which only one member is wanted; all others are passed over and cost no memory."""
    kind = msgspec.defstruct("Member", [("value", msgspec.Raw, msgspec.Raw(b""))], rename={"value": name})
    return msgspec.json.Decoder(kind)
