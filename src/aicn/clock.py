"""Time, injectable: every wait and every age in aicn is measured with a `Clock`."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where a part of the program takes its time from."""

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; never goes back. For ages and deadlines."""
        ...

    def unix(self) -> float:
        """Return seconds since 1970-01-01 UTC. For timestamps that leave the process."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        """Return `time.monotonic()`."""
        return time.monotonic()

    def unix(self) -> float:
        """Return `time.time()`."""
        return time.time()


class ManualClock:
    """A clock that a test moves by hand."""

    def __init__(self, monotonic_s: float = 1_000.0, unix_s: float = 1_700_000_000.0) -> None:
        """Start at the given times, in seconds."""
        self._monotonic_s = monotonic_s
        self._unix_s = unix_s

    def monotonic(self) -> float:
        """Return the monotonic time that `advance` has reached."""
        return self._monotonic_s

    def unix(self) -> float:
        """Return the wall time that `advance` has reached."""
        return self._unix_s

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self._monotonic_s += seconds
        self._unix_s += seconds
