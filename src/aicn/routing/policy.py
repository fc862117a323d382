"""The order in which candidates are tried: a pure function."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aicn import defaults
from aicn.routing.candidates import Candidate


def order(candidates: Iterable[Candidate], tiebreak: Callable[[], float]) -> list[Candidate]:
    """Return the candidates, best first.

    Sort key, most important first:

    1. connected before not connected: dialling costs seconds, and may fail;
    2. fewer requests in flight;
    3. direct before relayed: a relay is shared and limited;
    4. nearer, in steps of `defaults.RTT_STEP_US`: differences below a step are noise;
    5. `tiebreak()`: equals share the load by chance.

    Args:
        candidates: all instances that could answer.
        tiebreak: called once for each candidate, e.g. `random.random`.
    """

    def key(candidate: Candidate) -> tuple[bool, int, bool, int, float]:
        rtt_us = defaults.RTT_UNKNOWN_US if candidate.rtt_us is None else candidate.rtt_us
        return (
            not candidate.connected,
            candidate.in_flight,
            candidate.relayed,
            rtt_us // defaults.RTT_STEP_US,
            tiebreak(),
        )

    return sorted(candidates, key=key)
