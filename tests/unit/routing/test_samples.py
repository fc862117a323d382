"""What the selector is told of each attempt."""

from __future__ import annotations

import asyncio

import pytest

from aicn import defaults
from aicn.errors import (
    AttemptsExhausted,
    StreamReset,
    TruncatedFrame,
)
from aicn.routing import RouteSettings, Sample, SampleOutcome
from support.scripted_peers import (
    DEADLINE_S,
    DONE,
    EVENTS,
    GOOD,
    HANG,
    REFUSING,
    RESET,
    ROLE,
    SOON_S,
    UNREACHABLE,
    WORD,
    Peers,
    Step,
    ask,
    failed,
    read,
    send,
    whole,
)


@pytest.mark.parametrize(
    ("script", "outcomes"),
    [
        pytest.param((REFUSING,), [SampleOutcome.UNFIT], id="old release that gossip cannot ask for this"),
        pytest.param((UNREACHABLE,), [SampleOutcome.FAILED], id="unreachable"),
        pytest.param((EVENTS, ROLE, RESET), [SampleOutcome.FAILED], id="broken before its content"),
        pytest.param((whole(500, b""),), [SampleOutcome.FAILED], id="500"),
        pytest.param((whole(429, b""),), [SampleOutcome.BUSY], id="429"),
        pytest.param((whole(503, b""),), [SampleOutcome.BUSY], id="503"),
        pytest.param((failed("backend_unreachable"),), [SampleOutcome.FAILED], id="node without its model server"),
        pytest.param((failed("overloaded"),), [SampleOutcome.BUSY], id="model that works on all that it may"),
        pytest.param((failed("model_not_found"),), [SampleOutcome.FAILED], id="stale registration"),
        pytest.param((failed("endpoint_unsupported"),), [SampleOutcome.UNFIT], id="model that lacks the endpoint"),
    ],
)
async def test_failure_is_told_of_the_instance(script: tuple[Step, ...], outcomes: list[SampleOutcome]) -> None:
    peers = Peers(script, (GOOD,))
    assert (await send(peers))[0] == 200
    assert [sample.outcome for sample in peers.samples] == [*outcomes, SampleOutcome.GOOD]


async def test_times_and_tokens_are_told_when_the_answer_is_over() -> None:
    peers = Peers((EVENTS, ROLE + WORD, WORD + DONE))
    await send(peers)
    [sample] = peers.samples
    assert (sample.outcome, sample.tokens) == (SampleOutcome.GOOD, 4)
    assert sample.first_content_s is not None
    assert sample.content_s is not None


@pytest.mark.parametrize(("brake", "tokens"), [("client", 0), ("peer", 3)])
async def test_a_client_that_reads_slowly_does_not_make_an_instance_slow(
    monkeypatch: pytest.MonkeyPatch, brake: str, tokens: int
) -> None:
    monkeypatch.setattr(defaults, "SLOW_READER_S", 0.0)
    seen = asyncio.Event()
    peers = Peers((EVENTS, ROLE + WORD, seen, DONE))
    async with asyncio.timeout(DEADLINE_S), peers.router() as router, router.send(ask()) as answer:
        assert await answer.read_some() == ROLE + WORD
        if brake == "peer":
            asyncio.get_running_loop().call_later(SOON_S, seen.set)
        else:
            seen.set()
            await asyncio.sleep(SOON_S)  # it takes its time
        assert await read(answer) == DONE
    [sample] = peers.samples
    assert sample.first_content_s is not None
    assert (sample.tokens, sample.content_s is None) == (tokens, brake == "client")


async def test_quick_refusal_does_not_make_an_instance_fast() -> None:
    peers = Peers((whole(400, b"{}"),))
    await send(peers)
    assert peers.samples == [Sample(SampleOutcome.REFUSED)]


async def test_break_after_the_first_content_is_told_of_the_instance() -> None:
    seen = asyncio.Event()
    peers = Peers((EVENTS, WORD, seen, RESET))
    async with asyncio.timeout(DEADLINE_S), peers.router() as router, router.send(ask()) as answer:
        assert await answer.read_some() == WORD
        seen.set()
        with pytest.raises((StreamReset, TruncatedFrame)):
            await answer.read_some()
    assert peers.samples == [Sample(SampleOutcome.FAILED)]


async def test_silence_until_time_is_up_is_told_of_the_instance() -> None:
    peers = Peers((HANG,))
    with pytest.raises(AttemptsExhausted):
        await send(peers, settings=RouteSettings(total_timeout_s=SOON_S))
    assert peers.samples == [Sample(SampleOutcome.FAILED)]
