"""Requests of `/v1` that are forms with files: images out of images, transcriptions. They pass as they come.

The form names the model, wherever it likes. What stands before that name is held while it is small; a large file
before it is put into a temporary file that has no name, and that is gone with the request.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator
from typing import IO

from aicn import defaults
from aicn.api.budget import Budget
from aicn.api.caller import Caller, refuse_encoded
from aicn.api.errors import ApiError, Code
from aicn.api.form_model import MODEL, OnlyModel
from aicn.api.inference import Inference, Request
from aicn.api.v1.asks import V1Endpoint, passed_headers
from aicn.api.v1.names import Names
from aicn.endpoints import Endpoint
from aicn.errors import MalformedFrame
from aicn.routing import Ask, StreamedBody
from aicn.wire.http_frames import Headers, header_text
from aicn.wire.multipart import Field, FieldFinder, boundary_of


class FormEndpoint(V1Endpoint):
    """A request whose body is a form, one field of which is the model's name."""

    json_held_max_bytes = defaults.EDIT_ANSWER_HELD_MAX_BYTES

    def __init__(self, parts: Inference, names: Names, endpoint: Endpoint) -> None:
        """As of any request of `/v1`."""
        super().__init__(parts, names, endpoint)
        self._disk = Budget(defaults.SPOOLED_MAX_BYTES)

    async def read(self, caller: Caller) -> Request:
        """Read as much of the form as it takes to know the model."""
        headers: Headers = caller.scope["headers"]
        try:
            boundary = boundary_of(_content_type(headers))
        except MalformedFrame as error:
            raise ApiError(Code.PARAMETER, str(error), 415) from error
        refuse_encoded(headers)
        finder = FieldFinder(boundary, frozenset({MODEL}))
        body = await caller.read_upload()
        beginning = body if isinstance(body, bytes) else body.beginning
        spooled: Spooled | None = None
        try:
            finder.feed(beginning)
            if not finder.over and isinstance(body, StreamedBody):
                spooled = Spooled(body, self._disk)
                caller.at_release(spooled.close)
                await spooled.read(finder)
        except MalformedFrame as error:
            raise ApiError(Code.PARAMETER, str(error)) from error
        field = _found(finder)
        project, model = self.find(caller, field.value)
        ask = Ask(
            project,
            model,
            _with(body, spooled, field, model.encode(), OnlyModel(boundary)),
            headers=passed_headers(headers),
            endpoint=self.endpoint,
            first_byte_timeout_s=defaults.IMAGE_FIRST_BYTE_TIMEOUT_S,
            session=header_text(headers, b"x-aicn-session")[: defaults.SESSION_MAX_CHARS] or None,
        )
        return Request(ask, None)


def _found(finder: FieldFinder) -> Field:
    field = finder.found.get(MODEL)
    if field is None:
        raise ApiError(Code.PARAMETER, "the form has no field `model`", param=MODEL)
    return field


def _content_type(headers: Headers) -> bytes:
    return next((value for name, value in headers if name == b"content-type"), b"")


def _with(
    body: bytes | StreamedBody, spooled: Spooled | None, field: Field, model: bytes, behind: OnlyModel
) -> bytes | StreamedBody:
    """Return the body with `model` in the place of the field, what stands behind it looked through by `behind`."""
    if isinstance(body, bytes):
        return b"%b%b%b" % (body[: field.begin], model, behind.checked(body[field.end :]))
    size_bytes = None if body.size_bytes is None else body.size_bytes + len(model) - (field.end - field.begin)
    if spooled is not None:
        return StreamedBody(b"", spooled.parts(field, model, behind), size_bytes)
    held = b"%b%b%b" % (body.beginning[: field.begin], model, behind.checked(body.beginning[field.end :]))
    return StreamedBody(held, behind.each(body.take_rest()), size_bytes)


class Spooled:
    """The beginning of a form in a file without a name, and the rest of it that is still to come."""

    def __init__(self, body: StreamedBody, budget: Budget) -> None:
        """Take over `body`; count what is on the disk in `budget`."""
        self._beginning = body.beginning
        self._rest = body.take_rest()
        self._budget = budget
        self._file: IO[bytes] | None = None
        self._counted_bytes = 0

    async def read(self, finder: FieldFinder) -> None:
        """Put the form on the disk until `finder` is through.

        Raises:
            ApiError: there is no room for it (503).
            MalformedFrame: it is no form.
            Exception: whatever the body raised while it arrived.
        """
        try:
            self._file = await asyncio.to_thread(tempfile.TemporaryFile)
            await self._write(self._file, self._beginning)
            while not finder.over and (part := await anext(self._rest, b"")):
                await self._write(self._file, part)
                finder.feed(part)
        except OSError as error:
            raise ApiError(
                Code.BUFFER,
                f"this node has no room to keep the form until its model is known ({error.strerror}); put the field "
                "`model` before the files",
                503,
            ) from error

    async def _write(self, file: IO[bytes], data: bytes) -> None:
        self._budget.take(len(data))
        self._counted_bytes += len(data)
        # In a thread: a disk that is slow must not stop everybody's streams.
        await asyncio.to_thread(file.write, data)

    def close(self) -> None:
        """Free the disk. Idempotent."""
        if self._file is not None:
            self._file.close()
        self._budget.give_back(self._counted_bytes)
        self._counted_bytes = 0

    async def parts(self, field: Field, model: bytes, behind: OnlyModel) -> AsyncGenerator[bytes]:
        """Yield the form with `model` in the place of the field: from the file, then as it arrives."""
        file = self._file
        if file is None:
            raise RuntimeError("the form has not been read")
        try:
            file.seek(0)
            async for part in _kept(file, field.begin):
                yield part
            if model:
                yield model
            file.seek(field.end)
            async for part in _kept(file, None):
                yield behind.checked(part)
            async for part in self._rest:
                yield behind.checked(part)
        finally:
            self.close()
            await self._rest.aclose()


async def _kept(file: IO[bytes], left_bytes: int | None) -> AsyncGenerator[bytes]:
    """Yield what is in `file` from where it stands, so many bytes of it or all."""
    size = defaults.SPOOL_READ_BYTES
    while part := await asyncio.to_thread(file.read, size if left_bytes is None else min(size, left_bytes)):
        if left_bytes is not None:
            left_bytes -= len(part)
        yield part
