"""Which instance a request goes to: the better one of two that chance has drawn.

Two choices share work nearly as evenly as a look at all of them would, without the herd: many Inputs that all see the
same idle instance do not all run there. And no instance, whatever it says of itself, is in more than twice its share of
the pairs. Source: M. Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, 2001.

The two are of different nodes where there are such: whatever a node says of its instances, and however many it invents,
each is held against one of somebody else.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Container
from enum import Enum, auto
from itertools import chain, islice
from typing import Any, Final, NamedTuple

from aicn import defaults
from aicn.clock import Clock, SystemClock
from aicn.endpoints import Endpoint
from aicn.ids import InstanceId, ModelKind, ModelName, PeerId, ProjectName, fits
from aicn.p2p.host import Connection
from aicn.peers import Directory
from aicn.routing.breakers import Breakers
from aicn.routing.measurements import Measurements
from aicn.routing.policy import Facts, cost
from aicn.routing.pools import Place, Pool, Pools
from aicn.routing.reservations import Instance, Reservations
from aicn.routing.sessions import Sessions
from aicn.routing.unfit import Unfit

_PAIR: Final = 2
_HALF: Final = 0.5


class Wanted(NamedTuple):
    """What a candidate must be."""

    project: ProjectName
    model: ModelName
    kind: ModelKind
    protocol: str | None = None
    """That its node must speak; None: whatever it speaks."""
    session: str | None = None
    """The conversation that the request belongs to."""
    endpoint: Endpoint | None = None
    """What is asked for; None: nothing in particular."""


class Chosen(NamedTuple):
    """Who is to be asked."""

    peer: PeerId
    cid: InstanceId
    connected: bool


class SampleOutcome(Enum):
    """How an attempt went, as far as its instance is to blame."""

    GOOD = auto()
    """It answered."""
    FAILED = auto()
    """It could not be reached, broke off, was silent, or its server failed."""
    BUSY = auto()
    """It said that it had no room."""
    REFUSED = auto()
    """It did not want the request. That is the client's fault, or its own if it says so to everybody."""
    SLOW = auto()
    """It was given up, for a faster one or by the client: to the first content it takes at least as long as is told."""
    UNFIT = auto()
    """It works, but not for this: it lacks the endpoint, or is reached in a way that cannot carry the request."""
    UNASKED = auto()
    """It was not asked in the end, or whoever asked is to blame: that says nothing of it."""


class Sample(NamedTuple):
    """What is told of one attempt; times in seconds, None where they could not be measured."""

    outcome: SampleOutcome
    first_content_s: float | None = None
    tokens: int = 0
    """Of the answer, about."""
    content_s: float | None = None
    """From the first content to the end."""
    whole_s: float | None = None
    """To the first content and the end in one, where an answer comes when it is written: how long that takes depends on
    its tokens."""
    endpoint: Endpoint | None = None
    """What it is unfit for."""


class Selector:
    """Chooses candidates, and learns from what became of them. Use from one event loop."""

    def __init__(
        self,
        directory: Directory,
        connection: Callable[[PeerId], Connection | None],
        reservations: Reservations,
        own_id: PeerId,
        *,
        speaks: Callable[[PeerId, str], bool | None] = lambda _, __: None,
        clock: Clock | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Choose among what `directory` knows.

        Args:
            directory: who serves what.
            connection: how a peer is connected now.
            reservations: the requests of this node that are under way.
            own_id: this node, which needs no connection.
            speaks: whether a peer speaks a protocol; None: it has not said yet.
            clock: for ages and pauses.
            draw: returns a number from 0 to below 1, by chance.
        """
        self._connection = connection
        self._speaks = speaks
        self._reservations = reservations
        self._own_id = own_id
        self._clock = clock or SystemClock()
        self._draw = draw
        self._pools = Pools(directory, lambda peer: peer == own_id or connection(peer) is not None)
        self._measured = Measurements()
        self._sessions = Sessions()
        self._breakers = Breakers()
        self._unfit = Unfit()

    def network_changed(self, peer: PeerId | None, *, come: bool = False) -> None:
        """A connection to `peer` came or went, to anybody if None; who comes was out of reach and is here again."""
        self._pools.network_changed(peer)
        if come and peer is not None:
            self._breakers.came(peer)

    def choose(
        self, wanted: Wanted, tried: Container[Instance], last: Collection[PeerId] = frozenset()
    ) -> Chosen | None:
        """Return who is to be asked next, None if nobody is left.

        Who is connected comes before who must be dialled first, which takes seconds and may fail. Who is connected and
        has failed lately is asked only when nobody else is left, since that may still be better than no answer; who
        could not be reached lately is not asked again before its pause is over: all would wait for nothing. Who has
        said that such a request is nothing for it comes after all these.

        Args:
            wanted: what is asked for.
            tried: who has been asked already for this request.
            last: nodes whose other instances are asked when no other node is left: what fails one often fails all.

        Raises:
            WrongKind: every instance does something else.
        """
        now_s = self._clock.monotonic()
        pool = self._pools.of(wanted.project, wanted.model, wanted.kind)
        if pool is None:
            return None
        fit = tried
        if self._unfit:
            fit = _Avoided(tried, unfit=lambda each: self._unfit.has(each, wanted.endpoint, now_s))
        chosen = self._of_session(pool, wanted, fit, now_s) or self._found(pool, wanted, fit, last, now_s)
        if chosen is None and fit is not tried:
            chosen = self._found(pool, wanted, tried, last, now_s)
        if chosen is None:
            return None
        instance = _instance(wanted, chosen)
        self._breakers.asked(instance, now_s)
        if wanted.session:
            self._sessions.set((wanted.project, wanted.model, wanted.session), instance, now_s)
        return Chosen(*chosen, connected=self._is_connected(chosen[0]))

    def _found(
        self, pool: Pool, wanted: Wanted, avoided: Container[Instance], last: Collection[PeerId], now_s: float
    ) -> Place | None:
        """Return who is to be asked of those that are not avoided, the nodes of `last` after the others."""
        stages = (_Avoided(avoided, last), avoided) if last else (avoided,)
        for tier in (pool.connected, pool.others):
            for stage in stages:
                if tier and (place := self._better_of_two(tier, pool, wanted, stage, now_s)) is not None:
                    return place
        for stage in stages:
            if (place := self._least_bad(pool, wanted, stage)) is not None:
                return place
        return None

    def spoken_nowhere(self, wanted: Wanted) -> bool:
        """Return whether the model is served, and only by nodes that are known not to speak what is wanted.

        To be asked when nobody was found: it looks at the first of them, one after the other.
        """
        pool = self._pools.of(wanted.project, wanted.model, wanted.kind)
        if pool is None or wanted.protocol is None:
            return False
        places = islice(chain(pool.connected, pool.others), defaults.CHOOSE_SCAN)
        return all(peer != self._own_id and self._speaks(peer, wanted.protocol) is False for peer, _ in places)

    def report(self, instance: Instance, sample: Sample) -> None:
        """Learn how an attempt at `instance` went: every one that was chosen, whatever became of it."""
        now_s = self._clock.monotonic()
        match sample.outcome:
            case SampleOutcome.GOOD:
                self._breakers.good(instance)
                if sample.whole_s is not None:
                    self._measured.wrote(instance, sample.whole_s, sample.tokens, now_s)
                    return
                token_s = sample.content_s / sample.tokens if sample.content_s is not None and sample.tokens else None
                self._measured.answered(instance, sample.first_content_s, token_s, now_s)
            case SampleOutcome.FAILED:
                self._measured.failed(instance, now_s)
                self._breakers.failed(instance, now_s, reachable=self._is_connected(instance[0]))
            case SampleOutcome.BUSY:
                self._breakers.busy(instance, now_s)
            case SampleOutcome.REFUSED:
                self._breakers.good(instance)
                self._measured.refused(instance, now_s)
            case SampleOutcome.SLOW:
                self._measured.slow(instance, sample.first_content_s or 0.0, now_s)
                self._breakers.let_go(instance)
            case SampleOutcome.UNFIT:
                self._unfit.add(instance, sample.endpoint, now_s)
                self._breakers.let_go(instance)
            case SampleOutcome.UNASKED:
                self._breakers.let_go(instance)

    def usual_first_content_s(self, instance: Instance) -> float | None:
        """Return the usual time to the first content of `instance`, None if it was never asked."""
        return self._measured.first_content_s(instance)

    def open_breakers(self) -> int:
        """Return how many instances are left alone because they have failed."""
        return self._breakers.open_count()

    def _of_session(self, pool: Pool, wanted: Wanted, tried: Container[Instance], now_s: float) -> Place | None:
        """Return who answered this conversation last, while that is good enough."""
        if not wanted.session:
            return None
        last = self._sessions.of((wanted.project, wanted.model, wanted.session), now_s)
        if last is None:
            return None
        place = last[0], last[3]
        offered = any(
            offer.cid == place[1] and fits(offer.kind, wanted.kind) for _, offer in pool.instances.of(place[0])
        )
        if not offered or not self._is_connected(place[0]) or not self._may_be_asked(last, wanted, tried, now_s):
            return None
        other = self._better_of_two(pool.connected, pool, wanted, tried, now_s)
        if other is None:
            return place
        limit = defaults.SESSION_COST_FACTOR * self._cost(pool, _instance(wanted, other), now_s)
        return place if self._cost(pool, last, now_s) <= limit else other

    def _better_of_two(
        self, tier: list[Place], pool: Pool, wanted: Wanted, tried: Container[Instance], now_s: float
    ) -> Place | None:
        pair = self._pair(tier, pool, wanted, tried, now_s)
        if len(pair) < _PAIR:
            return pair[0] if pair else None
        one, other = pair
        return self._better(pool, wanted, one, other, now_s)

    def _better(self, pool: Pool, wanted: Wanted, one: Place, other: Place, now_s: float) -> Place:
        difference = self._cost(pool, _instance(wanted, one), now_s) - self._cost(pool, _instance(wanted, other), now_s)
        if not difference:
            return one if self._draw() < _HALF else other
        return other if difference > 0 else one

    def _pair(
        self, tier: list[Place], pool: Pool, wanted: Wanted, tried: Container[Instance], now_s: float
    ) -> list[Place]:
        """Return instances of two nodes that may be asked, by chance; fewer if there are not as many within reach.

        Of a node that is drawn more than once, it is the better one of its instances.
        """
        size = len(tier)
        connected = tier is pool.connected
        seen: set[int] = set()
        first: Place | None = None
        for _ in range(defaults.CHOOSE_DRAWS):
            index = int(self._draw() * size)
            if index in seen:
                continue
            seen.add(index)
            place = tier[index]
            if not self._may_be_drawn(place, wanted, tried, now_s, connected=connected):
                continue
            if first is None:
                first = place
            elif first[0] != place[0]:
                return [first, place]
            else:
                first = self._better(pool, wanted, first, place, now_s)
        start = int(self._draw() * size)
        for step in range(min(size, defaults.CHOOSE_SCAN)):
            index = (start + step) % size
            place = tier[index]
            if index in seen or (first is not None and first[0] == place[0]):
                continue
            if self._may_be_drawn(place, wanted, tried, now_s, connected=connected):
                if first is not None:
                    return [first, place]
                first = place
        return [] if first is None else [first]

    def _may_be_drawn(
        self, place: Place, wanted: Wanted, tried: Container[Instance], now_s: float, *, connected: bool
    ) -> bool:
        # It may have gone a moment ago, and nobody has told yet.
        if connected and not self._is_connected(place[0]):
            return False
        return self._may_be_asked(_instance(wanted, place), wanted, tried, now_s)

    def _may_be_asked(self, instance: Instance, wanted: Wanted, tried: Container[Instance], now_s: float) -> bool:
        if instance in tried:
            return False
        return self._breakers.allows(instance, now_s) and self._can_be_asked(instance[0], wanted)

    def _can_be_asked(self, peer: PeerId, wanted: Wanted) -> bool:
        if peer == self._own_id:
            return True
        if wanted.protocol and self._speaks(peer, wanted.protocol) is False:
            return False
        # Only a node of the reference has this limit; what it speaks is asked for only when the limit is near.
        return (
            self._reservations.at_peer(peer) < defaults.REFERENCE_STREAMS_MAX
            or self._speaks(peer, defaults.INFERENCE_PROTOCOL) is not False
        )

    def _least_bad(self, pool: Pool, wanted: Wanted, tried: Container[Instance]) -> Place | None:
        """Return who is connected and whose pause ends first, among some drawn by chance."""
        best: tuple[float, Place] | None = None
        size = len(pool.connected)
        start = int(self._draw() * size)
        for step in range(min(size, defaults.CHOOSE_SCAN)):
            place = pool.connected[(start + step) % size]
            instance = _instance(wanted, place)
            if instance in tried or not self._is_connected(place[0]) or not self._can_be_asked(place[0], wanted):
                continue
            until_s = self._breakers.until_s(instance)
            if best is None or until_s < best[0]:
                best = until_s, place
        return None if best is None else best[1]

    def _is_connected(self, peer: PeerId) -> bool:
        return peer == self._own_id or self._connection(peer) is not None

    def _in_flight(self, pool: Pool, instance: Instance) -> int:
        reported = next((offer.in_flight for _, offer in pool.instances.of(instance[0]) if offer.cid == instance[3]), 0)
        return max(reported, self._reservations.count(instance))

    def _cost(self, pool: Pool, instance: Instance, now_s: float) -> float:
        measured = self._measured.of(instance, now_s)
        own = instance[0] == self._own_id
        connection = None if own else self._connection(instance[0])
        return cost(
            Facts(
                self._in_flight(pool, instance),
                measured.first_s,
                measured.token_s,
                measured.failing,
                connection is not None and connection.relayed,
                0 if own else connection.rtt_us if connection is not None else None,
            )
        )


class _Avoided:
    """The instances that were asked, all others of some nodes, and those that are unfit."""

    __slots__ = ("_nodes", "_tried", "_unfit")

    def __init__(
        self,
        tried: Container[Instance],
        nodes: Container[PeerId] = (),
        unfit: Callable[[Instance], bool] = lambda _: False,
    ) -> None:
        self._tried = tried
        self._nodes = nodes
        self._unfit = unfit

    def __contains__(self, instance: Any) -> bool:
        return instance in self._tried or instance[0] in self._nodes or self._unfit(instance)


def _instance(wanted: Wanted, place: Place) -> Instance:
    peer, cid = place
    return peer, wanted.project, wanted.model, InstanceId(cid)
