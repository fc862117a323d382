"""The attempts of one request: one peer after the other, or two at once, until an answer is good, within bounds.

A peer that fails before the first content is left for the next; after it, never: the client has seen part of an
answer, and another model would write another one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Container, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Final, NamedTuple

from aicn import defaults
from aicn.errors import (
    AicnError,
    AttemptsExhausted,
    CorePanicked,
    EndpointUnsupported,
    HostClosed,
    NetworkError,
    NetworkTimeout,
    NoCandidate,
    Overloaded,
    StreamRefused,
    WireError,
    WrongKind,
)
from aicn.ids import PeerId
from aicn.routing.answer import Answer
from aicn.routing.ask import Ask
from aicn.routing.exchange import OpenStream, ask_peer
from aicn.routing.hedge import hedge_after_s, hedged
from aicn.routing.judgement import SAID_OF_THE_MODEL, reason_of, status_of, worth_another
from aicn.routing.reservations import Instance, Reservations
from aicn.routing.retry_budget import Bucket, RetryBudget
from aicn.routing.selector import Chosen, Sample, SampleOutcome, Selector, Wanted
from aicn.wire.http_frames import protocol_of

Why = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]
"""Why a block ended, as `__aexit__` is told."""

_log = logging.getLogger("aicn.routing")


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


class Attempt:
    """One attempt that has begun, with its reservation.

    Attributes:
        instance: who is asked.
        began_s: when, on the monotonic clock.
        asked: whether anything has been sent, or may have been.
        told: whether the selector knows how it went.
        content_s: when its first content came.
        waited_s: how long reads had waited for the peer until then.
        answer: None until there is one.
        error: why there is none.
    """

    __slots__ = (
        "_asking",
        "_reservation",
        "answer",
        "asked",
        "began_s",
        "chosen",
        "content_s",
        "error",
        "instance",
        "told",
        "waited_s",
    )

    def __init__(self, chosen: Chosen, instance: Instance, reservations: Reservations) -> None:
        """Reserve before anything is awaited, so that two requests never both see the same idle instance."""
        self.chosen = chosen
        self.instance = instance
        self.began_s = time.monotonic()
        self.asked = False
        self.told = False
        self.content_s = 0.0
        self.waited_s = 0.0
        self.answer: Answer | None = None
        self.error: AicnError | None = None
        self._asking: AbstractAsyncContextManager[Answer] | None = None
        self._reservation: AbstractContextManager[None] | None = reservations.reserve(instance)
        self._reservation.__enter__()

    async def run(
        self, asking: AbstractAsyncContextManager[Answer], timeout_s: float | None, behind_head_s: float
    ) -> None:
        """Ask, and wait for the first content.

        Args:
            asking: sends the request.
            timeout_s: since the attempt began; None: an upload has its own clock up to the head of the answer.
            behind_head_s: since then, if there is no other limit.

        Raises:
            NetworkError, WireError: there is none.
        """
        answer = await asking.__aenter__()
        self._asking = asking
        await answer.prefetch(behind_head_s if timeout_s is None else self.began_s + timeout_s - time.monotonic())
        self.content_s = time.monotonic()
        self.waited_s = answer.waited_s
        self.answer = answer

    async def release(self, *why: *Why) -> None:
        """Close the stream, or reset it if the answer is not through. Idempotent."""
        asking, self._asking = self._asking, None
        reservation, self._reservation = self._reservation, None
        try:
            if asking is not None:
                await asking.__aexit__(*why)
        finally:
            if reservation is not None:
                reservation.__exit__(None, None, None)

    @property
    def good(self) -> bool:
        """Whether its answer is the one to be given."""
        return self.answer is not None and not worth_another(self.answer)

    @property
    def runs(self) -> bool:
        """Whether nothing has come of it yet."""
        return self.answer is None and self.error is None

    @property
    def reason(self) -> AicnError | None:
        """Why it is not good."""
        return self.error if self.answer is None else reason_of(self.answer)


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
            candidate = self._next(free=_outcome_of(attempt) is SampleOutcome.UNFIT)
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
        # Timers tick in milliseconds, and one that was set for the end may ring a moment before it.
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
        outcome = _outcome_of(attempt)
        self._tell(attempt, Sample(outcome, endpoint=self._ask.endpoint if outcome is SampleOutcome.UNFIT else None))
        return attempt

    def _tell(self, attempt: Attempt, sample: Sample) -> None:
        attempt.told = True
        self._ways.selector.report(attempt.instance, sample)

    def _report(self) -> None:
        """Tell the selector how the answer went that was given, and of what was under way when the client left."""
        for attempt in self._begun:
            if not attempt.told and (attempt.runs or attempt is self._given):
                self._tell(attempt, self._cut(attempt) if attempt.answer is None else _sample(attempt, attempt.answer))

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


def _sample(attempt: Attempt, answer: Answer) -> Sample:
    """Return what an answer that is over says of its instance."""
    if answer.broken:
        return Sample(SampleOutcome.FAILED)
    if status_of(answer) >= _FAILED_FROM:
        # To refuse is quick; it says nothing of how long an answer takes.
        return Sample(SampleOutcome.UNASKED if answer.excused else SampleOutcome.REFUSED)
    first_s, content_s = attempt.content_s - attempt.began_s, time.monotonic() - attempt.content_s
    if answer.is_written_whole:
        return Sample(SampleOutcome.GOOD, tokens=answer.tokens, whole_s=first_s)
    waited_s = answer.waited_s - attempt.waited_s
    if content_s - waited_s > max(defaults.SLOW_READER_S, waited_s):
        # The client took its time. To blame the instance would let one client turn all others away from it.
        return Sample(SampleOutcome.GOOD, first_s)
    return Sample(SampleOutcome.GOOD, first_s, answer.tokens, content_s)


def _outcome_of(attempt: Attempt) -> SampleOutcome:
    """Return what a failed attempt says of its instance."""
    answer = attempt.answer
    if answer is None:
        outcomes = (outcome for kind, outcome in _NOT_ITS_FAULT if isinstance(attempt.error, kind))
        return next(outcomes, SampleOutcome.FAILED)
    if answer.node_error in _WORKING:
        return SampleOutcome.UNFIT
    # A node that has no room, by its own word or its model server's, works; one whose model server is gone does not.
    full = answer.node_error in (None, Overloaded.slug) and status_of(answer) in _BUSY
    return SampleOutcome.BUSY if full else SampleOutcome.FAILED


_NOT_ITS_FAULT: Final = (
    (StreamRefused, SampleOutcome.UNFIT),
    (CorePanicked, SampleOutcome.UNASKED),
    (HostClosed, SampleOutcome.UNASKED),
    (Overloaded, SampleOutcome.UNASKED),
)
"""It was not asked: the request is nothing for the way that the peer is asked by, or this node could not."""

_WORKING: Final = frozenset(kind.slug for kind in SAID_OF_THE_MODEL)
_BUSY: Final = frozenset({429, 503})
_FAILED_FROM: Final = 400
_TICK_S: Final = 0.002


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
