"""The attempts of one request: what is a failure, when trying ends, and what the client gets in the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aicn import defaults
from aicn.clock import ManualClock, SystemClock
from aicn.errors import (
    AttemptsExhausted,
    BackendUnreachable,
    DialFailed,
    EndpointUnsupported,
    NetworkTimeout,
    NoCandidate,
    NodeUnavailable,
    StreamReset,
    TruncatedFrame,
)
from aicn.ids import InstanceId, ModelKind, ModelName, Multiaddr, PeerId, ProjectName
from aicn.p2p.host import Connection, Direction, Stream
from aicn.p2p.pipe import stream_pair
from aicn.peers import Directory
from aicn.peers.records import Heartbeat, NodeFlags, Offer
from aicn.routing import Answer, Ask, Reservations, RetryBudget, Router, RouteSettings, Sample, SampleOutcome, Selector
from aicn.routing.reservations import Instance
from aicn.wire.http_frames import RequestParser

PROJECT, MODEL, ANY = ProjectName("P"), ModelName("m"), InstanceId("")
OWN = PeerId("own")
PEERS = tuple(PeerId(name) for name in "abcdef")
DEADLINE_S = 5.0
SOON_S = 0.05
"""Longer than anything takes that is not made to wait."""

EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
WORD = b'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}\n\n'
DONE = b"data: [DONE]\n\n"
GOOD = EVENTS + ROLE + WORD + DONE
"""Without a length: it ends when the stream does."""

RESET, HANG, UNREACHABLE = "reset", "hang", "unreachable"
Step = bytes | str | asyncio.Event
"""Bytes are written, an event is awaited."""


def _whole(status: int, body: bytes, *headers: str) -> bytes:
    lines = "".join(f"{line}\r\n" for line in headers)
    return f"HTTP/1.1 {status} X\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body


def _failed(slug: str) -> bytes:
    return _whole(503, b"{}", f"x-aicn-error: {slug}")


class Peers:
    """Peers that answer as they are told, over streams in memory, and a router among them."""

    def __init__(self, *scripts: tuple[Step, ...]) -> None:
        """`scripts`: one for each attempt in turn, the last one for all others."""
        self._scripts = list(scripts)
        self._serving: list[asyncio.Task[None]] = []
        self.asked: list[PeerId] = []
        self.cut: list[PeerId] = []
        """Who saw its stream reset before it was through."""
        self.usual_s: float | None = None
        self.samples: list[Sample] = []
        """What the selector was told of the attempts."""
        self.reservations = Reservations()

    async def open(self, peer: PeerId, _: str, first: bytes) -> Stream:
        self.asked.append(peer)
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        if script == (UNREACHABLE,):
            raise DialFailed("nobody is there")
        asking, answering = stream_pair(OWN, peer, "p")
        self._serving.append(asyncio.create_task(self._serve(answering, script, asking.peer)))
        await asking.write(first)
        return asking

    async def _serve(self, stream: Stream, script: tuple[Step, ...], peer: PeerId) -> None:
        parser = RequestParser()
        while not parser.complete:
            parser.feed(await stream.read())
        try:
            for step in script:
                if step == RESET:
                    stream.reset()
                    return
                if step == HANG:
                    await stream.read()
                elif isinstance(step, bytes):
                    await stream.write(step)
                elif isinstance(step, asyncio.Event):
                    await step.wait()
            await stream.close_write()
        except StreamReset:
            self.cut.append(peer)

    @asynccontextmanager
    async def router(self, settings: RouteSettings | None = None, share: float = 1.0) -> AsyncIterator[Router]:
        directory = Directory(SystemClock())
        for peer in PEERS:
            offer = Offer(PROJECT, MODEL, ANY, ModelKind.CHAT, 0)
            directory.apply(Heartbeat(peer, NodeFlags.HAS_MODELS, (offer,)))
        selector = _Usual(directory, _connection, self.reservations, OWN)
        selector.usual_s = self.usual_s
        selector.samples = self.samples
        budget = RetryBudget(ManualClock(), share)
        try:
            yield Router(selector, self.reservations, self.open, settings=settings, budget=budget)
        finally:
            async with asyncio.timeout(DEADLINE_S):
                await asyncio.gather(*self._serving)
        assert [self.reservations.count((peer, PROJECT, MODEL, ANY)) for peer in PEERS] == [0] * len(PEERS)


class _Usual(Selector):
    """Knows how long everybody usually takes, and writes down what it is told."""

    usual_s: float | None = None
    samples: list[Sample]

    def report(self, instance: Instance, sample: Sample) -> None:
        self.samples.append(sample)
        super().report(instance, sample)

    def usual_first_content_s(self, instance: Instance) -> float | None:  # noqa: ARG002 - all alike
        return self.usual_s


def _connection(peer: PeerId) -> Connection:
    return Connection(peer, Multiaddr("/ip4/127.0.0.1"), Direction.INBOUND, relayed=False, rtt_us=1_000, conn_id=peer)


def _ask(**changes: Any) -> Ask:
    return Ask(PROJECT, MODEL, b"{}", **changes)


async def _read(answer: Answer) -> bytes:
    return await answer.read_all(1 << 20, lambda _: None)


async def _send(
    peers: Peers, ask: Ask | None = None, settings: RouteSettings | None = None, share: float = 1.0
) -> tuple[int, bytes, int]:
    async with (
        asyncio.timeout(DEADLINE_S),
        peers.router(settings, share) as router,
        router.send(ask or _ask()) as answer,
    ):
        return answer.status, await _read(answer), answer.attempts


FAILURES = [
    pytest.param((UNREACHABLE,), id="connect failure"),
    pytest.param((RESET,), id="reset before the head"),
    pytest.param((EVENTS, RESET), id="reset behind the head"),
    pytest.param((EVENTS, ROLE, RESET), id="reset behind the role"),
    pytest.param((EVENTS, b": ping\n\n", RESET), id="reset behind a comment"),
    pytest.param((EVENTS, WORD[:20], RESET), id="reset inside the first content"),
    pytest.param((EVENTS,), id="end behind the head"),
    pytest.param((EVENTS, ROLE), id="end behind the role"),
    pytest.param((HANG,), id="first-byte timeout"),
    pytest.param((EVENTS, ROLE, HANG), id="silence behind the role"),
    pytest.param((b"garbage\r\n\r\n", HANG), id="no HTTP"),
    pytest.param((_whole(200, b"{}", "content-type: application/json")[:-1], RESET), id="reset inside short JSON"),
    *(pytest.param((_whole(status, b"{}"),), id=str(status)) for status in (429, 500, 502, 503, 504, 529)),
    pytest.param((EVENTS, ROLE, b'data: {"error":{"message":"m","code":503}}\n\n'), id="error event behind the role"),
    pytest.param((EVENTS, b'event: error\ndata: {"error":{"type":"overloaded_error"}}\n\n'), id="error event"),
    *(
        pytest.param((_failed(slug),), id=f"node: {slug}")
        for slug in ("model_not_found", "backend_unreachable", "backend_timeout", "endpoint_unsupported", "unheard_of")
    ),
    pytest.param((_whole(404, b'{"error":{"code":"model_not_found"}}'),), id="404: no such model any more"),
    pytest.param((_whole(404, b'{"error":{"message":"The model `m` does not exist."}}'),), id="404 in vLLM's words"),
]


@pytest.mark.parametrize("failure", FAILURES)
async def test_failure_before_the_first_content_is_left_for_the_next(failure: tuple[Step, ...]) -> None:
    peers = Peers(failure, failure, (GOOD,))
    ask = _ask(first_byte_timeout_s=SOON_S, idle_timeout_s=SOON_S)
    assert await _send(peers, ask) == (200, ROLE + WORD + DONE, 3)
    assert len(set(peers.asked)) == 3


@pytest.mark.parametrize(
    "refusal",
    [
        *(
            pytest.param((_whole(status, b"{}"),), id=str(status))
            for status in (400, 401, 403, 404, 409, 413, 415, 422)
        ),
        pytest.param((_whole(404, b'{"error":{"message":"No such response"}}'),), id="404: something else is missing"),
        pytest.param((EVENTS, b'data: {"error":{"message":"m","code":400}}\n\n'), id="400 as an event"),
        pytest.param((EVENTS, b'data: {"error":{"type":"invalid_request_error"}}\n\n'), id="its type as an event"),
    ],
)
async def test_users_error_is_nobody_elses_business(refusal: tuple[Step, ...]) -> None:
    peers = Peers(refusal, (GOOD,))
    status, _, attempts = await _send(peers)
    assert 400 <= status < 500
    assert attempts == 1
    assert len(peers.asked) == 1


async def test_break_after_the_first_content_is_the_clients_to_see() -> None:
    seen = asyncio.Event()
    peers = Peers((EVENTS, ROLE + WORD, seen, RESET), (GOOD,))
    async with asyncio.timeout(DEADLINE_S), peers.router() as router, router.send(_ask()) as answer:
        assert await answer.read_some() == ROLE + WORD
        seen.set()
        with pytest.raises((StreamReset, TruncatedFrame)):
            await answer.read_some()
        assert answer.broken
    assert len(peers.asked) == 1


async def test_preamble_comes_with_the_content() -> None:
    peers = Peers((EVENTS, b": hello\n\n", ROLE, WORD[:9], WORD[9:], HANG))
    async with asyncio.timeout(DEADLINE_S), peers.router() as router, router.send(_ask()) as answer:
        assert await answer.read_some() == b": hello\n\n" + ROLE + WORD


async def test_error_event_becomes_an_answer_with_its_status() -> None:
    error = b'{"error": {"message": "too long", "code": 400}}'
    peers = Peers((EVENTS, ROLE, b"data: " + error + b"\n\n", HANG))
    async with asyncio.timeout(DEADLINE_S), peers.router() as router, router.send(_ask()) as answer:
        assert (answer.status, await _read(answer)) == (400, error)
        assert dict(answer.headers)[b"content-type"] == b"application/json"
        assert answer.complete
    assert peers.cut == [peers.asked[0]]


@pytest.mark.parametrize(
    "last", [(UNREACHABLE,), (RESET,), (_failed("backend_unreachable"),), (EVENTS, ROLE)], ids=lambda last: str(last[0])
)
async def test_last_words_of_a_model_server_are_handed_on(last: tuple[Step, ...]) -> None:
    busy = _whole(429, b'{"error":{"message":"slow down"}}', "retry-after: 7")
    peers = Peers((_failed("backend_timeout"),), (busy,), last)
    async with asyncio.timeout(DEADLINE_S), peers.router() as router, router.send(_ask()) as answer:
        assert (answer.status, answer.attempts) == (429, 3)
        assert dict(answer.headers)[b"retry-after"] == b"7"
        assert json.loads(await _read(answer))["error"]["message"] == "slow down"
        assert answer.complete


async def test_later_of_two_model_servers_is_handed_on() -> None:
    assert await _send(Peers((_whole(500, b"one"),), (_whole(503, b"two"),), (UNREACHABLE,))) == (503, b"two", 3)
    assert await _send(Peers((_whole(500, b"one"),), (_whole(502, b"two"),), (_whole(503, b"three"),))) == (
        503,
        b"three",
        3,
    )


async def test_words_without_end_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "REFUSAL_TIMEOUT_S", SOON_S)
    endless = b"HTTP/1.1 503 X\r\ncontent-length: 100\r\n\r\nbusy"
    assert await _send(Peers((endless, HANG), (GOOD,))) == (200, ROLE + WORD + DONE, 2)
    with pytest.raises(AttemptsExhausted, match="the last: nobody is there"):
        await _send(Peers((endless, HANG), (UNREACHABLE,)))


async def test_all_failed_says_why() -> None:
    with pytest.raises(AttemptsExhausted, match="3 in all") as raised:
        await _send(Peers((_failed("backend_unreachable"),)))
    assert isinstance(raised.value.__cause__, BackendUnreachable)
    with pytest.raises(AttemptsExhausted) as raised:
        await _send(Peers((_failed("model_not_found"),)))
    assert isinstance(raised.value.__cause__, NodeUnavailable)


async def test_model_that_lacks_an_endpoint_everywhere_is_no_failure_of_nodes() -> None:
    with pytest.raises(EndpointUnsupported):
        await _send(Peers((_failed("endpoint_unsupported"),)))


@pytest.mark.parametrize("max_attempts", [1, 2, 5])
async def test_attempts_are_bounded(max_attempts: int) -> None:
    peers = Peers((_whole(503, b""),))
    assert await _send(peers, settings=RouteSettings(max_attempts)) == (503, b"", max_attempts)
    assert len(peers.asked) == max_attempts


async def test_every_candidate_is_asked_once() -> None:
    peers = Peers((UNREACHABLE,))
    with pytest.raises(AttemptsExhausted, match=f"{len(PEERS)} in all"):
        await _send(peers, settings=RouteSettings(100))
    assert sorted(peers.asked) == sorted(PEERS)


async def test_time_to_the_first_content_is_bounded() -> None:
    peers = Peers((UNREACHABLE,), (EVENTS, ROLE, HANG))
    with pytest.raises(AttemptsExhausted, match="2 in all") as raised:
        await _send(peers, settings=RouteSettings(total_timeout_s=SOON_S))
    assert isinstance(raised.value.__cause__, NetworkTimeout)
    assert peers.cut == [peers.asked[1]]


async def test_words_of_a_model_server_are_better_than_none_when_time_is_up() -> None:
    peers = Peers((_whole(503, b"busy"),), (HANG,))
    assert await _send(peers, settings=RouteSettings(total_timeout_s=SOON_S)) == (503, b"busy", 2)


async def test_whole_answer_may_take_longer_than_its_first_content() -> None:
    peers = Peers((EVENTS, WORD, HANG))
    settings = RouteSettings(total_timeout_s=SOON_S)
    async with asyncio.timeout(DEADLINE_S), peers.router(settings) as router, router.send(_ask()) as answer:
        assert await answer.read_some() == WORD
        waiting = asyncio.create_task(answer.read_some())
        await asyncio.wait((waiting,), timeout=2 * SOON_S)
        assert not waiting.done()
        waiting.cancel()


async def test_repetitions_of_all_requests_together_are_bounded() -> None:
    peers = Peers((_whole(503, b""),))
    requests = 100
    async with asyncio.timeout(DEADLINE_S), peers.router(RouteSettings(6), share=0.2) as router:
        for _ in range(requests):
            async with router.send(_ask()) as answer:
                assert answer.status == 503
    assert len(peers.asked) - requests == pytest.approx(0.2 * requests + defaults.ROUTE_RETRY_FLOOR, abs=1)


async def test_no_budget_means_one_attempt() -> None:
    assert await _send(Peers((_whole(503, b""),), (GOOD,)), share=0.0) == (503, b"", 1)


async def test_peers_that_failed_this_client_are_not_asked() -> None:
    peers = Peers((_whole(503, b""),))
    async with asyncio.timeout(DEADLINE_S), peers.router(RouteSettings(100)) as router:
        async with router.send(_ask(), without=frozenset(PEERS[:4])):
            assert sorted(peers.asked) == sorted(PEERS[4:])
        with pytest.raises(NoCandidate):
            async with router.send(_ask(), without=frozenset(PEERS)):
                pass


async def test_answer_tells_how_long_all_of_it_took() -> None:
    peers = Peers((HANG,), (GOOD,))
    ask = _ask(first_byte_timeout_s=SOON_S, queued_s=1.5)
    async with asyncio.timeout(DEADLINE_S), peers.router() as router, router.send(ask) as answer:
        assert answer.queued_s == 1.5
        assert answer.first_content_s is not None
        assert answer.first_content_s >= SOON_S


async def test_named_peer_is_asked_alone() -> None:
    peers = Peers((EVENTS, ROLE), (GOOD,))
    async with asyncio.timeout(DEADLINE_S), peers.router() as router:
        with pytest.raises(NodeUnavailable, match="before any content"):
            async with router.send_to(PEERS[0], ANY, _ask()):
                pass
        async with router.send_to(PEERS[1], ANY, _ask()) as answer:
            assert await _read(answer) == ROLE + WORD + DONE
    assert peers.asked == list(PEERS[:2])


async def test_caller_that_leaves_resets_whoever_is_asked() -> None:
    peers = Peers((UNREACHABLE,), (EVENTS, ROLE, HANG))
    async with asyncio.timeout(DEADLINE_S), peers.router() as router:

        async def leave() -> None:
            async with router.send(_ask()):
                pass

        leaving = asyncio.create_task(leave())
        await asyncio.wait((leaving,), timeout=SOON_S)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
    assert peers.cut == [peers.asked[1]]


# --- what the selector learns ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "outcomes"),
    [
        pytest.param((UNREACHABLE,), [SampleOutcome.FAILED], id="unreachable"),
        pytest.param((EVENTS, ROLE, RESET), [SampleOutcome.FAILED], id="broken before its content"),
        pytest.param((_whole(500, b""),), [SampleOutcome.FAILED], id="500"),
        pytest.param((_whole(429, b""),), [SampleOutcome.BUSY], id="429"),
        pytest.param((_whole(503, b""),), [SampleOutcome.BUSY], id="503"),
        pytest.param((_failed("backend_unreachable"),), [SampleOutcome.FAILED], id="node without its model server"),
        pytest.param((_failed("model_not_found"),), [SampleOutcome.FAILED], id="stale registration"),
        pytest.param((_failed("endpoint_unsupported"),), [], id="model that lacks the endpoint"),
    ],
)
async def test_failure_is_told_of_the_instance(script: tuple[Step, ...], outcomes: list[SampleOutcome]) -> None:
    peers = Peers(script, (GOOD,))
    assert (await _send(peers))[0] == 200
    assert [sample.outcome for sample in peers.samples] == [*outcomes, SampleOutcome.GOOD]


async def test_times_and_tokens_are_told_when_the_answer_is_over() -> None:
    peers = Peers((EVENTS, ROLE + WORD, WORD + DONE))
    await _send(peers)
    [sample] = peers.samples
    assert (sample.outcome, sample.tokens) == (SampleOutcome.GOOD, 4)
    assert sample.first_content_s is not None
    assert sample.content_s is not None


async def test_quick_refusal_does_not_make_an_instance_fast() -> None:
    peers = Peers((_whole(400, b"{}"),))
    await _send(peers)
    assert peers.samples == [Sample(SampleOutcome.GOOD)]


async def test_break_after_the_first_content_is_told_of_the_instance() -> None:
    seen = asyncio.Event()
    peers = Peers((EVENTS, WORD, seen, RESET))
    async with asyncio.timeout(DEADLINE_S), peers.router() as router, router.send(_ask()) as answer:
        assert await answer.read_some() == WORD
        seen.set()
        with pytest.raises((StreamReset, TruncatedFrame)):
            await answer.read_some()
    assert peers.samples == [Sample(SampleOutcome.FAILED)]


async def test_silence_until_time_is_up_is_told_of_the_instance() -> None:
    peers = Peers((HANG,))
    with pytest.raises(AttemptsExhausted):
        await _send(peers, settings=RouteSettings(total_timeout_s=SOON_S))
    assert peers.samples == [Sample(SampleOutcome.FAILED)]


# --- hedging ---------------------------------------------------------------------------------------------------

HEDGING = RouteSettings(hedges=True)


async def _saved(router: Router, peers: Peers) -> None:
    """Let requests save up for a second attempt."""
    async with router.send(_ask()) as answer:
        assert answer.status == 200
    peers.asked.clear()


async def test_slow_first_is_overtaken_and_cancelled() -> None:
    peers = Peers((GOOD,), (EVENTS, ROLE, HANG), (GOOD,))
    peers.usual_s = 0.0
    async with asyncio.timeout(DEADLINE_S), peers.router(HEDGING) as router:
        await _saved(router, peers)
        async with router.send(_ask()) as answer:
            assert answer.peer == peers.asked[1]
            assert answer.attempts == 2
            assert await _read(answer) == ROLE + WORD + DONE
    assert peers.cut == [peers.asked[0]]
    slower = peers.samples[1]
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
        await _saved(router, peers)
        with pytest.raises(AttemptsExhausted):
            async with router.send(_ask(first_byte_timeout_s=2 * defaults.HEDGE_MIN_S)):
                pass
    # What is tried after the failure is another matter: never before it.
    assert len(peers.asked) == (1 if share == 0.0 or settings.max_attempts == 1 else defaults.ROUTE_MAX_ATTEMPTS)


async def test_failure_of_one_leaves_the_other_running() -> None:
    peers = Peers((GOOD,), (EVENTS, HANG), (RESET,), (GOOD,))
    peers.usual_s = 0.0
    ask = _ask(first_byte_timeout_s=DEADLINE_S, idle_timeout_s=3 * defaults.HEDGE_MIN_S)
    async with asyncio.timeout(DEADLINE_S), peers.router(HEDGING) as router:
        await _saved(router, peers)
        async with router.send(ask) as answer:
            assert (answer.status, answer.attempts) == (200, 3)


async def test_caller_that_leaves_resets_both() -> None:
    peers = Peers((GOOD,), (EVENTS, HANG))
    peers.usual_s = 0.0
    async with asyncio.timeout(DEADLINE_S), peers.router(HEDGING) as router:
        await _saved(router, peers)

        async def leave() -> None:
            async with router.send(_ask()):
                pass

        leaving = asyncio.create_task(leave())
        await asyncio.wait((leaving,), timeout=2 * defaults.HEDGE_MIN_S)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
    assert len(peers.asked) == 2
    assert sorted(peers.cut) == sorted(peers.asked)
