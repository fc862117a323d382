"""How many attempts there may be beyond one for each request.

They are a share of the requests for the same model, so that a network that fails is not buried under repetitions, and a
model that fails everywhere does not use up what the requests for others need. The idea is that of the retry budgets of
Finagle and Envoy: a token bucket that requests fill and repetitions empty.
"""

from __future__ import annotations

from collections import OrderedDict

from aicn import defaults
from aicn.clock import Clock
from aicn.ids import ModelName, ProjectName


class RetryBudget:
    """The bucket of each model, those longest unused forgotten when they are too many. Use from one event loop."""

    def __init__(
        self, clock: Clock, share: float = defaults.ROUTE_RETRY_BUDGET, max_buckets: int = defaults.POOLS_MAX
    ) -> None:
        """Start without any; `share` is that of repetitions per request, 0 for none at all."""
        self._clock = clock
        self._share = share
        self._max = max_buckets
        self._buckets: OrderedDict[tuple[ProjectName, ModelName], Bucket] = OrderedDict()
        self._refused_before = 0

    def __len__(self) -> int:
        """Return how many buckets there are."""
        return len(self._buckets)

    @property
    def refused(self) -> int:
        """Repetitions that were not made for want of budget."""
        return self._refused_before + sum(bucket.refused for bucket in self._buckets.values())

    def of(self, project: ProjectName, model: ModelName) -> Bucket:
        """Return the bucket of a model that somebody serves."""
        key = project, model
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(self._clock, self._share)
            if len(self._buckets) > self._max:
                _, forgotten = self._buckets.popitem(last=False)
                self._refused_before += forgotten.refused
        else:
            self._buckets.move_to_end(key)
        return bucket


class Bucket:
    """A bucket of attempts. Use from one event loop.

    Each request puts `share` of an attempt into it, and each attempt after the first takes a whole one out. So that
    a model with few requests can repeat one of them, time fills the bucket as well, up to `defaults.ROUTE_RETRY_FLOOR`.
    """

    __slots__ = ("_clock", "_filled_s", "_left", "_share", "refused")

    def __init__(self, clock: Clock, share: float) -> None:
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
