"""How one API tells failures: the bytes of a refusal, of an event in a stream, and of what a model server refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from aicn.api.errors import ApiError

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A whole answer that tells a failure."""

    status: int
    body: bytes
    """JSON."""
    headers: Headers = ()
    """Besides its type and length."""


class Surface(Protocol):
    """The words of one API. Pure functions; every failure of the gateway passes through one of them."""

    @property
    def request_id_headers(self) -> Sequence[bytes]:
        """In which headers answers tell the id of their request."""
        ...

    def refusal(self, error: ApiError) -> Refusal:
        """Return the answer that tells `error`."""
        ...

    def event(self, error: ApiError) -> bytes:
        """Return the event that tells `error` in a stream that has begun."""
        ...

    def answered(self, status: int, body: bytes, meant: int | None = None) -> tuple[int, bytes]:
        """Return status and body for the client of what a model server answered whole.

        What is no failure stays as it is, byte for byte.

        Args:
            status: of the model server.
            body: JSON, or, with a status of 400 and above, anything.
            meant: the status that a failure told with status 200 should have had, if it is known.
        """
        ...
