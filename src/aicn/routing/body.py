"""A request body that is not held whole: its beginning is, the rest passes through once."""

from __future__ import annotations

from collections.abc import AsyncGenerator


class StreamedBody:
    """A request body that is still arriving.

    It can be sent to one peer after the other as long as nothing was taken of what is behind its held beginning.

    Attributes:
        beginning: what is held of it.
        size_bytes: of the whole, None if nobody knows it yet.
    """

    __slots__ = ("_rest", "_taken", "beginning", "size_bytes")

    def __init__(self, beginning: bytes, rest: AsyncGenerator[bytes], size_bytes: int | None) -> None:
        """`rest` yields what comes behind `beginning`, in parts that are not empty."""
        self.beginning = beginning
        self.size_bytes = size_bytes
        self._rest = rest
        self._taken = False

    @property
    def repeatable(self) -> bool:
        """Whether it can still be sent from its beginning."""
        return not self._taken

    def take_rest(self) -> AsyncGenerator[bytes]:
        """Return the parts behind the beginning, to be closed by the caller; the body is not repeatable any more."""
        self._taken = True
        return self._rest
