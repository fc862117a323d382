"""How many requests each model is working on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from types import TracebackType

from aicn.registry.models import Model, ModelKey


class InFlight:
    """Counts the requests in flight of each model.

    Counts belong to the model's key, so that an update of a model's URL keeps them. Use from one event loop.
    """

    def __init__(self, on_change: Callable[[], None] | None = None) -> None:
        """Start with nothing in flight.

        Args:
            on_change: called after every change of a count. It must not block; what it raises comes out of
                the `with` statement that made the change, with the count exact.
        """
        self._on_change = on_change
        self._counts: Counter[ModelKey] = Counter()
        self._ended: dict[ModelKey, asyncio.Event] = {}
        """For those who wait until nothing is in flight."""

    def count(self, model: Model) -> int:
        """Return how many requests `model` is working on."""
        return self._counts[model.key]

    def total(self) -> int:
        """Return how many requests all models are working on."""
        return self._counts.total()

    def reserve(self, model: Model) -> Reservation:
        """Return a context manager that counts one request to `model` while it is entered.

        Entering and leaving do not wait, so that a cancellation cannot come between the two halves of either.
        """
        return Reservation(self, model.key)

    async def until_idle(self, model: Model) -> None:
        """Wait until nothing of `model` is in flight."""
        while self._counts[model.key]:
            await self._ended.setdefault(model.key, asyncio.Event()).wait()

    def _begin(self, key: ModelKey) -> None:
        self._counts[key] += 1
        try:
            self._changed()
        except BaseException:
            self._subtract(key)
            raise

    def _end(self, key: ModelKey) -> None:
        self._subtract(key)
        self._changed()

    def _subtract(self, key: ModelKey) -> None:
        self._counts[key] -= 1
        if not self._counts[key]:  # keys come from outside; those not in use take no room
            del self._counts[key]
            if (ended := self._ended.pop(key, None)) is not None:
                ended.set()

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change()


class Reservation:
    """One request of a model, counted while the context manager is entered. Can be entered once."""

    __slots__ = ("_in_flight", "_key", "_used")

    def __init__(self, in_flight: InFlight, key: ModelKey) -> None:
        """Prepare to count; made by `InFlight.reserve`."""
        self._in_flight = in_flight
        self._key = key
        self._used = False

    def __enter__(self) -> None:
        """Count the request.

        Raises:
            RuntimeError: the reservation was used before.
        """
        if self._used:
            raise RuntimeError("a reservation counts one request; make another one for the next")
        self._used = True
        self._in_flight._begin(self._key)  # noqa: SLF001 - a reservation is the other half of InFlight

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Count the request no more, however it ended."""
        self._in_flight._end(self._key)  # noqa: SLF001 - as above
