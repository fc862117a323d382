from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import pytest

from aicn import defaults
from aicn.api.admission import Admission, Release
from aicn.api.demand import Demand
from aicn.api.errors import ApiError
from aicn.api.fair_queue import FairQueue
from aicn.api.principal import LOCAL, Principal
from aicn.api.rates import Buckets
from aicn.clock import ManualClock
from aicn.store import ApiKey, KeyLimits


def principal(models: tuple[str, ...] = (), **limits: int) -> Principal:
    key = ApiKey("key_1", "one", b"", "sk-aicn-x", bool(0), 0, None, None, models, KeyLimits(**limits))
    return Principal(key)


class Node:
    def __init__(self, used: int = 0) -> None:
        self.clock = ManualClock()
        self.used = used
        self.admission = Admission(FairQueue(100, 1, 0.01), self.clock, lambda _: self.used)

    async def ask(
        self, who: Principal, size_bytes: int | None = 40, model: str = "m", answer: int | None = 0
    ) -> dict[str, str]:
        demand = None if size_bytes is None else Demand(size_bytes, answer)
        async with self.admission.admit(who, "P", model, demand) as admitted:
            return {name.decode(): value.decode() for name, value in admitted.headers}

    async def refused(self, who: Principal, **asked: Any) -> ApiError:
        with pytest.raises(ApiError) as refused:
            await self.ask(who, **asked)
        return refused.value


async def test_who_has_no_limits_is_let_in_and_told_nothing() -> None:
    assert await Node().ask(LOCAL) == {}
    assert await Node().ask(principal()) == {}


@pytest.mark.parametrize(
    ("patterns", "model", "allowed"),
    [
        (("P/m",), "m", True),
        (("P/m",), "m2", False),
        (("P/*",), "any/thing", True),
        (("Q/*", "P/m?"), "m1", True),
        (("p/m",), "m", False),
        (("P/m[12]",), "m[12]", True),
        (("P/m[12]",), "m1", False),
    ],
)
async def test_models_of_a_key(patterns: tuple[str, ...], model: str, *, allowed: bool) -> None:
    if allowed:
        await Node().ask(principal(patterns), model=model)
    else:
        error = await Node().refused(principal(patterns), model=model)
        assert (error.status, error.slug) == (403, "model_not_allowed")


async def test_requests_per_minute() -> None:
    node, who = Node(), principal(requests_per_minute=2)
    assert (await node.ask(who))["x-ratelimit-remaining-requests"] == "1"
    assert await node.ask(who) == {
        "x-ratelimit-limit-requests": "2",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "60.000s",
    }
    error = await node.refused(who)
    assert (error.status, error.slug, error.retry_after_s) == (429, "rate_limit_exceeded", 30.0)
    assert dict(error.headers)[b"x-ratelimit-remaining-requests"] == b"0"
    node.clock.advance(29.9)
    await node.refused(who)
    node.clock.advance(0.2)
    await node.ask(who)
    await node.refused(who)


async def test_tokens_per_minute_are_those_that_the_answers_tell() -> None:
    node, who = Node(), principal(tokens_per_minute=600)
    await node.ask(who)
    node.admission.spent("key_1", who.limits, 1_200)
    error = await node.refused(who, size_bytes=4, answer=None)
    # 600 are owed, and a request of this key takes 240 by now, a fifth of the last one.
    assert error.retry_after_s == pytest.approx(84.0)
    node.clock.advance(84.0)
    assert (await node.ask(who, size_bytes=4, answer=None))["x-ratelimit-remaining-tokens"] == "0"
    error = await node.refused(who, size_bytes=4 * 500, answer=None)
    # It has 240 once the one before has ended here, and half of a minute's is enough to begin.
    assert error.retry_after_s == pytest.approx(6.0)


async def test_requests_under_way_hold_the_tokens_that_they_will_take() -> None:
    node, who = Node(), principal(tokens_per_minute=100)
    async with node.admission.admit(who, "P", "m", Demand(4 * 60, 0)) as first:
        assert dict(first.headers)[b"x-ratelimit-remaining-tokens"] == b"40"
        assert (await node.refused(who, size_bytes=4 * 50)).retry_after_s == pytest.approx(6.0)
        assert (await node.ask(who, size_bytes=4 * 30))["x-ratelimit-remaining-tokens"] == "10"
    # Nobody has said that they took any.
    assert (await node.ask(who, size_bytes=4))["x-ratelimit-remaining-tokens"] == "99"


async def test_a_request_that_takes_no_tokens_is_let_in_without_any() -> None:
    node, who = Node(used=100), principal(requests_per_minute=2, tokens_per_minute=10, tokens_per_month=100)
    node.admission.spent("key_1", who.limits, 100)
    assert sorted(await node.ask(who, size_bytes=None)) == [
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
    ]
    assert (await node.refused(who)).slug == "insufficient_quota"


async def test_tokens_are_held_until_it_is_told_what_was_used() -> None:
    node, who = Node(), principal(tokens_per_minute=100)
    ends: list[Release] = []
    async with node.admission.admit(who, "P", "m", Demand(4 * 60, 0), ends.append):
        pass
    assert (await node.refused(who, size_bytes=4 * 50)).retry_after_s == pytest.approx(6.0)
    node.admission.spent("key_1", who.limits, 10)
    ends.pop()()
    assert (await node.ask(who, size_bytes=4, answer=None))["x-ratelimit-remaining-tokens"] == "88"


async def test_a_burst_takes_little_more_than_the_minute_has() -> None:
    node, who = Node(), principal(tokens_per_minute=1_000)
    for _ in range(8):
        await node.ask(who, size_bytes=4)
        node.admission.spent("key_1", who.limits, 50)
    async with AsyncExitStack() as burst:
        admitted = 0
        with pytest.raises(ApiError, match="1000 tokens a minute"):
            for _ in range(100):
                await burst.enter_async_context(node.admission.admit(who, "P", "m", Demand(4)))
                admitted += 1
        assert 600 <= admitted * 50 <= 800


async def test_a_burst_of_a_new_key_holds_what_each_answer_may_have() -> None:
    node, who = Node(), principal(tokens_per_minute=1_000)
    async with AsyncExitStack() as burst:
        for _ in range(9):
            await burst.enter_async_context(node.admission.admit(who, "P", "m", Demand(40, 100)))
        assert (await node.refused(who, answer=100)).slug == "rate_limit_exceeded"
    # Nobody has told how much an answer may have: as much as a usual one.
    async with AsyncExitStack() as burst:
        for _ in range(1_000 // (10 + defaults.ANSWER_TOKENS_GUESSED)):
            await burst.enter_async_context(node.admission.admit(who, "P", "m", Demand(40)))
        assert (await node.refused(who, answer=None)).slug == "rate_limit_exceeded"


async def test_a_bound_that_is_never_reached_refuses_nobody() -> None:
    node, who = Node(), principal(tokens_per_minute=1_000)
    for _ in range(6):
        await node.ask(who, answer=8_192)
        node.admission.spent("key_1", who.limits, 100)
    assert (await node.refused(who, answer=8_192)).retry_after_s == pytest.approx(6.0)


async def test_whoever_sets_a_high_bound_has_his_turn_beside_one_who_always_asks() -> None:
    node, who = Node(), principal(tokens_per_minute=1_000)
    for _ in range(60):
        async with node.admission.admit(who, "P", "m", Demand(20, 5)):
            node.clock.advance(1.0)
            await node.ask(who, answer=1_000)
        node.admission.spent("key_1", who.limits, 10)


async def test_a_burst_of_a_new_key_takes_one_answer_more_than_the_month_has() -> None:
    node, who = Node(used=900), principal(tokens_per_month=1_000)
    async with node.admission.admit(who, "P", "m", Demand(40, 500)):
        assert (await node.refused(who, answer=1)).slug == "too_many_requests"
    await node.ask(who, answer=1)


async def test_an_answer_of_more_than_a_minute_holds_all_of_it_and_no_debt() -> None:
    node, who = Node(), principal(tokens_per_minute=1_000)
    async with node.admission.admit(who, "P", "m", Demand(40, 1_000_000)):
        assert (await node.refused(who, size_bytes=4 * 10)).retry_after_s == pytest.approx(0.6)
    assert (await node.ask(who, size_bytes=4))["x-ratelimit-remaining-tokens"] == "999"


async def test_who_asks_again_while_the_last_request_ends_is_not_refused() -> None:
    node, who = Node(used=900), principal(tokens_per_minute=1_000, tokens_per_month=1_000)
    ends: list[Release] = []
    async with node.admission.admit(who, "P", "m", Demand(40, 1_000), ends.append):
        pass
    again = asyncio.create_task(node.ask(who, answer=1_000))
    await asyncio.sleep(0)  # its first step is to find the tokens held
    ends.pop()()
    assert (await again)["x-ratelimit-remaining-tokens"] == "0"


async def test_a_request_of_megabytes_does_not_count_as_if_it_were_words() -> None:
    node, who = Node(), principal(tokens_per_minute=100_000)
    told = await node.ask(who, size_bytes=20_000_000)
    assert int(told["x-ratelimit-remaining-tokens"]) == 100_000 - defaults.TOKENS_GUESSED_MAX


async def test_who_gets_no_turn_has_used_no_tokens() -> None:
    node, who = Node(), principal(concurrent=1, tokens_per_minute=100)
    async with node.admission.admit(who, "P", "m", Demand(4, 0)):
        assert (await node.refused(who, size_bytes=4 * 90)).slug == "too_many_requests"
    assert (await node.ask(who, size_bytes=4))["x-ratelimit-remaining-tokens"] == "99"


async def test_a_request_larger_than_a_minutes_tokens_waits_for_a_full_bucket_only() -> None:
    node, who = Node(), principal(tokens_per_minute=10)
    await node.ask(who, size_bytes=1_000_000)
    node.admission.spent("key_1", who.limits, 1_000_000)
    error = await node.refused(who)
    assert error.retry_after_s is not None
    assert error.retry_after_s <= 11 * 60.0


async def test_a_request_that_is_refused_for_its_tokens_takes_none_of_its_requests() -> None:
    node, who = Node(), principal(requests_per_minute=1, tokens_per_minute=10)
    node.admission.spent("key_1", who.limits, 100)
    await node.refused(who)
    node.clock.advance(600.0)
    await node.ask(who)


async def test_tokens_per_month() -> None:
    node, who = Node(used=99), principal(tokens_per_month=100)
    await node.ask(who)
    node.used = 100
    error = await node.refused(who)
    assert (error.status, error.slug) == (429, "insufficient_quota")
    assert dict(error.headers)[b"x-should-retry"] == b"false"
    # 2023-11-14T22:13:20Z, and so 16 days and some hours to December.
    assert error.retry_after_s == pytest.approx(16 * 86_400 + 6_400)


async def test_a_burst_takes_little_more_than_the_month_has() -> None:
    node, who = Node(used=900), principal(tokens_per_month=1_000)
    for _ in range(20):
        await node.ask(who, size_bytes=4)
        node.admission.spent("key_1", who.limits, 50)
    async with AsyncExitStack() as burst:
        admitted = 0
        with pytest.raises(ApiError) as refused:
            for _ in range(100):
                await burst.enter_async_context(node.admission.admit(who, "P", "m", Demand(4)))
                admitted += 1
        assert admitted == 2
        # Not the month is over, but they are under way: what they leave can be had then.
        assert (refused.value.slug, refused.value.retry_after_s) == ("too_many_requests", 1.0)
    await node.ask(who)


async def test_requests_at_once() -> None:
    node, who = Node(), principal(concurrent=1)
    async with node.admission.admit(who, "P", "m", Demand(0, 0)):
        error = await node.refused(who)
        assert (error.status, error.slug, error.retry_after_s) == (429, "too_many_requests", 1.0)
        await node.ask(LOCAL)
    await node.ask(who)


async def test_a_full_line_is_refused_at_once() -> None:
    node, who = Node(), principal(concurrent=1)
    async with node.admission.admit(who, "P", "m", Demand(0, 0)):
        waits = asyncio.create_task(node.ask(who))
        await asyncio.sleep(0)  # its first step is to stand in line
        assert node.admission.queue.waiting == 1
        assert (await node.refused(who)).message.startswith("as many requests of this caller wait")
        waits.cancel()


def test_buckets_are_bounded_and_follow_their_limit() -> None:
    buckets = Buckets(max_buckets=2)
    for name in "abc":
        buckets.of(name, 10, 0.0).level = 0.0
    assert len(buckets) == 2
    assert buckets.of("c", 4, 60.0).level == 4.0
    assert buckets.of("a", 10, 0.0).level == 10.0


async def test_bodies_that_arrive_are_no_more_than_may_wait() -> None:
    node, slow = Node(), principal(concurrent=1)
    with ExitStack() as arriving:
        for _ in range(2):  # one that may be under way, and one that may wait for it
            arriving.enter_context(node.admission.arriving(slow))
        with pytest.raises(ApiError, match="are arriving") as refused:
            arriving.enter_context(node.admission.arriving(slow))
        assert refused.value.status == 429
        arriving.enter_context(node.admission.arriving(LOCAL))
    with node.admission.arriving(slow):
        pass
