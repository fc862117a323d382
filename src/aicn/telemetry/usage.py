"""How many tokens or images an answer had, read from its bytes as they pass: nothing is held, nothing is parsed whole.

A chat answer carries `"usage": {"prompt_tokens": …, "completion_tokens": …}`, as JSON at its end or in one of the
last events of a stream; some servers send it with every event, then the last one counts. Others call the two
`input_tokens` and `output_tokens`, and Anthropic's streams tell the first at their begin and the second at their end.
An image answer carries one `b64_json` or `url` for each image. Inside a JSON string a quote is escaped, so neither key
can be part of a text.
"""

from __future__ import annotations

import json
import re
from typing import Final

from aicn import defaults

_KEY: Final = b'"usage"'
_VALUE: Final = re.compile(rb'"usage"[ \t\r\n]*(?::[ \t\r\n]*(?P<object>\{)?|\Z)')
"""The key and as much of what follows as is here; `object` is there if its value is an object."""

_READ_MAX: Final = 8
"""Usages that are read of one part, the last ones: two are needed, and one may take a tenth of a millisecond."""

_MAX_COUNT: Final = 2**53
"""Larger numbers are nobody's count, and no other program reads them well."""

_NOTHING: Final = (None, None)

_decode = json.JSONDecoder().raw_decode


class TokenReader:
    """Finds the last usage in an answer that comes in parts, however it is split.

    Attributes:
        prompt_tokens: tokens of the question, None if the answer does not tell.
        completion_tokens: tokens of the answer, None if it does not tell.
    """

    __slots__ = ("_edge", "_open", "completion_tokens", "prompt_tokens")

    def __init__(self) -> None:
        """Begin before the first part."""
        self._edge = b""
        """The end of what was read, in which a key may have begun."""
        self._open = b""
        """A key whose object has not ended yet, from the key on."""
        self.prompt_tokens: int | None = None
        self.completion_tokens: int | None = None

    def feed(self, part: bytes) -> None:
        """Read the next part of the answer."""
        if self._open:
            data = self._open + part
        elif _KEY in self._edge + part[: len(_KEY)]:
            data = self._edge + part
        else:
            data = part
        self._open = b""
        at = last = data.rfind(_KEY)
        if at < 0:
            self._edge = part[1 - len(_KEY) :] if len(part) >= len(_KEY) else (self._edge + part)[1 - len(_KEY) :]
            return
        self._edge = data[1 - len(_KEY) :]
        prompt = completion = None
        left = _READ_MAX
        while at >= 0 and left and (prompt is None or completion is None):
            found = _read(data, at)
            left -= found is not _NOTHING
            if found is None and at == last and len(data) - at < defaults.USAGE_MAX_BYTES:
                self._open = data[at:]
            if found is not None:
                # Of two that tell the same the later one counts.
                prompt = found[0] if prompt is None else prompt
                completion = found[1] if completion is None else completion
            at = data.rfind(_KEY, 0, at)
        if prompt is not None:
            self.prompt_tokens = prompt
        if completion is not None:
            self.completion_tokens = completion


def _read(data: bytes, at: int) -> tuple[int | None, int | None] | None:
    """Return the tokens of question and answer in the usage at `at`, None if its end is not here yet."""
    found = _VALUE.match(data, at)
    if found is None:
        return _NOTHING
    if found["object"] is None:
        # Either another value follows, or the value has not begun.
        return None if found.end() == len(data) else _NOTHING
    text = data[found.start("object") : at + defaults.USAGE_MAX_BYTES]
    try:
        usage, _ = _decode(text.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    return (
        _count(usage.get("prompt_tokens", usage.get("input_tokens"))),
        _count(usage.get("completion_tokens", usage.get("output_tokens"))),
    )


class ImageReader:
    """Counts the images in an answer that comes in parts, however it is split."""

    __slots__ = ("_base64", "_url")

    def __init__(self) -> None:
        """Begin before the first part."""
        self._base64 = _Occurrences(b'"b64_json"')
        self._url = _Occurrences(b'"url"')

    def feed(self, part: bytes) -> None:
        """Read the next part of the answer."""
        self._base64.feed(part)
        self._url.feed(part)

    @property
    def images(self) -> int:
        """How many there were. An entry may have both keys, one of them null."""
        return max(self._base64.count, self._url.count)


class _Occurrences:
    __slots__ = ("_edge", "_pattern", "count")

    def __init__(self, pattern: bytes) -> None:
        self._pattern = pattern
        self._edge = b""
        self.count = 0

    def feed(self, part: bytes) -> None:
        kept = len(self._pattern) - 1
        self.count += (self._edge + part[:kept]).count(self._pattern) + part.count(self._pattern)
        self._edge = part[-kept:] if len(part) >= kept else (self._edge + part)[-kept:]


def _count(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_COUNT:
        return value
    return None
