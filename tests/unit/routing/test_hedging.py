"""A second attempt beside a slow first one, as the router makes it."""

from __future__ import annotations

import asyncio

import pytest

from aicn import defaults
from aicn.errors import (
    AttemptsExhausted,
)
from aicn.routing import RouteSettings, SampleOutcome
from support.hosts import until
from support.scripted_peers import DEADLINE_S, DONE, EVENTS, GOOD, HANG, RESET, ROLE, WORD, Peers, ask, read

HEDGING = RouteSettings(hedges=True)


async def test_slow_first_is_overtaken_and_cancelled() -> None:
    peers = Peers((GOOD,), (EVENTS, ROLE, HANG), (GOOD,))
    peers.usual_s = 0.0
    async with asyncio.timeout(DEADLINE_S), peers.router(HEDGING) as router:
        await peers.save_up(router)
        async with router.send(ask()) as answer:
            assert answer.peer == peers.asked[1]
            assert answer.attempts == 2
            assert await read(answer) == ROLE + WORD + DONE
    assert peers.cut == [peers.asked[0]]
    slower = peers.samples[1]
    assert slower.outcome is SampleOutcome.SLOW, "it has answered nothing"
    assert slower.first_content_s is not None
    assert slower.first_content_s >= defaults.HEDGE_MIN_S


@pytest.mark.parametrize(
    ("settings", "usual_s", "share"),
    [
        pytest.param(RouteSettings(), 0.0, 1.0, id="off"),
        pytest.param(HEDGING, None, 1.0, id="nobody knows what is usual"),
        pytest.param(HEDGING, DEADLINE_S, 1.0, id="not slower than usual"),
        pytest.param(HEDGING, 0.0, 0.0, id="no budget"),
        pytest.param(RouteSettings(1, hedges=True), 0.0, 1.0, id="one attempt only"),
    ],
)
async def test_nobody_else_is_asked(settings: RouteSettings, usual_s: float | None, share: float) -> None:
    peers = Peers((GOOD,), (HANG,))
    peers.usual_s = usual_s
    async with asyncio.timeout(DEADLINE_S), peers.router(settings, share) as router:
        await peers.save_up(router)
        with pytest.raises(AttemptsExhausted):
            async with router.send(ask(first_byte_timeout_s=2 * defaults.HEDGE_MIN_S)):
                pass
    # What is tried after the failure is another matter: never before it.
    assert len(peers.asked) == (1 if share == 0.0 or settings.max_attempts == 1 else defaults.ROUTE_MAX_ATTEMPTS)


async def test_failure_of_one_leaves_the_other_running() -> None:
    peers = Peers((GOOD,), (EVENTS, HANG), (RESET,), (GOOD,))
    peers.usual_s = 0.0
    asked = ask(first_byte_timeout_s=DEADLINE_S, idle_timeout_s=3 * defaults.HEDGE_MIN_S)
    async with asyncio.timeout(DEADLINE_S), peers.router(HEDGING) as router:
        await peers.save_up(router)
        async with router.send(asked) as answer:
            assert (answer.status, answer.attempts) == (200, 3)


async def test_caller_that_leaves_resets_both() -> None:
    peers = Peers((GOOD,), (EVENTS, HANG))
    peers.usual_s = 0.0
    async with asyncio.timeout(DEADLINE_S), peers.router(HEDGING) as router:
        await peers.save_up(router)

        async def leave() -> None:
            async with router.send(ask()):
                pass

        leaving = asyncio.create_task(leave())
        await until(lambda: len(peers.asked) == 2)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
    assert len(peers.asked) == 2
    assert sorted(peers.cut) == sorted(peers.asked)
