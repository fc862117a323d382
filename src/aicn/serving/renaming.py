"""The name of a model in a request, changed to what its model server calls it; all other bytes go on as they came."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from aicn import defaults
from aicn.errors import MalformedFrame, Overloaded
from aicn.wire.http_frames import Headers, header_text
from aicn.wire.json_members import NO_JSON, with_text_member
from aicn.wire.multipart import FieldFinder, boundary_of

_MODEL: Final = "model"
_LENGTH: Final = b"content-length"
_FORM: Final = "multipart/form-data"

Body = bytes | AsyncIterator[bytes]


class Renamer:
    """Writes names into the requests of a node. Use from one event loop.

    A form that is broken goes on untouched: its model server has words for that. JSON that is broken does not: programs
    differ in what they make of it, and one may read the name of another model there.

    Attributes:
        held_bytes: what is held of requests that arrive slowly, for all of them together.
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        self.held_bytes = 0

    @asynccontextmanager
    async def renamed(
        self, name: str, headers: Headers, body: Body, *, own: str = "", form: bool = True
    ) -> AsyncIterator[tuple[Headers, Body]]:
        """Give headers and body of the request with its model's name; the body is held until the block is left.

        A form is never held whole. JSON is: its members stand in any order.

        Args:
            name: what the model server calls the model; empty: `own`. Forms then stay as they are, and so does JSON
                that names no model.
            headers: of the request.
            body: all of it, or what arrives.
            own: what this node calls the model. Other models may be there that are not to be lent.
            form: whether the body may be a form; else it is JSON, whatever the headers say.

        Raises:
            Overloaded: all requests together hold too much.
            MalformedFrame: JSON is broken, no object, or longer than `defaults.JSON_BODY_MAX_BYTES`.
            AicnError: what `body` raises.
        """
        if form and header_text(headers, b"content-type").lower().startswith(_FORM):
            yield await _renamed_form(name, headers, body) if name else (headers, body)
        else:
            whole = bytearray()
            try:
                if not isinstance(body, bytes):
                    async for part in body:
                        self._hold(len(part), len(whole))
                        whole += part
                    body = bytes(whole)
                yield _without_length(headers), _renamed_json(name or own, body, adds=bool(name))
            finally:
                self.held_bytes -= len(whole)

    @contextmanager
    def holding(self) -> Iterator[Callable[[int], None]]:
        """Give what counts more bytes that are held, until the block is left.

        Raises:
            Overloaded: what is given raises it: all together hold too much.
        """
        held_bytes = 0

        def hold(more_bytes: int) -> None:
            nonlocal held_bytes
            self._count(more_bytes)
            held_bytes += more_bytes

        try:
            yield hold
        finally:
            self.held_bytes -= held_bytes

    def _hold(self, more_bytes: int, held_bytes: int) -> None:
        if held_bytes + more_bytes > defaults.JSON_BODY_MAX_BYTES:
            raise MalformedFrame(
                f"the request body is larger than {defaults.JSON_BODY_MAX_BYTES} bytes; send less, or a form"
            )
        self._count(more_bytes)

    def _count(self, more_bytes: int) -> None:
        if self.held_bytes + more_bytes > defaults.HELD_MAX_BYTES:
            raise Overloaded(f"this node holds {self.held_bytes} bytes of requests and has no room for more")
        self.held_bytes += more_bytes


def _renamed_json(name: str, body: bytes, *, adds: bool) -> bytes:
    try:
        return with_text_member(body, _MODEL, name, adds=adds)
    except NO_JSON as error:
        raise MalformedFrame(f"the body is not the JSON object it should be: {error}") from error


def _without_length(headers: Headers) -> Headers:
    return tuple(pair for pair in headers if pair[0] != _LENGTH)


async def _renamed_form(name: str, headers: Headers, body: Body) -> tuple[Headers, Body]:
    """Return a form with `name` in its field. Of one that arrives, only the beginning is waited for."""
    try:
        finder = FieldFinder(boundary_of(header_text(headers, b"content-type").encode("latin-1")), frozenset({_MODEL}))
    except MalformedFrame:
        return headers, body
    changing = _FormChange(finder, name.encode())
    if isinstance(body, bytes):
        return _without_length(headers), changing.feed(body) + changing.end()
    beginning = b""
    arrived_bytes = 0
    async for part in body:
        arrived_bytes += len(part)
        beginning += changing.feed(part)
        if changing.over or arrived_bytes >= defaults.FORM_BEGINNING_BYTES:
            break
    length = header_text(headers, _LENGTH)
    headers = _without_length(headers)
    if changing.over and length:
        # Many model servers want to know how much comes; SDKs write small fields first, so that it is known here.
        headers = (*headers, (_LENGTH, b"%d" % (int(length) + changing.longer_by_bytes)))
    return headers, _rest(beginning, changing, body)


async def _rest(beginning: bytes, changing: _FormChange, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if beginning:
        yield beginning
    async for part in body:
        if changed := changing.feed(part):
            yield changed
    if changed := changing.end():
        yield changed


class _FormChange:
    """Passes a form on with another value in its field `model`; holds only what may belong to that value.

    Attributes:
        longer_by_bytes: how much longer the form has become.
    """

    def __init__(self, finder: FieldFinder, value: bytes) -> None:
        self._finder = finder
        self._value = value
        self._held = bytearray()
        self._at = 0
        """Offset of the first byte that is held, from the begin of the form as it comes."""
        self._broken = False
        self.longer_by_bytes = 0

    @property
    def over(self) -> bool:
        """Whether the rest passes as it comes."""
        return self._broken or self._finder.over

    def feed(self, data: bytes) -> bytes:
        """Return what can be sent on now that `data` has come."""
        if self.over:
            return data
        self._held += data
        if not self._look(data):
            return self._take(self._finder.settled_bytes - self._at)
        field = self._finder.found.get(_MODEL)
        if field is None:
            return self.end()
        before = self._take(field.begin - self._at)
        del self._held[: field.end - field.begin]
        self.longer_by_bytes = len(self._value) - (field.end - field.begin)
        return before + self._value + self.end()

    def _look(self, data: bytes) -> bool:
        """Return whether there is nothing left to look for."""
        try:
            self._finder.feed(data)
        except MalformedFrame:
            self._broken = True
        return self.over

    def end(self) -> bytes:
        """Return what is still held."""
        return self._take(len(self._held))

    def _take(self, size_bytes: int) -> bytes:
        taken = bytes(self._held[:size_bytes])
        del self._held[:size_bytes]
        self._at += len(taken)
        return taken
