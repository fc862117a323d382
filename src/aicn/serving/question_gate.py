"""Which questions of other nodes are taken: not too many from one, and none a second time."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from aicn import defaults
from aicn.clock import Clock
from aicn.ids import PeerId


@dataclass(slots=True)
class _Source:
    """What is kept of one sender."""

    tokens: float
    """Questions that may come at once."""
    counted_s: float
    """When `tokens` was true."""
    newest_unix_s: int
    """Latest time in a question that was taken, by the sender's own clock."""


class QuestionGate:
    """Rate limit of every sender, and memory of what was asked; all of it bounded.

    A question is known by its sender and its id. Ids are forgotten some time; what is older by then than
    `defaults.QUESTION_MAX_AGE_S` before the newest question of its sender is not taken either. A sender whose clock
    was set back is heard again once it has been silent for `defaults.REPLAY_MEMORY_S`.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        max_sources: int = defaults.QUESTION_SOURCES_MAX,
        max_ids: int = defaults.QUESTION_IDS_REMEMBERED,
    ) -> None:
        """Start without memory of anybody.

        Args:
            clock: refills the allowance of each sender.
            max_sources: senders remembered.
            max_ids: questions remembered, of all senders together.
        """
        self._clock = clock
        self._max_sources = max_sources
        self._max_ids = max_ids
        self._sources: OrderedDict[PeerId, _Source] = OrderedDict()
        self._ids: OrderedDict[tuple[PeerId, str], None] = OrderedDict()

    def spend(self, source: PeerId) -> bool:
        """Count one message of `source` against its allowance; return whether there was any left."""
        now_s = self._clock.monotonic()
        known = self._sources.pop(source, None)
        if known is None or now_s - known.counted_s > defaults.REPLAY_MEMORY_S:
            known = _Source(defaults.QUESTION_BURST, now_s, newest_unix_s=0)
        self._sources[source] = known
        while len(self._sources) > self._max_sources:
            self._sources.popitem(last=False)
        refilled = known.tokens + (now_s - known.counted_s) * defaults.QUESTIONS_PER_S
        known.tokens = min(float(defaults.QUESTION_BURST), refilled)
        known.counted_s = now_s
        if known.tokens < 1:
            return False
        known.tokens -= 1
        return True

    def is_new(self, source: PeerId, id_: str, sent_unix_s: int) -> bool:
        """Remember a question, and return whether it is none that was taken before. Call `spend` first.

        Args:
            source: who signed it.
            id_: of the question.
            sent_unix_s: when its sender says that it was sent.
        """
        known = self._sources[source]
        if sent_unix_s < known.newest_unix_s - defaults.QUESTION_MAX_AGE_S or (source, id_) in self._ids:
            return False
        known.newest_unix_s = max(known.newest_unix_s, sent_unix_s)
        self._ids[source, id_] = None
        while len(self._ids) > self._max_ids:
            self._ids.popitem(last=False)
        return True
