"""Requests in flight are counted exactly, however they end."""

from __future__ import annotations

import asyncio

import pytest

from aicn.registry import InFlight, Model

_A = Model.of("P", "a", "http://127.0.0.1/", 0, "")
_A_MOVED = Model.of("P", "a", "http://127.0.0.1:81/", 0, "")
_B = Model.of("P", "b", "http://127.0.0.1/", 0, "")


def test_counts_follow_the_reservations() -> None:
    seen: list[tuple[int, int]] = []
    in_flight = InFlight(lambda: seen.append((in_flight.count(_A), in_flight.count(_B))))
    with in_flight.reserve(_A):
        with in_flight.reserve(_B), in_flight.reserve(_A):
            assert in_flight.total() == 3
        assert in_flight.count(_A) == 1
    assert seen == [(1, 0), (1, 1), (2, 1), (1, 1), (1, 0), (0, 0)]
    assert in_flight.total() == 0


def test_a_model_that_moves_keeps_its_count() -> None:
    in_flight = InFlight()
    with in_flight.reserve(_A):
        assert in_flight.count(_A_MOVED) == 1


async def test_requests_of_a_model_that_gets_another_name_are_counted_under_it() -> None:
    in_flight = InFlight()
    renamed = Model.of("P", "b", "http://127.0.0.1/", 0, "")
    with in_flight.reserve(_A):
        in_flight.rename(_A.key, renamed.key)
        in_flight.rename(renamed.key, renamed.key)
        assert (in_flight.count(_A), in_flight.count(renamed), in_flight.total()) == (0, 1, 1)
        await in_flight.until_idle(_A)
        with in_flight.reserve(renamed):
            assert in_flight.count(renamed) == 2
    assert in_flight.total() == 0
    await in_flight.until_idle(renamed)


def test_a_reservation_counts_only_once() -> None:
    in_flight = InFlight()
    reservation = in_flight.reserve(_A)
    assert in_flight.count(_A) == 0
    with reservation:
        with pytest.raises(RuntimeError, match="counts one request"), reservation:
            pass
        assert in_flight.count(_A) == 1
    with pytest.raises(RuntimeError, match="counts one request"), reservation:
        pass
    assert in_flight.count(_A) == 0


def test_a_callback_that_raises_leaves_the_counts_exact() -> None:
    def explode() -> None:
        raise LookupError

    in_flight = InFlight(explode)
    with pytest.raises(LookupError), in_flight.reserve(_A):
        pytest.fail("entered although the entry failed")
    assert in_flight.count(_A) == 0


async def test_cancelled_requests_are_counted_no_more() -> None:
    in_flight = InFlight()
    entered = asyncio.Barrier(51)

    async def request() -> None:
        with in_flight.reserve(_A):
            await entered.wait()
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(request()) for _ in range(50)]
        await entered.wait()
        assert in_flight.count(_A) == 50
        for each in running[:20]:
            each.cancel()
        await asyncio.wait(running[:20])
        assert in_flight.count(_A) == 30
        for each in running[20:]:
            each.cancel()
    assert in_flight.total() == 0
    assert not in_flight._under_way


async def test_whoever_waits_for_the_end_of_all_waits_on_when_the_model_is_renamed() -> None:
    in_flight = InFlight()
    renamed = Model.of("P", "renamed", "http://127.0.0.1/", 0, "")
    with in_flight.reserve(_A):
        waiting = asyncio.create_task(in_flight.until_idle(_A))
        await asyncio.sleep(0)
        in_flight.rename(_A.key, renamed.key)
        await asyncio.sleep(0)
        assert not waiting.done()
    await asyncio.wait_for(waiting, 5)
