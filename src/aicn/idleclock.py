"""One clock for many waits: tells when one of them has lasted too long.

`asyncio.timeout` around each read of a stream costs more than the read. This clock is set once for all reads and
looks, when it rings, whether a read is waiting and since when.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class IdleClock:
    """Calls `on_idle` once when a wait has lasted for `limit_s`.

    `start` and `stop` bound the time in which it looks; `begin` and `end` bound each wait, and cost next to
    nothing. Use from one event loop, for one wait at a time.
    """

    __slots__ = ("_limit_s", "_on_idle", "_since_s", "_timer")

    def __init__(self, limit_s: float, on_idle: Callable[[], None]) -> None:
        """Prepare; `on_idle` must not raise."""
        self._limit_s = limit_s
        self._on_idle = on_idle
        self._since_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look from now on."""
        self._timer = asyncio.get_running_loop().call_later(self._limit_s, self._look)

    def stop(self) -> None:
        """Look no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def begin(self) -> None:
        """A wait begins."""
        self._since_s = time.monotonic()

    def end(self) -> None:
        """The wait is over."""
        self._since_s = None

    def _look(self) -> None:
        waited_s = 0.0 if self._since_s is None else time.monotonic() - self._since_s
        if waited_s >= self._limit_s:
            self._timer = None
            self._on_idle()
        else:
            self._timer = asyncio.get_running_loop().call_later(self._limit_s - waited_s, self._look)
