"""The instances of each model, parted by whether they are connected: a choice among ten thousand looks at a few."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from aicn import defaults
from aicn.errors import WrongKind
from aicn.ids import InstanceId, ModelKind, ModelName, PeerId, ProjectName, fits
from aicn.peers import Directory, Instances

Place = tuple[PeerId, InstanceId]
"""One instance of a model that is known."""


@dataclass(slots=True)
class Pool:
    """The instances of one model that do what is asked for, as long as none comes or goes."""

    instances: Instances
    membership: int
    """Of `instances`, when the pool was made."""
    network: int
    """Of `Pools`, when the pool was made."""
    kept_until_s: float
    """Until when it is good enough although an instance or a connection has come or gone."""
    connected: list[Place]
    others: list[Place]


class Pools:
    """Makes pools when they are asked for, and keeps them until an instance or a connection comes or goes.

    A large one is kept for a moment longer: among thousands one always comes or goes, and to sort them anew for each
    request would cost more than to be told by one that it has gone. Whether somebody is still connected is for whoever
    uses a pool to look at: to dial it would take seconds.
    """

    def __init__(
        self, directory: Directory, is_connected: Callable[[PeerId], bool], max_pools: int = defaults.POOLS_MAX
    ) -> None:
        """Sort what `directory` knows by `is_connected`."""
        self._directory = directory
        self._is_connected = is_connected
        self._max = max_pools
        self._network = 0
        self._pools: OrderedDict[tuple[ProjectName, ModelName, ModelKind], Pool] = OrderedDict()

    def __len__(self) -> int:
        """Return how many pools are kept."""
        return len(self._pools)

    def network_changed(self) -> None:
        """A connection came or went."""
        self._network += 1

    def of(self, project: ProjectName, model: ModelName, kind: ModelKind, now_s: float) -> Pool | None:
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
        if (
            pool is None
            or pool.instances is not instances
            or ((pool.network, pool.membership) != (self._network, instances.membership) and now_s >= pool.kept_until_s)
        ):
            pool = self._pools[key] = self._made(project, model, kind, instances, now_s)
            if len(self._pools) > self._max:
                self._pools.popitem(last=False)
        return pool

    def _made(
        self, project: ProjectName, model: ModelName, kind: ModelKind, instances: Instances, now_s: float
    ) -> Pool:
        served = instances.all()
        keep_s = len(served) * defaults.POOL_KEPT_PER_INSTANCE_S if len(served) > defaults.POOL_SMALL else 0.0
        pool = Pool(instances, instances.membership, self._network, now_s + keep_s, [], [])
        of_node: Counter[PeerId] = Counter()
        for record, offer in served:
            if not fits(offer.kind, kind):
                continue
            of_node[record.peer] += 1
            if of_node[record.peer] <= defaults.CHOOSE_NODE_INSTANCES:
                tier = pool.connected if self._is_connected(record.peer) else pool.others
                tier.append((record.peer, offer.cid))
        if not pool.connected and not pool.others:
            does = served[0][1].kind.name.lower().replace("_", " ")
            raise WrongKind(f"model {model!r} of project {project!r} does {does}; ask it for that, by the route for it")
        return pool
