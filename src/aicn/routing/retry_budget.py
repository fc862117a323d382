"""How many attempts there may be beyond one for each request.

They are a share of the requests, so that a network that fails is not buried under repetitions. The idea is that
of the retry budgets of Finagle and Envoy: a token bucket that requests fill and repetitions empty.
"""

from __future__ import annotations

from aicn import defaults
from aicn.clock import Clock


class RetryBudget:
    """A bucket of attempts. Use from one event loop.

    Each request puts `share` of an attempt into it, and each attempt after the first takes a whole one out. So that
    a node with few requests can repeat one of them, time fills the bucket as well, up to `defaults.ROUTE_RETRY_FLOOR`.
    """

    __slots__ = ("_clock", "_filled_s", "_left", "_share", "refused")

    def __init__(self, clock: Clock, share: float = defaults.ROUTE_RETRY_BUDGET) -> None:
        """Start with the floor; `share` is that of repetitions per request, 0 for none at all."""
        self._clock = clock
        self._share = share
        self._left = float(defaults.ROUTE_RETRY_FLOOR) if share else 0.0
        self._filled_s = clock.monotonic()
        self.refused = 0
        """Repetitions that were not made for want of budget."""

    @property
    def left(self) -> float:
        """Attempts that may be made now."""
        self._fill()
        return self._left

    def request(self) -> None:
        """Note one more request."""
        self._left = min(self._left + self._share, defaults.ROUTE_RETRY_SAVED)

    def take(self, leave: float = 0.0) -> bool:
        """Take one attempt out; false, and nothing is taken, if there are not more than `leave` and one."""
        self._fill()
        if self._left < 1 + leave:
            self.refused += 1
            return False
        self._left -= 1
        return True

    def give_back(self) -> None:
        """Put back what was taken for an attempt that was not made."""
        self._left += 1

    def _fill(self) -> None:
        now_s = self._clock.monotonic()
        if self._share and self._left < defaults.ROUTE_RETRY_FLOOR:
            grown = self._left + (now_s - self._filled_s) * defaults.ROUTE_RETRY_FLOOR_PER_S
            self._left = min(grown, defaults.ROUTE_RETRY_FLOOR)
        self._filled_s = now_s
