"""Which model a form names, looked at while it passes."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from aicn.api.errors import ApiError, Code
from aicn.errors import MalformedFrame
from aicn.wire.multipart import FieldFinder

MODEL = "model"


class OnlyModel:
    """Passes a form on, or the rest of one, as long as it names no model but the one that was asked for.

    Programs differ in which of two fields of one name they take: one of them could be a model that the caller may not
    ask.
    """

    def __init__(self, boundary: bytes, name: str | None = None) -> None:
        """Look at a form that `boundary` parts; it may name `name`, once. None: it may name none, or none any more."""
        self._name = name
        self._finder = FieldFinder(boundary, frozenset({MODEL}), reads_on=True)

    def checked(self, part: bytes) -> bytes:
        """Return the next part as it is.

        Raises:
            ApiError: it names another model, or is no form any more.
        """
        finder = self._finder
        try:
            finder.feed(part)
        except MalformedFrame as error:
            raise ApiError(Code.PARAMETER, str(error)) from error
        field = finder.found.get(MODEL)
        if field is not None and self._name is not None and field.value != self._name:
            raise ApiError(Code.PARAMETER, "the form names another model than the one that is asked for", param=MODEL)
        if field is not None and (self._name is None or finder.repeated):
            raise ApiError(Code.PARAMETER, "the form has more than one field `model`", param=MODEL)
        return part

    def finish(self) -> None:
        """Note that the form is over.

        Raises:
            ApiError: it has no end, so that nobody knows what others read in it.
        """
        if not self._finder.closed:
            raise ApiError(Code.PARAMETER, "the form does not end with its last delimiter")

    async def each(self, parts: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        """Yield all parts as they are."""
        try:
            async for part in parts:
                yield self.checked(part)
            if self._name is not None:
                self.finish()
        finally:
            await parts.aclose()
