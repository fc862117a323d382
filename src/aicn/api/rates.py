"""So much per minute: buckets that fill steadily and are drawn from, for requests and for tokens of each key."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from aicn import defaults

MINUTE_S = 60.0

_TRUST = 0.2
"""Weight of the latest request: some ten make the average, and one that is far from it does not."""


@dataclass(slots=True)
class Bucket:
    """Holds up to a minute's worth; what is used beyond that is a debt that the next minutes pay."""

    per_minute: int
    level: float
    at_s: float

    def refill(self, per_minute: int, now_s: float) -> None:
        """Bring it to `now_s`; the limit may have changed meanwhile."""
        self.per_minute = per_minute
        grown = self.level + (now_s - self.at_s) * per_minute / MINUTE_S
        self.level = min(float(per_minute), grown)
        self.at_s = now_s

    def missing_s(self, amount: float) -> float:
        """Return how long it takes until `amount` is there, 0 if it is. More than all of it is never asked for."""
        wanted = min(amount, float(self.per_minute))
        return max(0.0, (wanted - self.level) * MINUTE_S / self.per_minute)


class Buckets:
    """Buckets by key; one that is full again is like one that is not there, so the table stays small."""

    def __init__(self, max_buckets: int = defaults.KEYS_MAX) -> None:
        """Keep at most so many, the least recently used go first."""
        self._max = max_buckets
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._buckets)

    def of(self, key: str, per_minute: int, now_s: float) -> Bucket:
        """Return the bucket of `key`, filled up to `now_s`."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(per_minute, float(per_minute), now_s)
            if len(self._buckets) > self._max:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
            bucket.refill(per_minute, now_s)
        return bucket


class Averages:
    """What one request of each key takes in the end, averaged."""

    def __init__(self, max_keys: int = defaults.KEYS_MAX) -> None:
        """Know at most so many keys; those that were not heard of for longest go first."""
        self._max = max_keys
        self._averages: OrderedDict[str, float] = OrderedDict()

    def of(self, key: str) -> float:
        """Return what to expect of `key`; 0: none of its requests has ended."""
        return self._averages.get(key, 0.0)

    def learn(self, key: str, amount: float) -> None:
        """Take note of what a request took."""
        known = self._averages.get(key, 0.0)
        self._averages[key] = known + (amount - known) * _TRUST
        self._averages.move_to_end(key)
        if len(self._averages) > self._max:
            self._averages.popitem(last=False)
