"""An observer that remembers what it was told, and holds the tellers to their contract."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from aicn.telemetry import Occasion, Outcome, Side


@dataclass(slots=True)
class Witnessed:
    """One use, as it was told."""

    side: Side
    begun: tuple[Any, ...]
    """endpoint, project, model, cid, peer, caller"""
    occasion: Occasion
    waits_s: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    served: list[tuple[Any, ...]] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    """After how many attempts."""
    first_bytes: int = 0
    answer: bytearray = field(default_factory=bytearray)
    continuations: int = 0
    used: tuple[int, int] = (0, 0)
    """What it tells of the tokens before a continuation."""
    ends: list[tuple[Outcome, int | None]] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def body(self, data: bytes) -> None:
        assert not self.ends
        self.bodies.append(data)

    def queued(self, seconds: float) -> None:
        assert not self.ends
        self.waits_s.append(seconds)

    def served_by(self, *served: Any) -> None:
        assert not self.ends
        self.served.append(served)

    def failed_after(self, attempts: int) -> None:
        assert not self.ends
        assert not self.served
        self.failures.append(attempts)

    def first_byte(self) -> None:
        assert not self.ends
        assert not self.answer
        self.first_bytes += 1

    def part(self, data: bytes) -> None:
        assert not self.ends
        assert self.first_bytes == 1
        self.answer += data

    def continued(self) -> tuple[int, int]:
        assert not self.ends
        self.continuations += 1
        return self.used

    def end(self, outcome: Outcome, status: int | None) -> None:
        self.ends.append((outcome, status))
        self.ended.set()


class Uses:
    """An `aicn.telemetry.Observer`."""

    def __init__(self, *, wants_body: bool = True) -> None:
        self.wants_body = wants_body
        self.all: list[Witnessed] = []

    def begin(self, occasion: Occasion) -> Witnessed:
        use = Witnessed(occasion.side, occasion[1:7], occasion)
        self.all.append(use)
        return use

    async def only(self, timeout_s: float = 10.0) -> Witnessed:
        """Return the only use there was, when it has ended; it was told of its end once."""
        assert len(self.all) == 1
        async with asyncio.timeout(timeout_s):
            await self.all[0].ended.wait()
        assert len(self.all[0].ends) == 1
        assert len(self.all[0].bodies) <= 1
        assert len(self.all[0].served) <= 1
        assert len(self.all[0].waits_s) <= 1
        assert self.all[0].first_bytes <= 1
        return self.all[0]
