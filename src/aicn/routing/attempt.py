"""One attempt of a request: one peer that is asked, with its reservation, and what it tells of the instance."""

from __future__ import annotations

import time
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Final

from aicn import defaults
from aicn.errors import AicnError, CorePanicked, HostClosed, Overloaded, StreamRefused
from aicn.routing.answer import Answer
from aicn.routing.judgement import SAID_OF_THE_MODEL, reason_of, status_of, worth_another
from aicn.routing.reservations import Instance, Reservations
from aicn.routing.selector import Chosen, Sample, SampleOutcome

Why = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]
"""Why a block ended, as `__aexit__` is told."""

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

    def sample(self, answer: Answer) -> Sample:
        """Return what an answer that is over says of its instance."""
        if answer.broken:
            return Sample(SampleOutcome.FAILED)
        if status_of(answer) >= _FAILED_FROM:
            # To refuse is quick; it says nothing of how long an answer takes.
            return Sample(SampleOutcome.UNASKED if answer.excused else SampleOutcome.REFUSED)
        first_s, content_s = self.content_s - self.began_s, time.monotonic() - self.content_s
        if answer.is_written_whole:
            return Sample(SampleOutcome.GOOD, tokens=answer.tokens, whole_s=first_s)
        waited_s = answer.waited_s - self.waited_s
        if content_s - waited_s > max(defaults.SLOW_READER_S, waited_s):
            # The client took its time. To blame the instance would let one client turn all others away from it.
            return Sample(SampleOutcome.GOOD, first_s)
        return Sample(SampleOutcome.GOOD, first_s, answer.tokens, content_s)

    @property
    def outcome(self) -> SampleOutcome:
        """Return what a failed attempt says of its instance."""
        answer = self.answer
        if answer is None:
            outcomes = (outcome for kind, outcome in _NOT_ITS_FAULT if isinstance(self.error, kind))
            return next(outcomes, SampleOutcome.FAILED)
        if answer.node_error in _WORKING:
            return SampleOutcome.UNFIT
        # A node that has no room, by its own word or its model server's, works; one whose server is gone does not.
        full = answer.node_error in (None, Overloaded.slug) and status_of(answer) in _BUSY
        return SampleOutcome.BUSY if full else SampleOutcome.FAILED
