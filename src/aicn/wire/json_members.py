"""Change one member of a JSON object and leave every other byte of its values as it came."""

from __future__ import annotations

import re
from typing import Final

import msgspec

_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def with_text_member(body: bytes, name: str, text: str) -> bytes:
    """Return `body` with the member `name` set to `text`; see `with_member`.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError: `body` is no JSON object.
    """
    return with_member(body, name, msgspec.json.encode(text))


def with_member(body: bytes, name: str, value: bytes) -> bytes:
    """Return `body` with the member `name` set to `value`.

    Where the member can be found at once, only its value's bytes change. Where its name stands in other places too, or
    is written with escapes, the members are written anew, each value with the bytes it had.

    Args:
        body: a JSON object.
        name: of a member, in ASCII; it is added if it is not there.
        value: its new value, as JSON.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError: `body` is no JSON object.
    """
    members = _object.decode(body)
    old = bytes(members.get(name, b""))
    if old == value:
        return body
    if old:
        places = [found.end() for found in re.finditer(rb'(?<!\\)"%b"\s*:\s*' % name.encode(), body)]
        if len(places) == 1 and body.startswith(old, places[0]):
            at = places[0]
            return b"%b%b%b" % (body[:at], value, body[at + len(old) :])
    members[name] = msgspec.Raw(value)
    return msgspec.json.encode(members)
