"""How many of this node's own requests are under way at each instance of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from aicn.ids import InstanceId, ModelName, PeerId, ProjectName
from aicn.tally import Tally

Instance = tuple[PeerId, ProjectName, ModelName, InstanceId]
"""One model on one node, told apart by its cid."""

Node = tuple[PeerId, ProjectName, ModelName]
"""What all instances of one model on one node have in common."""


class Reservations:
    """Counts taken before a request leaves, so that two requests never both see the same idle instance."""

    def __init__(self, using: Callable[[PeerId], AbstractContextManager[None]] = lambda _: nullcontext()) -> None:
        """Start with nothing under way; the connection to a peer is kept by `using` as long as a request is."""
        self._using = using
        self._counts: Tally[Instance] = Tally()
        self._peers: Tally[PeerId] = Tally()

    def count(self, instance: Instance) -> int:
        """Return the requests under way at `instance`."""
        return self._counts[instance]

    def at_peer(self, peer: PeerId) -> int:
        """Return the requests under way at all instances of `peer`."""
        return self._peers[peer]

    @contextmanager
    def reserve(self, instance: Instance) -> Iterator[None]:
        """Count one more request at `instance` for the length of the block."""
        self._counts[instance] += 1
        self._peers[instance[0]] += 1
        try:
            with self._using(instance[0]):
                yield
        finally:
            self._counts.take(instance)
            self._peers.take(instance[0])
