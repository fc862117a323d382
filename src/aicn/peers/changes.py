"""Who has changed, for those who keep something in step with it."""

from __future__ import annotations

from collections.abc import Sequence

from aicn import defaults
from aicn.ids import PeerId


class Changes:
    """The peers that have changed, in order. Whoever has followed it up to some count asks for those since.

    Until somebody has, none is kept.

    Attributes:
        count: how many changes there have been.
    """

    __slots__ = ("_followed", "_peers", "count")

    def __init__(self) -> None:
        """Begin without any."""
        self.count = 0
        self._followed = False
        self._peers: list[PeerId] = []

    def add(self, peer: PeerId) -> None:
        """Take note of a peer."""
        self.count += 1
        if not self._followed:
            return
        self._peers.append(peer)
        if len(self._peers) >= 2 * defaults.CHANGES_KEPT:
            del self._peers[: defaults.CHANGES_KEPT]

    def follow(self) -> int:
        """Return the count, from which on somebody will ask."""
        self._followed = True
        return self.count

    def add_all(self) -> None:
        """Take note that anybody may have changed."""
        self.count += 1
        self._peers.clear()

    def since(self, count: int) -> Sequence[PeerId] | None:
        """Return who has changed since there were `count` changes, None if nobody knows any more."""
        missed = self.count - count
        if missed > len(self._peers):
            return None
        return self._peers[len(self._peers) - missed :]
