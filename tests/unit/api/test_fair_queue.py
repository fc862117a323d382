"""Turns are fair between callers, bounded, and never lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aicn.api.fair_queue import FairQueue, QueueFull, QueueTimeout


class Requests:
    """Requests that hold their turn until they are told to end."""

    def __init__(self, queue: FairQueue) -> None:
        self.queue = queue
        self.order: list[str] = []
        self.active: Counter[str] = Counter()
        self.ends: list[tuple[str, asyncio.Event]] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def ask(self, caller: str, limit: int = 0) -> asyncio.Task[None]:
        task = asyncio.create_task(self._run(caller, limit))
        self.tasks.append(task)
        await settled()
        return task

    async def _run(self, caller: str, limit: int) -> None:
        async with self.queue.turn(caller, limit):
            self.order.append(caller)
            self.active[caller] += 1
            end = asyncio.Event()
            self.ends.append((caller, end))
            try:
                await end.wait()
            finally:
                self.active[caller] -= 1

    async def end_one(self) -> None:
        _, end = self.ends.pop(0)
        end.set()
        await settled()

    async def end_all(self) -> None:
        while self.ends:
            await self.end_one()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@asynccontextmanager
async def requests(max_active: int, max_waiting: int = 100, timeout_s: float = 60.0) -> AsyncIterator[Requests]:
    made = Requests(FairQueue(max_active, max_waiting, timeout_s))
    yield made
    await made.end_all()
    assert (made.queue.active, made.queue.waiting) == (0, 0)
    assert not made.queue._lines
    assert not made.queue._active


async def test_whoever_finds_a_place_does_not_wait() -> None:
    async with requests(2) as asked:
        await asked.ask("a")
        await asked.ask("b")
        assert asked.order == ["a", "b"]
        assert (asked.queue.active, asked.queue.waiting) == (2, 0)


async def test_callers_take_turns_whatever_the_length_of_their_lines() -> None:
    async with requests(1) as asked:
        for caller in ["a", *"aaaa", *"bb", "c"]:
            await asked.ask(caller)
        assert asked.queue.waiting == 7
        for _ in range(7):
            await asked.end_one()
        assert asked.order[1:4] == ["a", "b", "c"]
        assert asked.order[4:] == ["a", "b", "a", "a"]


async def test_a_caller_with_a_limit_delays_nobody_else() -> None:
    async with requests(10) as asked:
        for _ in range(4):
            await asked.ask("a", 2)
        await asked.ask("b")
        assert asked.order == ["a", "a", "b"]
        await asked.end_one()
        assert asked.order == ["a", "a", "b", "a"]


async def test_too_many_in_a_line_are_refused_and_others_are_not() -> None:
    async with requests(1, max_waiting=2) as asked:
        for _ in range(3):
            await asked.ask("a")
        refused = await asked.ask("a")
        with pytest.raises(QueueFull):
            await refused
        assert not (await asked.ask("b")).done()


async def test_a_turn_that_does_not_come_in_time() -> None:
    async with requests(1, timeout_s=0.01) as asked:
        await asked.ask("a")
        with pytest.raises(QueueTimeout):
            await (await asked.ask("b"))
        assert asked.queue.waiting == 0


async def test_who_leaves_frees_the_place_in_the_line_and_the_turn() -> None:
    async with requests(1) as asked:
        holder = await asked.ask("a")
        waits = await asked.ask("b")
        await asked.ask("c")
        waits.cancel()
        await settled()
        assert asked.queue.waiting == 1
        holder.cancel()
        await settled()
        asked.ends.pop(0)
        assert asked.order == ["a", "c"]


async def test_a_turn_that_comes_in_the_moment_of_leaving_goes_to_the_next() -> None:
    async with requests(1) as asked:
        await asked.ask("a")
        leaves = await asked.ask("b")
        await asked.ask("c")
        _, end = asked.ends.pop(0)
        end.set()
        # The turn is given away within this very step; the one that gets it is cancelled before it knows.
        await asyncio.sleep(0)
        assert asked.queue.waiting == 1
        leaves.cancel()
        await settled()
        assert asked.order == ["a", "c"]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["ask", "limited", "end", "cancel"])), max_size=40),
)
def test_whatever_happens_limits_hold_and_no_turn_is_lost(most: int, steps: list[tuple[str, str]]) -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            asked = await stack.enter_async_context(requests(most))
            for caller, step in steps:
                if step == "end" and asked.ends:
                    await asked.end_one()
                elif step == "cancel" and asked.tasks:
                    task = asked.tasks.pop(0)
                    task.cancel()
                    await settled()
                elif step in {"ask", "limited"}:
                    await asked.ask(caller, 1 if step == "limited" else 0)
                assert asked.queue.active == asked.active.total() <= most
                waiting = {caller for caller, line in asked.queue._lines.items() if line}
                if asked.queue.active < most:
                    assert all(asked.active[caller] >= 1 for caller in waiting), "only their own limit holds them"

    asyncio.run(run())
