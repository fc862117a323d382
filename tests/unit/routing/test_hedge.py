"""Two attempts side by side: which one counts, and what becomes of the other."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from aicn import defaults
from aicn.routing.hedge import hedge_after_s, hedged

NOW_S = 0.0
NEVER_S = 3_600.0


class Attempts:
    """Attempts that end when they are told to."""

    def __init__(self) -> None:
        self.ends: dict[str, asyncio.Future[str]] = {}
        self.begun: dict[str, asyncio.Event] = {"first": asyncio.Event(), "second": asyncio.Event()}
        self.cancelled: list[str] = []
        self.discarded: list[str] = []
        self.discarding = asyncio.Event()
        self.seconds = 0

    async def run(self, name: str) -> str:
        self.ends[name] = asyncio.get_running_loop().create_future()
        self.begun[name].set()
        try:
            return await self.ends[name]
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise

    def second(self) -> Coroutine[Any, Any, str] | None:
        self.seconds += 1
        return self.run("second")

    async def discard(self, result: str) -> None:
        self.discarded.append(result)
        self.discarding.set()

    def start(self, after_s: float) -> asyncio.Task[str]:
        return asyncio.create_task(
            hedged(
                self.run("first"),
                self.second,
                after_s,
                good=lambda result: result.startswith("good"),
                discard=self.discard,
            )
        )


@pytest.fixture
def attempts() -> Attempts:
    return Attempts()


async def test_fast_first_is_alone(attempts: Attempts) -> None:
    whole = attempts.start(NEVER_S)
    await attempts.begun["first"].wait()
    attempts.ends["first"].set_result("bad")
    assert await whole == "bad"
    assert attempts.seconds == 0
    assert not attempts.discarded


@pytest.mark.parametrize(("winner", "loser"), [("first", "second"), ("second", "first")])
async def test_first_good_one_counts_and_the_other_is_cancelled(attempts: Attempts, winner: str, loser: str) -> None:
    whole = attempts.start(NOW_S)
    await attempts.begun["second"].wait()
    attempts.ends[winner].set_result("good")
    assert await whole == "good"
    assert attempts.cancelled == [loser]


async def test_bad_one_is_let_go_and_the_other_awaited(attempts: Attempts) -> None:
    whole = attempts.start(NOW_S)
    await attempts.begun["second"].wait()
    attempts.ends["first"].set_result("bad")
    attempts.ends["second"].set_result("good")
    assert await whole == "good"
    assert set(attempts.discarded) <= {"bad"}


async def test_later_of_two_bad_ones_is_returned(attempts: Attempts) -> None:
    whole = attempts.start(NOW_S)
    await attempts.begun["second"].wait()
    attempts.ends["second"].set_result("bad two")
    await attempts.discarding.wait()
    attempts.ends["first"].set_result("bad one")
    assert await whole == "bad one"
    assert attempts.discarded == ["bad two"]


async def test_both_good_at_once_leaves_nothing_behind(attempts: Attempts) -> None:
    whole = attempts.start(NOW_S)
    await attempts.begun["second"].wait()
    attempts.ends["first"].set_result("good one")
    attempts.ends["second"].set_result("good two")
    kept = await whole
    assert sorted([kept, *attempts.discarded]) == ["good one", "good two"]


async def test_no_second_leaves_the_first_alone(attempts: Attempts) -> None:
    def nobody() -> None:
        attempts.begun["second"].set()

    whole = asyncio.create_task(
        hedged(attempts.run("first"), nobody, NOW_S, good=lambda _: True, discard=attempts.discard)
    )
    await attempts.begun["second"].wait()
    attempts.ends["first"].set_result("good")
    assert await whole == "good"


async def test_cancellation_ends_both(attempts: Attempts) -> None:
    whole = attempts.start(NOW_S)
    await attempts.begun["second"].wait()
    whole.cancel()
    with pytest.raises(asyncio.CancelledError):
        await whole
    assert sorted(attempts.cancelled) == ["first", "second"]


async def test_cancellation_releases_what_was_brought_already(attempts: Attempts) -> None:
    whole = attempts.start(NOW_S)
    await attempts.begun["second"].wait()
    attempts.ends["second"].set_result("good")
    whole.cancel()
    with pytest.raises(asyncio.CancelledError):
        await whole
    assert attempts.cancelled == ["first"]
    assert attempts.discarded == ["good"]


async def test_unexpected_error_is_raised_and_ends_the_other(attempts: Attempts) -> None:
    whole = attempts.start(NOW_S)
    await attempts.begun["second"].wait()
    attempts.ends["first"].set_exception(RuntimeError("bug"))
    with pytest.raises(RuntimeError, match="bug"):
        await whole
    assert attempts.cancelled == ["second"]


def test_wait_is_some_times_the_usual_and_never_short() -> None:
    assert hedge_after_s(None) is None
    assert hedge_after_s(0.0) == defaults.HEDGE_MIN_S
    assert hedge_after_s(2.0) == pytest.approx(2.0 * defaults.HEDGE_FACTOR)
