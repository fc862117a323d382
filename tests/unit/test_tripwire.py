from __future__ import annotations

import asyncio

import pytest

from aicn.tripwire import Tripwire


class _Tripped(Exception):
    pass


async def _forever() -> None:
    await asyncio.Event().wait()


async def test_watch_that_raises_cancels_the_block_and_its_error_comes_out() -> None:
    cancelled = False

    async def trip() -> None:
        raise _Tripped

    with pytest.raises(_Tripped):
        async with Tripwire(trip):
            try:
                await _forever()
            except asyncio.CancelledError:
                cancelled = True
                raise
    assert cancelled
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_block_that_ends_first_ends_the_watch() -> None:
    ended = asyncio.Event()

    async def watch() -> None:
        try:
            await _forever()
        finally:
            ended.set()

    async with Tripwire(watch):
        await asyncio.sleep(0)
    assert ended.is_set()


async def test_watch_that_returns_leaves_the_block_alone() -> None:
    async def watch() -> None:
        return

    async with Tripwire(watch):
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_error_of_the_block_wins_and_watch_is_ended() -> None:
    with pytest.raises(KeyError):
        async with Tripwire(_forever):
            raise KeyError


async def test_cancellation_from_outside_stays_a_cancellation() -> None:
    entered = asyncio.Event()

    async def body() -> None:
        async with Tripwire(_forever):
            entered.set()
            await _forever()

    task = asyncio.create_task(body())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancellation_from_outside_at_the_same_time_as_the_trip_is_not_lost() -> None:
    entered = asyncio.Event()
    trip = asyncio.Event()

    async def watch() -> None:
        await trip.wait()
        raise _Tripped

    async def body() -> None:
        async with Tripwire(watch):
            entered.set()
            await _forever()

    task = asyncio.create_task(body())
    await entered.wait()
    trip.set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
