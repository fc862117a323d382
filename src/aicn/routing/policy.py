"""What it would cost to ask an instance: a pure function, and the table of its cases is its test."""

from __future__ import annotations

from typing import NamedTuple

from aicn import defaults


class Facts(NamedTuple):
    """What is known of an instance when a request is to be sent; times in seconds."""

    in_flight: int
    """Requests that it is working on: what it reports or what this node sent, whichever is more."""
    first_s: float
    """Time to the first content that is to be expected."""
    token_s: float
    """Time for each token after it."""
    failing: float = 0.0
    """Share of recent requests that failed or were refused, 0 to 1."""
    relayed: bool = False
    """Whether a relay carries the stream."""
    rtt_us: int | None = None
    """Round-trip time in microseconds, None while unknown."""


def cost(facts: Facts) -> float:
    """Return the time, in seconds, that a request of usual length may be expected to take; the lowest is best.

    How long an answer takes, times the requests that share the instance, the new one included: what is twice as fast
    gets twice the work. An instance that fails costs as if each failure had to be done again elsewhere. A relay and a
    long way come on top, in steps, since differences below a step are noise.
    """
    rtt_us = defaults.RTT_UNKNOWN_US if facts.rtt_us is None else facts.rtt_us
    way_s = rtt_us // defaults.RTT_STEP_US * defaults.RTT_STEP_US / 1e6
    answer_s = facts.first_s + defaults.USUAL_TOKENS * facts.token_s
    retries = 1.0 + defaults.FAILING_WEIGHT * facts.failing
    return answer_s * (facts.in_flight + 1) * retries + way_s + (defaults.RELAY_COST_S if facts.relayed else 0.0)
