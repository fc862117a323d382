"""The attempts of one request: one peer after the other, or two at once, until an answer is good, within bounds.

A peer that fails before the first content is left for the next; after it, never: the client has seen part of an
answer, and another model would write another one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Container, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

from aicn import defaults
from aicn.errors import (
    AicnError,
    AttemptsExhausted,
    EndpointUnsupported,
    NetworkError,
    NetworkTimeout,
    NoCandidate,
    WireError,
    WrongKind,
)
from aicn.ids import PeerId
from aicn.routing.answer import Answer
from aicn.routing.ask import Ask
from aicn.routing.attempt import Attempt, Why
from aicn.routing.exchange import OpenStream, ask_peer
from aicn.routing.hedge import hedge_after_s, hedged
from aicn.routing.judgement import SAID_OF_THE_MODEL
from aicn.routing.reservations import Instance, Reservations
from aicn.routing.retry_budget import Bucket, RetryBudget
from aicn.routing.selector import Chosen, Sample, SampleOutcome, Selector, Wanted
from aicn.wire.http_frames import protocol_of

_log = logging.getLogger("aicn.routing")

_TICK_S: Final = 0.002
"""Timers tick in milliseconds, and one that was set for an end may ring a moment before it."""


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """Bounds of the attempts for one request; see `AICN.Routing`."""

    max_attempts: int = defaults.ROUTE_MAX_ATTEMPTS
    """Peers that are tried, the first included."""
    total_timeout_s: float = defaults.ROUTE_TOTAL_TIMEOUT_S
    """From the request to the first content of its answer."""
    hedges: bool = False
    """Whether a second peer is asked while the first is slower than it usually is."""


class Ways(NamedTuple):
    """What all requests share on their way to peers."""

    selector: Selector
    reservations: Reservations
    open_stream: OpenStream
    open_named: OpenStream
    """For peers that are not connected: it may reach them on other ways, and take longer to find them gone."""
    budget: RetryBudget
    settings: RouteSettings


class Attempts:
    """All attempts of one request."""

    def __init__(self, ways: Ways, ask: Ask, without: Container[PeerId]) -> None:
        """Ask nobody yet, and never a peer of `without`."""
        self._ways = ways
        self._ask = ask
        self._tried = _Tried(without)
        self._wanted = Wanted(
            ask.project, ask.model, ask.endpoint.kind, protocol_of(ask.endpoint), ask.session, ask.endpoint
        )
        self._began_s = time.monotonic()
        self._begun: list[Attempt] = []
        self._given: Attempt | None = None
        self._kept: Answer | None = None
        """The last answer of a model server that failed, without its stream."""

    async def answer(self) -> Answer:
        """Return the answer that is to be given, to be followed by `release` in any case.

        Raises:
            NoCandidate: nobody serves the model.
            WrongKind, EndpointUnsupported: whoever serves the model says that it does something else, or is known to.
            AttemptsExhausted: every peer that was tried failed, with the last reason.
        """
        answer = await self._first_good()
        answer.attempts = len(self._begun)
        answer.on_abandon = partial(self.release, None, None, None)
        return answer

    async def release(self, *why: *Why) -> None:
        """Release everything that was begun, and tell the selector how it went. Idempotent."""
        self._report()
        raised: BaseException | None = None
        for attempt in reversed(self._begun):
            try:
                await attempt.release(*why)
            except BaseException as error:  # noqa: BLE001 - raised when all others are released as well
                raised = error
        if raised is not None:
            raise raised

    async def _first_good(self) -> Answer:
        candidate = self._choose()
        if candidate is None:
            raise self._nobody()
        # Only now: names that nobody serves must neither take room nor save up.
        self._budget.request()
        following = self._begin(candidate)
        while True:
            attempt = await self._tried_once_or_twice(following)
            if attempt.answer is not None and attempt.good:
                self._given = attempt
                return attempt.answer
            candidate = self._next(free=attempt.outcome is SampleOutcome.UNFIT)
            if candidate is None:
                return self._last_word(attempt)
            # Reserved before the other one is let go, which may take a while.
            following = self._begin(candidate)
            await self._let_go(attempt)

    @property
    def _left_s(self) -> float | None:
        """What is left of the time to the first content; None: an upload that is still arriving has its own clock."""
        if not isinstance(self._ask.body, bytes):
            return None
        left_s = self._ways.settings.total_timeout_s - (time.monotonic() - self._began_s)
        return left_s if left_s > _TICK_S else 0.0

    @property
    def _limit_s(self) -> float | None:
        """How long an attempt that begins now may take to its first content; None: its upload has its own clock."""
        left_s, one_s = self._left_s, self._ask.first_content_timeout_s
        return left_s if left_s is None or one_s is None else min(left_s, one_s)

    def _choose(self) -> Chosen | None:
        return self._ways.selector.choose(self._wanted, self._tried, self._tried.nodes)

    def _next(self, leave: float = 0.0, *, free: bool = False) -> Chosen | None:
        """Return who is to be asked besides those that were, None if nobody is.

        Args:
            leave: what others are to find in the budget.
            free: whether it costs none of that, since the last one cost nobody anything.
        """
        if len(self._begun) >= self._ways.settings.max_attempts or not self._ask.repeatable:
            return None
        left_s = self._left_s
        if (left_s is not None and left_s <= 0) or not (free or self._budget.take(leave)):
            return None
        try:
            candidate = self._choose()
        except WrongKind:
            # Whoever did what is asked for has gone meanwhile, and what was tried has the better words for it.
            candidate = None
        if candidate is None and not free:
            self._budget.give_back()
        return candidate

    @property
    def _budget(self) -> Bucket:
        return self._ways.budget.of(self._ask.project, self._ask.model)

    async def _tried_once_or_twice(self, attempt: Attempt) -> Attempt:
        after_s = self._hedge_after_s(attempt)
        if after_s is None:
            return await self._run(attempt)

        def second() -> Coroutine[Any, Any, Attempt] | None:
            # Only what requests have saved: a slow node must not use up what a dead one needs.
            other = self._next(leave=defaults.ROUTE_RETRY_FLOOR)
            return None if other is None else self._run(self._begin(other))

        first = await hedged(self._run(attempt), second, after_s, good=lambda tried: tried.good, discard=self._let_go)
        for slower in self._begun:
            if slower.runs:
                self._tell(slower, self._cut(slower))
                await slower.release(None, None, None)
        return first

    def _hedge_after_s(self, attempt: Attempt) -> float | None:
        if not self._ways.settings.hedges or not isinstance(self._ask.body, bytes):
            return None
        return hedge_after_s(self._ways.selector.usual_first_content_s(attempt.instance))

    def _cut(self, attempt: Attempt) -> Sample:
        """Return what is told of an attempt that was ended before anything came of it."""
        if not attempt.asked or not isinstance(self._ask.body, bytes):
            # An upload takes as long as its client does.
            return Sample(SampleOutcome.UNASKED)
        # Its time is at least this: else whoever never answers would look new to all whose clients lose patience.
        return Sample(SampleOutcome.SLOW, time.monotonic() - attempt.began_s)

    def _begin(self, candidate: Chosen) -> Attempt:
        instance = (candidate.peer, self._ask.project, self._ask.model, candidate.cid)
        attempt = Attempt(candidate, instance, self._ways.reservations)
        self._tried.add(instance)
        self._begun.append(attempt)
        return attempt

    async def _run(self, attempt: Attempt) -> Attempt:
        ways, candidate = self._ways, attempt.chosen
        open_stream = ways.open_stream if candidate.connected else ways.open_named
        attempt.asked, attempt.began_s = True, time.monotonic()
        try:
            limit_s = self._limit_s
            asking = ask_peer(open_stream, candidate.peer, candidate.cid, self._ask, limit_s)
            await attempt.run(asking, limit_s, ways.settings.total_timeout_s)
        except (NetworkError, WireError) as error:
            attempt.error = error
            left_s = self._left_s
            if left_s is not None and left_s <= 0:
                within_s = ways.settings.total_timeout_s
                attempt.error = NetworkTimeout(f"no node sent any content within {within_s:g} s")
            _log.info("an attempt at peer %s failed: %s", candidate.peer, error)
        else:
            if attempt.good:
                return attempt
            _log.info("an attempt at peer %s was answered %d", candidate.peer, attempt.answer and attempt.answer.status)
        outcome = attempt.outcome
        self._tell(attempt, Sample(outcome, endpoint=self._ask.endpoint if outcome is SampleOutcome.UNFIT else None))
        return attempt

    def _tell(self, attempt: Attempt, sample: Sample) -> None:
        attempt.told = True
        self._ways.selector.report(attempt.instance, sample)

    def _report(self) -> None:
        """Tell the selector how the answer went that was given, and of what was under way when the client left."""
        for attempt in self._begun:
            if not attempt.told and (attempt.runs or attempt is self._given):
                self._tell(attempt, self._cut(attempt) if attempt.answer is None else attempt.sample(attempt.answer))

    async def _let_go(self, attempt: Attempt) -> None:
        """Release an attempt that failed; the words of a model server are kept, in case that nobody has better ones."""
        answer = attempt.answer
        if answer is not None and not attempt.good and answer.node_error is None and await answer.keep():
            self._kept = answer
        await attempt.release(None, None, None)

    def _last_word(self, attempt: Attempt) -> Answer:
        """Return a model server's answer when all have failed: its own words are the most honest thing there is."""
        if attempt.answer is not None and attempt.answer.node_error is None:
            return attempt.answer
        if self._kept is not None:
            return self._kept
        reason = attempt.reason
        if isinstance(reason, SAID_OF_THE_MODEL):
            raise reason
        raise self._exhausted(reason) from reason

    def _nobody(self) -> AicnError:
        """Return why nobody could be asked."""
        model = f"model {self._ask.model!r} of project {self._ask.project!r}"
        if self._ways.selector.spoken_nowhere(self._wanted):
            return EndpointUnsupported(
                f"no node that serves {model} can be asked for {self._ask.endpoint}; all of them are of old releases"
            )
        return NoCandidate(f"no reachable node serves {model}")

    def _exhausted(self, reason: AicnError | None) -> AttemptsExhausted:
        attempts = len(self._begun)
        tried = f"no node that was tried for model {self._ask.model!r} could answer ({attempts} in all)"
        return AttemptsExhausted(f"{tried}; the last: {reason}", attempts)


class _Tried:
    """The instances that are not to be asked (again), and the nodes that are to be asked last."""

    __slots__ = ("_instances", "_without", "nodes")

    def __init__(self, without: Container[PeerId]) -> None:
        self._without = without
        self._instances: set[Instance] = set()
        self.nodes: set[PeerId] = set()

    def add(self, instance: Instance) -> None:
        self._instances.add(instance)
        self.nodes.add(instance[0])

    def __contains__(self, instance: object) -> bool:
        return instance in self._instances or (isinstance(instance, tuple) and instance[0] in self._without)
