"""What many measurements of time come to."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NamedTuple, Self

PERCENTS: Final = (50, 90, 95, 99)
"""Reported of every distribution: what is usual, and how bad it gets for one request in ten, twenty, a hundred."""


class Latencies(NamedTuple):
    """Percentiles of measured times, in the unit in which they were measured.

    By nearest rank: pN is the smallest measured time that at least N % of the measurements do not exceed, so that
    each of them was really seen.
    """

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, times: Iterable[float]) -> Self | None:
        """Return those of `times`; None if there are none."""
        ordered = sorted(times)
        if not ordered:
            return None
        p50, p90, p95, p99 = (ordered[math.ceil(percent * len(ordered) / 100) - 1] for percent in PERCENTS)
        return cls(math.fsum(ordered) / len(ordered), p50, p90, p95, p99, ordered[-1])
