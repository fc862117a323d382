"""Whether a model server lives, and when it is asked next: (state, event, now) -> state, pure.

Nobody listens: withdrawn at once. Silence, or a connection that breaks off, may be bad luck: withdrawn when it comes
again. Any answer brings a server back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from aicn import defaults


@dataclass(frozen=True, slots=True)
class Liveness:
    """What is known of a model server."""

    misses: int = 0
    """Without an answer between them."""
    reason: str = ""
    """Of the last miss."""
    asked_s: float = float("-inf")
    """When it was asked last."""
    next_s: float = float("-inf")
    """When it is to be asked next."""


UNKNOWN = Liveness()
"""A server that nobody has asked yet: it is taken to live, and to be asked now."""


def is_up(state: Liveness) -> bool:
    """Return whether requests may be sent to it."""
    return state.misses < defaults.HEALTH_MISSES


def asked(state: Liveness, now_s: float, rest_s: float) -> Liveness:
    """It is being asked, and need not be again for `rest_s`."""
    return replace(state, asked_s=now_s, next_s=now_s + rest_s)


def answered(state: Liveness, now_s: float, rest_s: float) -> Liveness:
    """It answered, a question or a request; it need not be asked for `rest_s`."""
    return Liveness(asked_s=state.asked_s, next_s=now_s + rest_s)


def refused(state: Liveness, now_s: float, reason: str) -> Liveness:
    """Nobody listened. It may just be starting anew, so that it is asked soon, and from then on when its turn comes."""
    missed = replace(state, misses=defaults.HEALTH_MISSES, reason=reason)
    return _soon(missed, now_s) if is_up(state) else missed


def silent(state: Liveness, reason: str) -> Liveness:
    """It left a question without an answer, or broke off."""
    return replace(state, misses=min(state.misses + 1, defaults.HEALTH_MISSES), reason=reason)


def suspected(state: Liveness, now_s: float) -> Liveness:
    """A request failed in a way that may be the server's end, or not: to be asked out of turn."""
    return _soon(state, now_s)


def _soon(state: Liveness, now_s: float) -> Liveness:
    """Ask out of turn, but not again and again: failures come in crowds."""
    return replace(state, next_s=min(state.next_s, max(now_s, state.asked_s + defaults.HEALTH_REST_S)))
