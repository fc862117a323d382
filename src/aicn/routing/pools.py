"""The instances of each model, parted by whether they are connected: a choice among ten thousand looks at a few."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import islice

from aicn import defaults
from aicn.errors import WrongKind
from aicn.ids import InstanceId, ModelKind, ModelName, PeerId, ProjectName, fits
from aicn.peers import Changes, Directory, Instances

Place = tuple[PeerId, InstanceId]
"""One instance of a model that is known."""


class Pool:
    """The instances of one model that do what is asked for.

    Of whoever comes, goes or changes only the own places move: to sort ten thousand anew would take milliseconds.

    Attributes:
        instances: whose pool it is.
        connected: those of connected nodes, in no particular order.
        others: those whose nodes must be dialled first.
    """

    __slots__ = (
        "_index",
        "_is_connected",
        "_kind",
        "_network",
        "_of_node",
        "_seen",
        "connected",
        "instances",
        "others",
    )

    def __init__(
        self, instances: Instances, kind: ModelKind, is_connected: Callable[[PeerId], bool], network: Changes
    ) -> None:
        """Part all of `instances` that fit `kind`.

        Args:
            instances: of the model.
            kind: what is asked for.
            is_connected: whether a node is.
            network: who has come or gone since.
        """
        self.instances = instances
        self.connected: list[Place] = []
        self.others: list[Place] = []
        self._kind = kind
        self._is_connected = is_connected
        self._network = network
        self._index: dict[Place, int] = {}
        self._of_node: dict[PeerId, tuple[list[Place], list[Place]]] = {}
        """The list that a node's places are in, and the places."""
        self._seen = instances.changes.follow(), network.follow()
        self._place(instances.peers())

    def follow(self) -> bool:
        """Take in what has changed; return whether that is known, else a new pool must be made."""
        now = self._now()
        if now != self._seen:
            served, network = self._seen
            changed, moved = self.instances.changes.since(served), self._network.since(network)
            if changed is None or moved is None:
                return False
            self._place({*changed, *moved})
            self._seen = now
        return True

    def _now(self) -> tuple[int, int]:
        return self.instances.changes.count, self._network.count

    def _place(self, peers: Iterable[PeerId]) -> None:
        for peer in peers:
            self._remove(peer)
            fitting = (offer.cid for _, offer in self.instances.of(peer) if fits(offer.kind, self._kind))
            places = [(peer, cid) for cid in islice(dict.fromkeys(fitting), defaults.CHOOSE_NODE_INSTANCES)]
            if places:
                tier = self.connected if self._is_connected(peer) else self.others
                self._of_node[peer] = tier, places
                for place in places:
                    self._index[place] = len(tier)
                    tier.append(place)

    def _remove(self, peer: PeerId) -> None:
        tier, places = self._of_node.pop(peer, ([], []))
        for place in places:
            # The last one takes its place.
            index, last = self._index.pop(place), tier.pop()
            if last != place:
                tier[index] = last
                self._index[last] = index


class Pools:
    """Makes pools when they are asked for, and keeps them in step with the directory and the connections."""

    def __init__(
        self, directory: Directory, is_connected: Callable[[PeerId], bool], max_pools: int = defaults.POOLS_MAX
    ) -> None:
        """Part what `directory` knows by `is_connected`."""
        self._directory = directory
        self._is_connected = is_connected
        self._max = max_pools
        self._network = Changes()
        self._pools: OrderedDict[tuple[ProjectName, ModelName, ModelKind], Pool] = OrderedDict()

    def __len__(self) -> int:
        """Return how many pools are kept."""
        return len(self._pools)

    def network_changed(self, peer: PeerId | None) -> None:
        """A connection to `peer` came or went; None: to anybody."""
        if peer is None:
            self._network.add_all()
        else:
            self._network.add(peer)

    def of(self, project: ProjectName, model: ModelName, kind: ModelKind) -> Pool | None:
        """Return the instances of a model that can be asked for `kind`, None if nobody serves the model.

        Raises:
            WrongKind: every instance does something else.
        """
        key = (project, model, kind)
        instances = self._directory.instances(project, model)
        if instances is None:
            self._pools.pop(key, None)
            return None
        pool = self._pools.get(key)
        if pool is None or pool.instances is not instances or not pool.follow():
            pool = self._pools[key] = Pool(instances, kind, self._is_connected, self._network)
            if len(self._pools) > self._max:
                self._pools.popitem(last=False)
        if not pool.connected and not pool.others:
            _, offer = instances.all()[0]
            does = offer.kind.name.lower().replace("_", " ")
            raise WrongKind(f"model {model!r} of project {project!r} does {does}; ask it for that, by the route for it")
        return pool
