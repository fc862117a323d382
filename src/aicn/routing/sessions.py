"""Which instance answered a conversation last: its server may still have the beginning in its cache."""

from __future__ import annotations

from collections import OrderedDict

from aicn import defaults
from aicn.ids import ModelName, ProjectName
from aicn.routing.reservations import Instance

SessionKey = tuple[ProjectName, ModelName, str]


class Sessions:
    """Instances by conversation, those that rest longest forgotten when they are too many or too old."""

    def __init__(self, max_sessions: int = defaults.SESSIONS_MAX, rest_s: float = defaults.SESSION_REST_S) -> None:
        """Know none yet."""
        self._max = max_sessions
        self._rest_s = rest_s
        self._last: OrderedDict[SessionKey, tuple[Instance, float]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many conversations are remembered."""
        return len(self._last)

    def of(self, key: SessionKey, now_s: float) -> Instance | None:
        """Return who answered last, None if nobody did or it is too long ago."""
        found = self._last.get(key)
        if found is None:
            return None
        instance, at_s = found
        if now_s - at_s > self._rest_s:
            del self._last[key]
            return None
        return instance

    def set(self, key: SessionKey, instance: Instance, now_s: float) -> None:
        """Remember that `instance` was chosen."""
        self._last[key] = instance, now_s
        self._last.move_to_end(key)
        if len(self._last) > self._max:
            self._last.popitem(last=False)
