"""When an instance that fails is left alone, and when it is tried again: (state, event, now) -> state, pure.

Closed: it is asked. After some failures in a row it is open: not asked, for a pause that grows with each failure. When
the pause is over it is half open: one request tries it, and the others wait for what becomes of that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from aicn import defaults


@dataclass(frozen=True, slots=True)
class Breaker:
    """What is known of an instance that has failed."""

    failures: int = 0
    """In a row."""
    refusals: int = 0
    """For want of room, in a row."""
    until_s: float = float("-inf")
    """Until when it is not asked."""
    trial_until_s: float = float("-inf")
    """Until when a request that tries it may still tell."""
    unreached: bool = False
    """Whether the last request that failed could not be brought there at all."""


CLOSED = Breaker()


def allows(breaker: Breaker, now_s: float) -> bool:
    """Return whether one more request may be sent."""
    return now_s >= breaker.until_s and now_s >= breaker.trial_until_s


def is_open(breaker: Breaker) -> bool:
    """Return whether so much has failed that only a request on trial may be sent."""
    return breaker.failures >= defaults.BREAKER_FAILURES


def asked(breaker: Breaker, now_s: float) -> Breaker:
    """A request was sent."""
    return replace(breaker, trial_until_s=now_s + defaults.BREAKER_TRIAL_S) if is_open(breaker) else breaker


def failed(breaker: Breaker, now_s: float) -> Breaker:
    """A request failed in a way that is the instance's fault."""
    if is_open(breaker) and now_s < breaker.until_s:
        # It was sent before the pause: all that were under way when a server died are one failure, not many.
        return let_go(breaker)
    failures = breaker.failures + 1
    over = failures - defaults.BREAKER_FAILURES
    if over < 0:
        return Breaker(failures)
    pause_s = min(defaults.BREAKER_PAUSE_MAX_S, _doubled(defaults.BREAKER_PAUSE_S, over))
    return Breaker(failures, until_s=now_s + pause_s)


def out_of_reach(breaker: Breaker, now_s: float) -> Breaker:
    """A request could not be brought there at all: to find that out costs seconds, so once is enough."""
    fell = failed(replace(breaker, failures=max(breaker.failures, defaults.BREAKER_FAILURES - 1)), now_s)
    return replace(fell, unreached=True)


def let_go(breaker: Breaker) -> Breaker:
    """A request that was sent tells nothing of it: the next one may try it."""
    return replace(breaker, trial_until_s=float("-inf"))


def came(breaker: Breaker) -> Breaker:
    """Its node is connected and was not: what was out of reach is not any more, and what failed may be tried again.

    It stays a trial: else who fails and comes again all the time would be asked all the time.
    """
    if breaker.unreached:
        return CLOSED
    return replace(breaker, until_s=float("-inf"), trial_until_s=float("-inf"))


def busy(breaker: Breaker, now_s: float, spared: int = 0) -> Breaker:
    """A request was refused for want of room: no failure, but the next one would be refused too.

    Args:
        breaker: as it was.
        now_s: the time.
        spared: how many refusals in a row there may be before a pause; each one beyond doubles it.
    """
    if now_s < breaker.until_s:
        # It was sent before the pause, as in `failed`.
        return let_go(breaker)
    refusals = breaker.refusals + 1
    until_s = breaker.until_s
    if refusals > spared:
        until_s = now_s + min(defaults.BREAKER_BUSY_MAX_S, _doubled(defaults.BREAKER_BUSY_S, refusals - spared - 1))
    return replace(breaker, refusals=refusals, until_s=until_s, trial_until_s=float("-inf"))


def _doubled(pause_s: float, times: int) -> float:
    # The exponent is bounded: a machine that is off for a week must not make a number that no float can hold.
    return pause_s * float(1 << min(times, 16))
