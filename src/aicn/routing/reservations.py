"""How many of this node's own requests are under way at each instance of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from aicn.ids import InstanceId, ModelName, PeerId, ProjectName

Instance = tuple[PeerId, ProjectName, ModelName, InstanceId]
"""One model on one node, told apart by its cid."""


class Reservations:
    """Counts taken before a request leaves, so that two requests never both see the same idle instance."""

    def __init__(self, using: Callable[[PeerId], AbstractContextManager[None]] = lambda _: nullcontext()) -> None:
        """Start with nothing under way; the connection to a peer is kept by `using` as long as a request is."""
        self._using = using
        self._counts: dict[Instance, int] = {}

    def count(self, instance: Instance) -> int:
        """Return the requests under way at `instance`."""
        return self._counts.get(instance, 0)

    @contextmanager
    def reserve(self, instance: Instance) -> Iterator[None]:
        """Count one more request at `instance` for the length of the block."""
        self._counts[instance] = self._counts.get(instance, 0) + 1
        try:
            with self._using(instance[0]):
                yield
        finally:
            left = self._counts[instance] - 1
            if left:
                self._counts[instance] = left
            else:
                # Entries exist only while requests do: the table is bounded by what is in flight.
                del self._counts[instance]
