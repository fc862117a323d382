"""Find small text fields in a form with files while it passes, without holding the form.

Source of the format: RFC 7578 and RFC 2046, section 5.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from aicn.errors import MalformedFrame

HEAD_MAX_BYTES: Final = 16_384
"""Of one part: browsers and SDKs write some 200 bytes."""

FIELD_MAX_BYTES: Final = 4_096
"""Of the value of a field that is looked for: names of models."""

MAX_PARTS: Final = 1_000
"""Of one form."""

_BOUNDARY: Final = re.compile(rb'(?i)(?:^|;)\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))')
_NAME: Final = re.compile(rb'(?i);\s*name=(?:"((?:[^"\\\r\n]|\\.)*)"|([^\s;"]+))')
_FILE_NAME: Final = re.compile(rb"(?i);\s*filename\*?=")
_NAMELESS_FILE: Final = re.compile(rb'(?i);\s*filename\*?=\s*(?:""|;|$)')
_EXTENDED_NAME: Final = re.compile(rb"(?i);\s*name\*")
_FOLD: Final = re.compile(rb"\r\n[ \t]+")
"""A header that goes on in the next line, which RFC 2045 allows and nobody writes any more."""

_BARE_LINE_END: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n")
"""Where a line ends to some programs only."""

_DISPOSITION: Final = re.compile(rb"(?im)^content-disposition:[ \t]*form-data([^\r\n]*)")


@dataclass(frozen=True, slots=True)
class Field:
    """A text field of a form."""

    value: str
    begin: int
    """Offset of its value from the begin of the form, in bytes."""
    end: int


def boundary_of(content_type: bytes) -> bytes:
    """Return the boundary that a Content-Type header names.

    Raises:
        MalformedFrame: it is no form with files, or names none.
    """
    kind, _, parameters = content_type.partition(b";")
    found = _BOUNDARY.search(parameters)
    if kind.strip().lower() != b"multipart/form-data" or found is None:
        raise MalformedFrame("the body is no form with files; send it as multipart/form-data with a boundary")
    return found[1] or found[2]


class _State(Enum):
    BODY = auto()
    """Before the next delimiter."""
    DELIMITER = auto()
    """Behind a delimiter, at what tells whether it is the last."""
    HEAD = auto()
    """In the headers of a part."""
    OVER = auto()


class FieldFinder:
    """Reads a form as it passes and notes the fields that are looked for; of a name that comes twice the first counts.

    Once all are found it stops, unless it is to read on for those that come twice.

    Attributes:
        found: the fields so far, by name.
        over: whether the form has ended, so that nothing more will be found.
        repeated: names of fields that have come twice; only where it reads on.
    """

    def __init__(self, boundary: bytes, names: frozenset[str], *, reads_on: bool = False) -> None:
        """Look for `names` in a form that `boundary` parts."""
        self.found: dict[str, Field] = {}
        self.repeated: set[str] = set()
        self._names = names
        self._reads_on = reads_on
        self._delimiter = b"\r\n--" + boundary
        # A form may begin with a delimiter, which then has no line end before it.
        self._held = bytearray(b"\r\n")
        self._offset = -2
        """Of the first byte that is held, from the begin of the form."""
        self._state = _State.BODY
        self._name: str | None = None
        """Of the field whose value comes now, if it is looked for."""
        self._parts = 0

    @property
    def over(self) -> bool:
        """Whether nothing more will be found."""
        return self._state is _State.OVER or (len(self.found) == len(self._names) and not self._reads_on)

    @property
    def closed(self) -> bool:
        """Whether the last delimiter has come."""
        return self._state is _State.OVER or (self._state is _State.DELIMITER and self._held.startswith(b"--"))

    @property
    def settled_bytes(self) -> int:
        """How many bytes from the begin of the form surely stand before all fields that are still to be found."""
        return max(0, self._offset)

    def feed(self, data: bytes) -> None:
        """Read the next bytes of the form.

        Raises:
            MalformedFrame: they are no form, or one that is beyond the limits.
        """
        if self.over:
            return
        self._held += data
        while self._step():
            pass

    def _step(self) -> bool:
        """Read one thing; return whether there may be another one in what is held."""
        match self._state:
            case _State.BODY:
                return self._read_body()
            case _State.DELIMITER:
                return self._read_delimiter()
            case _State.HEAD:
                return self._read_head()
            case _State.OVER:
                return False

    def _drop(self, size_bytes: int) -> None:
        del self._held[:size_bytes]
        self._offset += size_bytes

    def _read_body(self) -> bool:
        at = self._held.find(self._delimiter)
        if at < 0:
            if self._name is None:
                # What may be the begin of a delimiter stays.
                self._drop(max(0, len(self._held) - len(self._delimiter) + 1))
            elif len(self._held) > FIELD_MAX_BYTES + len(self._delimiter):
                raise _too_long(self._name)
            return False
        if self._name is not None:
            self._take(self._name, at)
        self._drop(at + len(self._delimiter))
        self._state = _State.OVER if self.over else _State.DELIMITER
        return not self.over

    def _take(self, name: str, size_bytes: int) -> None:
        if size_bytes > FIELD_MAX_BYTES:
            raise _too_long(name)
        try:
            value = self._held[:size_bytes].decode()
        except UnicodeDecodeError:
            raise MalformedFrame(f"the field {name!r} of the form is not UTF-8") from None
        if name in self.found:
            self.repeated.add(name)
        else:
            self.found[name] = Field(value, self._offset, self._offset + size_bytes)
        self._name = None

    def _read_delimiter(self) -> bool:
        if self._held.startswith(b"--"):
            behind = bytes(self._held[2:]).lstrip(b" \t")
            if behind.startswith(b"\r\n"):
                self._state = _State.OVER
            elif behind not in {b"", b"\r"} or len(self._held) > HEAD_MAX_BYTES:
                # Programs differ in whether that is the last one.
                raise MalformedFrame("the body is no form: something stands behind its last delimiter")
            return False
        end = self._held.find(b"\r\n")
        if end < 0:
            if len(self._held) > HEAD_MAX_BYTES:
                raise MalformedFrame("the body is no form: its delimiter does not end")
            return False
        if self._held[:end].strip(b" \t"):
            raise MalformedFrame("the body is no form: something stands behind its delimiter")
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise MalformedFrame(f"the form has more than {MAX_PARTS} parts")
        # The line end stays, so that a part without headers has its empty line.
        self._drop(end)
        self._state = _State.HEAD
        return True

    def _read_head(self) -> bool:
        end = self._held.find(b"\r\n\r\n")
        if end < 0 or end > HEAD_MAX_BYTES:
            if len(self._held) > HEAD_MAX_BYTES:
                raise MalformedFrame(f"a part of the form has more than {HEAD_MAX_BYTES} bytes of headers")
            return False
        self._name = self._looked_for(bytes(self._held[:end]))
        self._drop(end + 4)
        self._state = _State.BODY
        return True

    def _looked_for(self, head: bytes) -> str | None:
        dispositions = _DISPOSITION.findall(_FOLD.sub(b" ", head))
        if len(dispositions) > 1 or _BARE_LINE_END.search(head) or any(map(_EXTENDED_NAME.search, dispositions)):
            # Programs differ in what they make of it; RFC 7578 knows neither.
            raise MalformedFrame("a part of the form does not say clearly what its name is")
        if not dispositions:
            return None
        name = _NAME.search(dispositions[0])
        text = (name[1] or name[2] or b"").decode(errors="replace") if name else ""
        if _FILE_NAME.search(dispositions[0]):
            if text in self._names and _NAMELESS_FILE.search(dispositions[0]):
                # A file without a name is a text to some.
                raise MalformedFrame(f"the field {text!r} of the form is a file without a name; write it as a text")
            return None
        return text if text in self._names and (self._reads_on or text not in self.found) else None


def _too_long(name: str) -> MalformedFrame:
    return MalformedFrame(f"the field {name!r} of the form is longer than {FIELD_MAX_BYTES} bytes")
