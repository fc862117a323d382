"""Who has said lately that what it was asked is nothing for it: it works, and others are asked first."""

from __future__ import annotations

from collections import OrderedDict

from aicn import defaults
from aicn.endpoints import Endpoint
from aicn.routing.reservations import Instance


class Unfit:
    """Instances with the endpoints that they are unfit for, those told first forgotten when they are too many.

    A chat that gossip cannot carry, an endpoint that the model server lacks: without a memory such an instance would be
    idle and new for ever, and be asked before all that work. Use from one event loop.
    """

    def __init__(self, max_entries: int = defaults.MEASURED_MAX_INSTANCES) -> None:
        """Know of nobody."""
        self._max = max_entries
        self._until_s: OrderedDict[tuple[Instance, Endpoint | None], float] = OrderedDict()

    def __len__(self) -> int:
        """Return how many entries there are, some of which may be over."""
        return len(self._until_s)

    def add(self, instance: Instance, endpoint: Endpoint | None, now_s: float) -> None:
        """Note that `instance` is not to be asked for `endpoint` for a while."""
        key = instance, endpoint
        self._until_s[key] = now_s + defaults.UNFIT_REST_S
        self._until_s.move_to_end(key)
        if len(self._until_s) > self._max:
            self._until_s.popitem(last=False)

    def has(self, instance: Instance, endpoint: Endpoint | None, now_s: float) -> bool:
        """Return whether others are to be asked for `endpoint` before `instance` is."""
        key = instance, endpoint
        until_s = self._until_s.get(key)
        if until_s is None:
            return False
        if now_s >= until_s:
            del self._until_s[key]
            return False
        return True
