"""How many requests each model is working on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from aicn.registry.models import Model, ModelKey


class InFlight:
    """Counts the requests in flight of each model.

    Requests belong to the model's key, so that an update of a model's URL keeps them. Use from one event loop.
    """

    def __init__(self, on_change: Callable[[], None] | None = None) -> None:
        """Start with nothing in flight.

        Args:
            on_change: called after every change of a count. It must not block; what it raises comes out of
                the `with` statement that made the change, with the count exact.
        """
        self._on_change = on_change
        self._under_way: dict[ModelKey, set[Reservation]] = {}
        self._waiting: set[_Wait] = set()
        """Those who wait until nothing is in flight."""

    def count(self, model: Model) -> int:
        """Return how many requests `model` is working on."""
        return len(self._under_way.get(model.key, ()))

    def total(self) -> int:
        """Return how many requests all models are working on."""
        return sum(map(len, self._under_way.values()))

    def reserve(self, model: Model) -> Reservation:
        """Return a context manager that counts one request to `model` while it is entered.

        Entering and leaving do not wait, so that a cancellation cannot come between the two halves of either.
        """
        return Reservation(self, model.key)

    async def until_idle(self, model: Model) -> None:
        """Wait until nothing of `model` is in flight, whatever it is called meanwhile."""
        wait = _Wait(model.key)
        self._waiting.add(wait)
        try:
            while wait.key in self._under_way:
                wait.ended.clear()
                await wait.ended.wait()
        finally:
            self._waiting.discard(wait)

    def rename(self, old: ModelKey, new: ModelKey) -> None:
        """Count the requests of `old` as those of `new`: they go on at the same model, which has another name now."""
        if old == new:
            return
        moved = self._under_way.pop(old, None)
        if moved is not None:
            for reservation in moved:
                reservation.key = new
            self._under_way.setdefault(new, set()).update(moved)
            for wait in self._waiting:
                if wait.key == old:
                    wait.key = new

    def begin(self, reservation: Reservation) -> None:
        """Count a request; for `Reservation`."""
        self._under_way.setdefault(reservation.key, set()).add(reservation)
        try:
            self._changed()
        except BaseException:
            self._subtract(reservation)
            raise

    def end(self, reservation: Reservation) -> None:
        """Count a request no more; for `Reservation`."""
        self._subtract(reservation)
        self._changed()

    def _subtract(self, reservation: Reservation) -> None:
        under_way = self._under_way[reservation.key]
        under_way.discard(reservation)
        if not under_way:  # keys come from outside; those not in use take no room
            del self._under_way[reservation.key]
            for wait in self._waiting:
                if wait.key == reservation.key:
                    wait.ended.set()

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change()


class _Wait:
    """Somebody who waits until nothing of a model is in flight."""

    __slots__ = ("ended", "key")

    def __init__(self, key: ModelKey) -> None:
        self.key = key
        self.ended = asyncio.Event()


class Reservation:
    """One request of a model, counted while the context manager is entered. Can be entered once.

    Attributes:
        key: the model's, which changes with its name.
    """

    __slots__ = ("_in_flight", "_used", "key")

    def __init__(self, in_flight: InFlight, key: ModelKey) -> None:
        """Prepare to count; made by `InFlight.reserve`."""
        self.key = key
        self._in_flight = in_flight
        self._used = False

    def __enter__(self) -> None:
        """Count the request.

        Raises:
            RuntimeError: the reservation was used before.
        """
        if self._used:
            raise RuntimeError("a reservation counts one request; make another one for the next")
        self._used = True
        self._in_flight.begin(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Count the request no more, however it ended."""
        self._in_flight.end(self)
