"""Which heartbeats of a peer are taken: not too many, and none that is older than one taken before.

Gossip is signed, so nobody can write a heartbeat for another node; but anybody who kept one can send it again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aicn import defaults
from aicn.clock import Clock
from aicn.ids import PeerId

_SPARED: Final = 64
"""Senders that are passed over at most for one that may be forgotten: half of all are strangers."""


@dataclass(slots=True)
class _Source:
    """What is kept of one sender."""

    tokens: float
    """Heartbeats that may come at once."""
    counted_s: float
    """When `tokens` was true."""
    seqno: int = -1
    """Highest sequence number taken."""
    sent_unix_s: int = -1
    """Highest timestamp taken."""
    taken_s: float = 0.0
    """When a heartbeat was taken last."""


class Admission:
    """Rate limit and replay window of every sender.

    Those longest silent are forgotten when there are too many, those of whom something is believed after the others:
    else strangers in great number could make room for what such a one has said long ago.

    A sender's sequence numbers and timestamps both grow. A heartbeat is new if either is higher than all before
    it: the number alone would silence a sender that draws it at random, the timestamp alone one whose clock was
    set back. What was taken once is never higher than the highest, so nothing can be taken twice. After
    `defaults.REPLAY_MEMORY_S` without a heartbeat that was taken, the next one sets new marks.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        max_sources: int = defaults.HEARTBEAT_SOURCES_MAX,
        is_believed: Callable[[PeerId], bool] = lambda _: False,
    ) -> None:
        """Start without memory of any sender.

        Args:
            clock: refills the allowance of each sender, and ages its marks.
            max_sources: senders remembered.
            is_believed: whether something that a sender has said is kept.
        """
        self._clock = clock
        self._max_sources = max_sources
        self._is_believed = is_believed
        self._sources: OrderedDict[PeerId, _Source] = OrderedDict()

    def __len__(self) -> int:
        """Return how many senders are remembered."""
        return len(self._sources)

    def has_allowance(self, source: PeerId) -> bool:
        """Tell whether a heartbeat of `source` may be taken now. Cheap: ask before reading the message."""
        known = self._sources.get(source)
        return known is None or _refilled(known, self._clock.monotonic()) >= 1

    def spend(self, source: PeerId) -> None:
        """Count one message of `source` against its allowance."""
        self._spend(source, self._clock.monotonic())

    def admit(self, source: PeerId, seqno: bytes, sent_unix_s: int) -> bool:
        """Count a heartbeat against the allowance of `source`, and take it if it is newer than all taken before.

        Args:
            source: who signed it.
            seqno: the gossip's sequence number, big-endian.
            sent_unix_s: when its sender says that it was sent.

        Returns:
            Whether it was taken.
        """
        now_s = self._clock.monotonic()
        known = self._spend(source, now_s)
        number = int.from_bytes(seqno, "big")
        if now_s - known.taken_s > defaults.REPLAY_MEMORY_S:
            known.seqno = known.sent_unix_s = -1
        if number <= known.seqno and sent_unix_s <= known.sent_unix_s:
            return False
        known.seqno = max(known.seqno, number)
        known.sent_unix_s = max(known.sent_unix_s, sent_unix_s)
        known.taken_s = now_s
        return True

    def _spend(self, source: PeerId, now_s: float) -> _Source:
        known = self._sources.pop(source, None) or _Source(defaults.HEARTBEAT_BURST, now_s)
        known.tokens = max(0.0, _refilled(known, now_s) - 1)
        known.counted_s = now_s
        self._sources[source] = known
        while len(self._sources) > self._max_sources:
            self._forget_one()
        return known

    def _forget_one(self) -> None:
        for _ in range(_SPARED):
            longest_silent = next(iter(self._sources))
            if not self._is_believed(longest_silent):
                break
            self._sources.move_to_end(longest_silent)
        self._sources.popitem(last=False)


def _refilled(known: _Source, now_s: float) -> float:
    passed_s = now_s - known.counted_s
    return min(float(defaults.HEARTBEAT_BURST), known.tokens + passed_s * defaults.HEARTBEATS_PER_S)
