"""Callers that leave, at every moment of their way: nothing is counted on, nobody goes on working."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace

import pytest

from aicn import defaults
from aicn.routing import Ask, RouteSettings, SampleOutcome, StreamedBody
from support.hosts import until
from support.scripted_peers import (
    DEADLINE_S,
    EVENTS,
    FROZEN,
    GOOD,
    HANG,
    PEERS,
    ROLE,
    UNREACHABLE,
    WORD,
    Peers,
    Step,
    ask,
)

ENDLESS_WORDS = b"HTTP/1.1 503 X\r\ncontent-length: 100\r\n\r\nbusy"
HEDGING = RouteSettings(hedges=True)


async def _never() -> AsyncGenerator[bytes]:
    await asyncio.Event().wait()
    yield b"never"


def _uploading() -> Ask:
    return replace(ask(), body=StreamedBody(b"be", _never(), 100))


@pytest.mark.parametrize(
    ("scripts", "asked", "settings", "reached"),
    [
        pytest.param([(FROZEN,)], ask, None, 1, id="while its node is dialled"),
        pytest.param([(HANG,)], ask, None, 1, id="before the head"),
        pytest.param([(EVENTS, ROLE, HANG)], ask, None, 1, id="before the first content"),
        pytest.param([(UNREACHABLE,), (FROZEN,)], ask, None, 2, id="while the next node is dialled"),
        pytest.param([(ENDLESS_WORDS, HANG)], ask, None, 1, id="between two attempts"),
        pytest.param([(GOOD,), (HANG,), (FROZEN,)], ask, HEDGING, 2, id="while a second node is dialled"),
        pytest.param([(GOOD,), (FROZEN,), (HANG,)], ask, HEDGING, 2, id="while two are asked"),
        pytest.param([(HANG,)], _uploading, None, 1, id="inside its upload"),
    ],
)
async def test_caller_that_leaves(
    monkeypatch: pytest.MonkeyPatch,
    scripts: list[tuple[Step, ...]],
    asked: Callable[[], Ask],
    settings: RouteSettings | None,
    reached: int,
) -> None:
    monkeypatch.setattr(defaults, "REFUSAL_TIMEOUT_S", DEADLINE_S)
    peers = Peers(*scripts)
    peers.usual_s = 0.0
    async with asyncio.timeout(DEADLINE_S), peers.router(settings) as router:
        if settings is HEDGING:
            await peers.save_up(router)
        before = asyncio.all_tasks()

        async def use() -> None:
            async with router.send(asked()):
                raise AssertionError("nobody has answered")

        leaving = asyncio.create_task(use())
        await until(lambda: len(peers.asked) == reached)
        if scripts[0] == (ENDLESS_WORDS, HANG):  # the words of the first have come, and the next is reserved
            await until(lambda: sum(map(peers.reservations.at_peer, PEERS)) == 2)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert asyncio.all_tasks() - before <= set(peers.serving), "no task is left but those that play the peers"
    told = [sample.outcome for sample in peers.samples]
    gave_up = told[bool(settings) :]
    assert len(gave_up) == len(peers.asked) + (scripts[0] == (ENDLESS_WORDS, HANG)), "of each that was chosen"
    assert SampleOutcome.GOOD not in gave_up
    assert (SampleOutcome.SLOW in gave_up) == (asked is ask and scripts[0] != (ENDLESS_WORDS, HANG))
    silent = [peer for peer, script in zip(peers.asked, scripts[-reached:], strict=True) if script != (UNREACHABLE,)]
    assert sorted(peers.cut) == sorted(silent), "everybody who was asked has seen it"


async def test_caller_that_leaves_with_the_answer_in_hand() -> None:
    peers = Peers((EVENTS, WORD, HANG))
    async with asyncio.timeout(DEADLINE_S), peers.router() as router:
        async with router.send(ask()) as answer:
            assert await answer.read_some() == WORD
        assert peers.reservations.at_peer(answer.peer) == 0
    assert peers.cut == [answer.peer]
