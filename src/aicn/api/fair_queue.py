"""Turns for requests: so many at once in all, so many of one caller, and the callers that wait one after the other."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aicn.tally import Tally


class QueueFull(Exception):
    """As many requests of the caller wait as may."""


class QueueTimeout(Exception):
    """The turn of a request did not come in time."""


Waiter = tuple[asyncio.Future[None], int]
"""What a request waits for, and how many of its caller may be under way."""


class FairQueue:
    """Gives turns. Use from one event loop.

    Each caller has a line of its own; the lines take turns, so that whoever sends a thousand requests delays nobody
    but himself. A turn lasts until its block ends.
    """

    def __init__(self, max_active: int, max_waiting: int, timeout_s: float) -> None:
        """Allow `max_active` at once, and `max_waiting` of one caller to wait for `timeout_s` at most."""
        self._max_active = max_active
        self._max_waiting = max_waiting
        self._timeout_s = timeout_s
        self._active: Tally[str] = Tally()
        self._total = 0
        self._lines: OrderedDict[str, deque[Waiter]] = OrderedDict()

    def most_of(self, max_of_caller: int) -> int:
        """Return how many requests of one caller can be under way or wait; arguments as in `turn`."""
        return self._max_waiting + (min(max_of_caller, self._max_active) or self._max_active)

    @property
    def active(self) -> int:
        """How many turns are taken."""
        return self._total

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return sum(map(len, self._lines.values()))

    @asynccontextmanager
    async def turn(self, caller: str, max_of_caller: int = 0) -> AsyncIterator[bool]:
        """Wait for a turn, and hold it during the block, which is told whether there was a wait.

        Args:
            caller: whose line to stand in.
            max_of_caller: turns that the caller may hold at once; 0: as many as there are.

        Raises:
            QueueFull: too many of the caller wait already.
            QueueTimeout: the turn did not come in time.
        """
        waits = caller in self._lines or not self._has_room(caller, max_of_caller)
        if waits:
            await self._wait(caller, max_of_caller)
        else:
            self._take(caller)
        try:
            yield waits
        finally:
            self._give_back(caller)

    def _has_room(self, caller: str, max_of_caller: int) -> bool:
        return self._total < self._max_active and (not max_of_caller or self._active[caller] < max_of_caller)

    def _take(self, caller: str) -> None:
        self._total += 1
        self._active[caller] += 1

    def _give_back(self, caller: str) -> None:
        self._total -= 1
        self._active.take(caller)
        self._hand_out()

    def _hand_out(self) -> None:
        """Give what turns there are to the lines, one each, beginning with the one that had its last turn first."""
        passed = 0
        while self._lines and self._total < self._max_active and passed < len(self._lines):
            caller, line = next(iter(self._lines.items()))
            self._lines.move_to_end(caller)
            while line and line[0][0].done():
                line.popleft()
            if not line:
                del self._lines[caller]
                continue
            future, max_of_caller = line[0]
            if not self._has_room(caller, max_of_caller):
                passed += 1
                continue
            passed = 0
            line.popleft()
            if not line:
                del self._lines[caller]
            self._take(caller)
            future.set_result(None)

    async def _wait(self, caller: str, max_of_caller: int) -> None:
        line = self._lines.setdefault(caller, deque())
        if sum(not future.done() for future, _ in line) >= self._max_waiting:
            self._drop_if_empty(caller)
            raise QueueFull
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (future, max_of_caller)
        line.append(waiter)
        try:
            async with asyncio.timeout(self._timeout_s):
                await future
        except BaseException as error:
            if future.done() and not future.cancelled():
                # The turn came in the same moment: somebody else shall have it.
                self._give_back(caller)
            else:
                self._leave(caller, waiter)
            if isinstance(error, TimeoutError):
                raise QueueTimeout from None
            raise

    def _leave(self, caller: str, waiter: Waiter) -> None:
        line = self._lines.get(caller)
        if line is not None and waiter in line:
            line.remove(waiter)
        self._drop_if_empty(caller)

    def _drop_if_empty(self, caller: str) -> None:
        if not self._lines.get(caller, True):
            del self._lines[caller]
