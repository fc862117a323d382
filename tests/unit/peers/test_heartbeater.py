"""Heartbeats leave when they are due. Time is the test's own: nothing here sleeps."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from aicn.clock import ManualClock
from aicn.errors import HostClosed, Overloaded
from aicn.peers import Heartbeater

_INTERVAL_S = 180.0


class _World:
    """The clock, the waiting and the network that a heartbeater lives in."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.state = 0
        self.sent: list[tuple[float, bytes]] = []
        self.error: Exception | None = None
        self.network_open = asyncio.Event()
        self.network_open.set()
        self._waits: list[tuple[float, asyncio.Event]] = []
        self.heartbeater = Heartbeater(
            self.publish,
            lambda: b"%d" % self.state,
            _INTERVAL_S,
            clock=self.clock,
            goodbye=lambda: b"goodbye",
            wait=self.wait,
        )

    @property
    def payloads(self) -> list[bytes]:
        return [payload for _, payload in self.sent]

    async def publish(self, payload: bytes) -> int:
        self.sent.append((self.clock.monotonic(), payload))
        await self.network_open.wait()
        if self.error is not None:
            raise self.error
        return 1

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        elapsed = asyncio.Event()
        self._waits.append((self.clock.monotonic() + seconds, elapsed))
        waiters = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(elapsed.wait())]
        try:
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()
            await asyncio.wait(waiters)

    async def settle(self) -> None:
        """Let everything run that can run without time passing."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for until_s, elapsed in self._waits:
            if until_s <= self.clock.monotonic():
                elapsed.set()
        await self.settle()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.heartbeater.run())
        try:
            await self.settle()
            yield task
        finally:
            task.cancel()
            await asyncio.wait({task})


async def test_one_at_start_and_one_every_interval() -> None:
    world = _World()
    start_s = world.clock.monotonic()
    async with world.running():
        assert len(world.sent) == 1
        await world.advance(_INTERVAL_S - 1)
        assert len(world.sent) == 1
        for _ in range(3):
            await world.advance(1)
            await world.advance(_INTERVAL_S - 1)
    assert [at_s - start_s for at_s, _ in world.sent] == [0, 180, 360, 540]


async def test_a_change_is_told_at_once_if_the_last_word_is_long_ago() -> None:
    world = _World()
    async with world.running():
        await world.advance(50)
        world.state = 7
        world.heartbeater.poke()
        await world.settle()
        assert world.payloads == [b"0", b"7"]


async def test_changes_in_quick_succession_are_told_as_one_with_the_last_state() -> None:
    world = _World()
    start_s = world.clock.monotonic()
    async with world.running():
        for world.state in range(1, 100):
            world.heartbeater.poke()
            await world.advance(1 / 128)
        assert len(world.sent) == 1
        await world.advance(29 / 128)
        assert world.payloads == [b"0", b"99"]
        await world.advance(100)
    assert [at_s - start_s for at_s, _ in world.sent] == [0, 1]


async def test_under_constant_change_there_is_one_a_second() -> None:
    world = _World()
    async with world.running():
        for world.state in range(1, 101):
            world.heartbeater.poke()
            await world.advance(0.125)
    times = [at_s for at_s, _ in world.sent]
    assert len(times) == 13
    assert all(later - earlier >= 1 for earlier, later in pairwise(times))


async def test_a_change_while_the_last_heartbeat_is_on_its_way_is_not_lost() -> None:
    world = _World()
    world.network_open.clear()
    async with world.running():
        world.state = 5
        world.heartbeater.poke()
        await world.settle()
        assert world.payloads == [b"0"]
        world.network_open.set()
        await world.settle()
        await world.advance(1)
        assert world.payloads == [b"0", b"5"]


async def test_a_heartbeat_that_the_network_refuses_is_sent_anew_at_the_next_occasion(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = _World()
    world.error = Overloaded("the queue is full")
    with caplog.at_level(logging.WARNING, "aicn.peers"):
        async with world.running() as task:
            assert not task.done()
            world.error = None
            await world.advance(_INTERVAL_S)
            assert len(world.sent) == 2
    assert "a heartbeat could not be sent: the queue is full" in caplog.text


async def test_it_ends_with_the_host() -> None:
    world = _World()
    async with world.running() as task:
        world.error = HostClosed("closed")
        world.heartbeater.poke()
        await world.advance(1)
        assert task.done()
        assert task.exception() is None


@pytest.mark.parametrize("seconds_before", [0.0, 0.5, 50.0])
async def test_a_stop_says_goodbye_at_once(seconds_before: float) -> None:
    world = _World()
    async with world.running() as task:
        await world.advance(seconds_before)
        world.heartbeater.stop()
        world.heartbeater.stop()
        await world.settle()
        assert task.done()
        assert task.exception() is None
    assert world.payloads == [b"0", b"goodbye"]


async def test_a_stop_during_the_gap_says_goodbye_at_once() -> None:
    world = _World()
    async with world.running() as task:
        world.heartbeater.poke()
        await world.settle()
        world.heartbeater.stop()
        await world.settle()
        assert task.done()
    assert world.payloads == [b"0", b"goodbye"]


async def test_a_stop_while_a_heartbeat_is_on_its_way_lets_it_go_first() -> None:
    world = _World()
    world.network_open.clear()
    async with world.running() as task:
        world.heartbeater.stop()
        await world.settle()
        world.network_open.set()
        await world.settle()
        assert task.done()
    assert world.payloads == [b"0", b"goodbye"]


async def test_without_anything_to_say_at_the_end_nothing_is_said() -> None:
    world = _World()
    sent: list[bytes] = []

    async def publish(payload: bytes) -> None:
        sent.append(payload)

    heartbeater = Heartbeater(publish, lambda: b"x", _INTERVAL_S, clock=world.clock)
    heartbeater.stop()
    await heartbeater.run()
    assert sent == []


async def test_a_cancellation_ends_it_without_a_goodbye() -> None:
    world = _World()
    async with world.running() as task:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
    assert world.payloads == [b"0"]


async def test_the_real_waiting_ends_with_the_event_or_the_time() -> None:
    sent = asyncio.Queue[bytes]()
    states = iter([b"first", b"poked", b"timed"])
    heartbeater = Heartbeater(sent.put, lambda: next(states), 0.01, clock=ManualClock(), min_gap_s=0)
    task = asyncio.create_task(heartbeater.run())
    assert await sent.get() == b"first"
    heartbeater.poke()
    assert await sent.get() == b"poked"
    assert await sent.get() == b"timed"
    heartbeater.stop()
    await task
