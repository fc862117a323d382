"""Which peers there are and what they serve, answered in the time it takes to write the answer down."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Final

from aicn import defaults
from aicn.clock import Clock
from aicn.ids import ModelName, PeerId, ProjectName
from aicn.peers.changes import Changes
from aicn.peers.records import Event, Forgotten, Heartbeat, Offer, PeerRecord, Standing, Swept, standing, step
from aicn.tally import Tally

_TIERS: Final = (Standing.ELIGIBLE, Standing.LISTED, Standing.REMEMBERED)
"""From the youngest records to the oldest."""

_LISTED: Final = frozenset({Standing.ELIGIBLE, Standing.LISTED})

Instance = tuple[PeerRecord, Offer]


class Directory:
    """The records of all peers, indexed by what they serve.

    What a record becomes is decided by `records.step` and `records.standing`; this class keeps the indexes to
    it, and the whole bounded. When it is full, the peer that was not heard for the longest time makes room, those that
    are connected last of all: anybody can make himself a thousand names that were heard just now.
    Records are kept in three queues by their standing, each ordered by age, so that what grows too old is
    always at a front: no call looks at a record without a reason. Use from one event loop.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        max_peers: int = defaults.DIRECTORY_MAX_PEERS,
        max_offers: int = defaults.DIRECTORY_MAX_OFFERS,
        is_connected: Callable[[PeerId], bool] = lambda _: False,
    ) -> None:
        """Start empty.

        Args:
            clock: measures how old a record is.
            max_peers: records kept.
            max_offers: instances kept, of all records together; no less than one peer may have.
            is_connected: whether there is a connection to a peer.
        """
        self._clock = clock
        self._is_connected = is_connected
        self._max_peers = max_peers
        self._max_offers = max_offers
        self._tiers: dict[Standing, OrderedDict[PeerId, PeerRecord]] = {tier: OrderedDict() for tier in _TIERS}
        self._offer_count = 0
        self._serving: dict[tuple[ProjectName, ModelName], Instances] = {}
        self._names: dict[ProjectName, Tally[ModelName]] = {}
        """For each model in the lists, how many records name it."""
        self._projects: dict[ModelName, set[ProjectName]] = {}
        """The other way round."""
        self._left: OrderedDict[tuple[ProjectName, ModelName], float] = OrderedDict()
        """When the last record that named a model stopped doing so, the longest ago first."""

    def __len__(self) -> int:
        """Return how many peers are remembered."""
        return sum(len(tier) for tier in self._tiers.values())

    def apply(self, heartbeat: Heartbeat) -> None:
        """Take in what a peer said. That the peer itself said it has been made sure of before."""
        self._change(heartbeat.peer, heartbeat)
        while len(self) > self._max_peers or self._offer_count > self._max_offers:
            self._change(self._superfluous(), Forgotten())

    def forget(self, peer: PeerId) -> None:
        """Drop all that is known of `peer`."""
        self._change(peer, Forgotten())

    def sweep(self) -> None:
        """Delete what is too old. Every other call does the same first; this one is for quiet times."""
        now_s = self._clock.monotonic()
        for tier in reversed(_TIERS):  # so that what falls two tiers at once comes behind what was there before it
            queue = self._tiers[tier]
            while queue:
                record = next(iter(queue.values()))
                if standing(record.heard_s, now_s) is tier:
                    break
                self._change(record.peer, Swept())

    def record(self, peer: PeerId) -> PeerRecord | None:
        """Return what is known of `peer`, or None."""
        self.sweep()
        return next((tier[peer] for tier in self._tiers.values() if peer in tier), None)

    def records(self) -> tuple[PeerRecord, ...]:
        """Return every record, the longest unheard first."""
        self.sweep()
        return tuple(chain.from_iterable(self._tiers[tier].values() for tier in reversed(_TIERS)))

    def peers(self) -> tuple[PeerId, ...]:
        """Return the peers heard in the last 12 hours, in alphabetical order."""
        self.sweep()
        return tuple(sorted(chain(self._tiers[Standing.ELIGIBLE], self._tiers[Standing.LISTED])))

    def projects(self, limit: int = 100) -> tuple[ProjectName, ...]:
        """Return the first `limit` projects named in the last 12 hours, in alphabetical order."""
        self.sweep()
        return tuple(heapq.nsmallest(limit, self._names))

    def models(self, project: ProjectName, limit: int = 100) -> tuple[ModelName, ...]:
        """Return the first `limit` models of `project` named in the last 12 hours, in alphabetical order."""
        self.sweep()
        return tuple(heapq.nsmallest(limit, self._names.get(project, ())))

    def names(self, project: ProjectName, model: ModelName) -> bool:
        """Return whether a model of `project` was named so in the last 12 hours."""
        self.sweep()
        return model in self._names.get(project, ())

    def projects_with(self, model: ModelName) -> tuple[ProjectName, ...]:
        """Return the projects of which a model was named so in the last 12 hours, in alphabetical order."""
        self.sweep()
        return tuple(sorted(self._projects.get(model, ())))

    def left(self, model: ModelName) -> tuple[ProjectName, ...]:
        """Return the projects of which nobody names such a model any more, but somebody did a short while ago."""
        self.sweep()
        since_s = self._clock.monotonic() - defaults.NAME_LEFT_S
        return tuple(owner for (owner, name), left_s in self._left.items() if name == model and left_s >= since_s)

    def serving(self, project: ProjectName, model: ModelName) -> tuple[Instance, ...]:
        """Return every instance of the model on a peer heard in the last 10 minutes, in no particular order."""
        self.sweep()
        instances = self._serving.get((project, model))
        return () if instances is None else instances.all()

    def instances(self, project: ProjectName, model: ModelName) -> Instances | None:
        """Return the living view of the model's instances, None if there are none. It ends when the last one goes."""
        self.sweep()
        return self._serving.get((project, model))

    def eligible_instances(self) -> int:
        """Return how many instances of models may be asked: those of peers heard in the last 10 minutes."""
        self.sweep()
        return sum(len(record.offers) for record in self._tiers[Standing.ELIGIBLE].values())

    def _superfluous(self) -> PeerId:
        """Return who makes room: of strangers the longest unheard, else whoever takes the most room."""
        records = chain.from_iterable(self._tiers[tier].values() for tier in reversed(_TIERS))
        stranger = next((record for record in records if not self._is_connected(record.peer)), None)
        if stranger is not None:
            return stranger.peer
        return max(
            chain.from_iterable(self._tiers[tier].values() for tier in reversed(_TIERS)),
            key=lambda record: len(record.offers),
        ).peer

    def _change(self, peer: PeerId, event: Event) -> None:
        now_s = self._clock.monotonic()
        tier = self._tiers[Standing.ELIGIBLE]
        old = tier.get(peer)
        if old is not None:
            new = step(old, event, now_s)
            if new is not None and standing(new.heard_s, now_s) is Standing.ELIGIBLE and _same_members(old, new):
                # The common heartbeat: only the requests in flight have changed, and the indexes stay as they are.
                tier[peer] = new
                tier.move_to_end(peer)
                for name, offers in _by_model(new).items():
                    self._serving[name].put(peer, offers)
                return
        old = self._take(peer)
        new = step(old, event, now_s)
        if new is not None:
            self._place(new, standing(new.heard_s, now_s))

    def _take(self, peer: PeerId) -> PeerRecord | None:
        """Remove the record of `peer` from its queue and the indexes."""
        for tier, queue in self._tiers.items():
            record = queue.pop(peer, None)
            if record is not None:
                self._offer_count -= len(record.offers)
                self._unlist(record, tier)
                return record
        return None

    def _place(self, record: PeerRecord, tier: Standing) -> None:
        """Put `record`, which is the youngest of its tier, into queue and indexes."""
        self._tiers[tier][record.peer] = record
        self._offer_count += len(record.offers)
        for name, offers in _by_model(record).items():
            if tier in _LISTED:
                self._names.setdefault(name[0], Tally())[name[1]] += 1
                self._projects.setdefault(name[1], set()).add(name[0])
                self._left.pop(name, None)
            if tier is Standing.ELIGIBLE:
                self._serving.setdefault(name, Instances()).put(record.peer, offers)

    def _unlist(self, record: PeerRecord, tier: Standing) -> None:
        """Undo what `_place` did to the indexes."""
        for project, model in _by_model(record):
            if tier in _LISTED:
                models = self._names[project]
                models.take(model)
                if model not in models:
                    self._note_left(project, model)
                    owners = self._projects[model]
                    owners.remove(project)
                    if not owners:
                        del self._projects[model]
                if not models:
                    del self._names[project]
            if tier is Standing.ELIGIBLE:
                instances = self._serving[project, model]
                if not instances.drop(record.peer):
                    del self._serving[project, model]

    def _note_left(self, project: ProjectName, model: ModelName) -> None:
        self._left[project, model] = self._clock.monotonic()
        if len(self._left) > defaults.NAMES_LEFT_MAX:
            self._left.popitem(last=False)


class Instances:
    """The instances of one model on peers heard in the last 10 minutes, as they are at every moment.

    What a heartbeat changes often, the requests in flight, changes nothing but the peer's own entry.

    Attributes:
        changes: whose instances have come, gone, or do something else.
    """

    __slots__ = ("_all", "_by_peer", "changes")

    def __init__(self) -> None:
        """Begin without any."""
        self._by_peer: dict[PeerId, tuple[Instance, ...]] = {}
        self._all: tuple[Instance, ...] | None = None
        self.changes = Changes()

    def put(self, peer: PeerId, instances: tuple[Instance, ...]) -> None:
        """Set what `peer` serves."""
        if _members(self._by_peer.get(peer, ())) != _members(instances):
            self.changes.add(peer)
        self._by_peer[peer] = instances
        self._all = None

    def drop(self, peer: PeerId) -> bool:
        """Drop the instances of `peer`; return whether any are left."""
        del self._by_peer[peer]
        self.changes.add(peer)
        self._all = None
        return bool(self._by_peer)

    def peers(self) -> Iterable[PeerId]:
        """Return everybody who has instances."""
        return self._by_peer.keys()

    def of(self, peer: PeerId) -> tuple[Instance, ...]:
        """Return the instances of `peer`."""
        return self._by_peer.get(peer, ())

    def all(self) -> tuple[Instance, ...]:
        """Return every instance, in no particular order."""
        if self._all is None:
            self._all = tuple(chain.from_iterable(self._by_peer.values()))
        return self._all


def _same_members(one: PeerRecord, other: PeerRecord) -> bool:
    return len(one.offers) == len(other.offers) and all(
        old.project == new.project and old.model == new.model and old.cid == new.cid and old.kind is new.kind
        for old, new in zip(one.offers, other.offers, strict=True)
    )


def _members(instances: tuple[Instance, ...]) -> tuple[tuple[str, int], ...]:
    return tuple((offer.cid, offer.kind) for _, offer in instances)


def _by_model(record: PeerRecord) -> dict[tuple[ProjectName, ModelName], tuple[Instance, ...]]:
    found: dict[tuple[ProjectName, ModelName], tuple[Instance, ...]] = {}
    for offer in record.offers:
        name = offer.project, offer.model
        found[name] = (*found.get(name, ()), (record, offer))
    return found
