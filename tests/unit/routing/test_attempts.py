"""The attempts of one request: what is a failure, when trying ends, and what the client gets in the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from aicn import defaults
from aicn.endpoints import Endpoint
from aicn.errors import (
    AttemptsExhausted,
    BackendUnreachable,
    EndpointUnsupported,
    NetworkTimeout,
    NoCandidate,
    NodeUnavailable,
    StreamReset,
    TruncatedFrame,
)
from aicn.ids import ModelName
from aicn.routing import RouteSettings, Sample, SampleOutcome, StreamedBody
from support.hosts import until
from support.scripted_peers import (
    ANY,
    DEADLINE_S,
    DONE,
    EVENTS,
    GOOD,
    HANG,
    PEERS,
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
    pytest.param((whole(200, b"{}", "content-type: application/json")[:-1], RESET), id="reset inside short JSON"),
    *(pytest.param((whole(status, b"{}"),), id=str(status)) for status in (429, 500, 502, 503, 504, 529)),
    *(
        pytest.param((whole(200, told, "content-type: application/json"),), id=f"200 with {told.decode()}")
        for told in (b'{"error":{"message":"m"}}', b'{"error":"m"}', b'{"code":1007,"message":"m"}')
    ),
    pytest.param((EVENTS, ROLE, b'data: {"error":{"message":"m","code":503}}\n\n'), id="error event behind the role"),
    pytest.param((EVENTS, b'event: error\ndata: {"error":{"type":"overloaded_error"}}\n\n'), id="error event"),
    *(
        pytest.param((failed(slug),), id=f"node: {slug}")
        for slug in ("model_not_found", "backend_unreachable", "backend_timeout", "endpoint_unsupported", "unheard_of")
    ),
    pytest.param((whole(404, b'{"error":{"code":"model_not_found"}}'),), id="404: no such model any more"),
    pytest.param((whole(404, b'{"error":{"message":"The model `m` does not exist."}}'),), id="404 in vLLM's words"),
    pytest.param((whole(404, b'{"error":"model \'m:latest\' not found"}'),), id="404 in Ollama's words"),
    pytest.param((whole(404, b'{"detail":"Model not found"}'),), id="404 in a web UI's words"),
    *(
        pytest.param((whole(status, b"", "location: /login", *kind),), id=f"redirect {status} {''.join(kind)}")
        for status in (302, 307)
        for kind in ([], ["content-type: application/json"])
    ),
    *(
        pytest.param((whole(200, GOOD, "content-encoding: gzip", f"content-type: {kind}"),), id=f"{kind} encoded")
        for kind in ("application/json", "text/event-stream", "image/png")
    ),
    *(
        pytest.param((f"HTTP/1.1 200 OK\r\n{kind}transfer-encoding: chunked\r\n\r\n".encode() + chunk,), id=name)
        for name, kind, chunk in (
            ("nothing in chunks", "content-type: application/json\r\n", b"0\r\n\r\n"),
            ("no choice, in chunks", "content-type: application/json\r\n", b'e\r\n{"choices":[]}\r\n0\r\n\r\n'),
            ("error in chunks", "content-type: application/json\r\n", b'd\r\n{"error":"m"}\r\n0\r\n\r\n'),
            ("error as a text", "content-type: text/plain\r\n", b'd\r\n{"error":"m"}\r\n0\r\n\r\n'),
            ("error of no type", "", b'd\r\n{"error":"m"}\r\n0\r\n\r\n'),
        )
    ),
]


@pytest.mark.parametrize("failure", FAILURES)
async def test_failure_before_the_first_content_is_left_for_the_next(failure: tuple[Step, ...]) -> None:
    peers = Peers(failure, failure, (GOOD,))
    asked = ask(first_byte_timeout_s=SOON_S, idle_timeout_s=SOON_S)
    assert await send(peers, asked) == (200, ROLE + WORD + DONE, 3)
    assert len(set(peers.asked)) == 3


@pytest.mark.parametrize(
    "refusal",
    [
        *(pytest.param((whole(status, b"{}"),), id=str(status)) for status in (400, 401, 403, 404, 409, 413, 415, 422)),
        pytest.param((whole(404, b'{"error":{"message":"No such response"}}'),), id="404: something else is missing"),
        pytest.param(
            (whole(404, b'{"error":{"message":"Response \'the model not found\' not found","param":"id"}}'),),
            id="404 that repeats what the client wrote",
        ),
        pytest.param((EVENTS, b'data: {"error":{"message":"m","code":400}}\n\n'), id="400 as an event"),
        pytest.param((EVENTS, b'data: {"error":{"type":"invalid_request_error"}}\n\n'), id="its type as an event"),
    ],
)
async def test_users_error_is_nobody_elses_business(refusal: tuple[Step, ...]) -> None:
    peers = Peers(refusal, (GOOD,))
    status, _, attempts = await send(peers)
    assert 400 <= status < 500
    assert attempts == 1
    assert len(peers.asked) == 1


@pytest.mark.parametrize(
    "told",
    [
        b'{"error":{"message":"m","code":400}}',
        b'{"error":null,"choices":[{}]}',
        b'{"code":0,"choices":[{}]}',
        b'{"choices":["error"]}',
        pytest.param(
            b'{"model":"m","message":{"role":"assistant","content":"hi"},"done":true}', id="Ollama's own chat"
        ),
        pytest.param(b'{"model":"m","response":"hi","done":true}', id="Ollama's own completion"),
        pytest.param(b'{"index":0,"content":"hi","stop":true}', id="llama.cpp's own completion"),
    ],
)
async def test_answer_with_status_200_that_is_nobody_elses_business(told: bytes) -> None:
    peers = Peers((whole(200, told, "content-type: application/json"),), (GOOD,))
    assert await send(peers) == (200, told, 1)


@pytest.mark.parametrize("kind", ["application/json", "text/html"])
@pytest.mark.parametrize("told", [b"", b" \n", b"<html>log in</html>", b"[]", b"null"])
async def test_success_without_an_answer_is_a_failure(told: bytes, kind: str) -> None:
    rubbish = (whole(200, told, f"content-type: {kind}"),)
    right = b'{"choices":[{}],"data":[{}]}'
    for endpoint in (
        Endpoint.CHAT,
        Endpoint.RESPONSES,
        Endpoint.EMBEDDINGS,
        Endpoint.MESSAGES,
        Endpoint.IMAGE_GENERATION,
        Endpoint.IMAGE_EDIT,
    ):
        assert await send(Peers(rubbish, (whole(200, right),)), ask(endpoint=endpoint)) == (200, right, 2)
    status, body, attempts = await send(Peers(rubbish))
    assert (status, json.loads(body)["error"]["code"], attempts) == (502, "model_server_failed", 3)
    sound = (whole(200, b"RIFF", "content-type: audio/wav"),)
    for endpoint in (Endpoint.SPEECH, Endpoint.TRANSCRIPTION):
        # The text of a sound in which nobody speaks may be empty, and some call every text a page; a sound is neither.
        is_page = kind == "text/html" and (endpoint is Endpoint.SPEECH or told.startswith(b"<"))
        is_none = is_page or (not told and endpoint is Endpoint.SPEECH)
        expected = (200, b"RIFF", 2) if is_none else (200, told, 1)
        assert await send(Peers(rubbish, sound), ask(endpoint=endpoint)) == expected


@pytest.mark.parametrize(
    ("endpoint", "told"),
    [
        (Endpoint.IMAGE_GENERATION, b"{}"),
        (Endpoint.IMAGE_GENERATION, b'{"created":1,"data":[]}'),
        (Endpoint.IMAGE_EDIT, b'{"data":null}'),
        (Endpoint.IMAGE_EDIT, b'{"data":""}'),
        (Endpoint.EMBEDDINGS, b"{}"),
        (Endpoint.EMBEDDINGS, b'{"data":"x"}'),
    ],
)
async def test_what_has_nothing_of_what_was_asked_for_is_no_answer(endpoint: Endpoint, told: bytes) -> None:
    right = b'{"data":[{}]}'
    peers = Peers((whole(200, told, "content-type: application/json"),), (whole(200, right),))
    assert await send(peers, ask(endpoint=endpoint)) == (200, right, 2)


@pytest.mark.parametrize(
    ("endpoint", "told", "kind"),
    [
        (Endpoint.IMAGE_GENERATION, b'{"images":["aGk="]}', "application/json"),
        (Endpoint.IMAGE_EDIT, b"\x89PNG", "image/png"),
        (Endpoint.EMBEDDINGS, b'{"embeddings":[[0.5]]}', "application/json"),
        (Endpoint.EMBEDDINGS, b'{"embedding":[0.5]}', "application/json"),
        (Endpoint.IMAGE_EDIT, b'{"picture":"aGk="}', "application/json"),
        (Endpoint.IMAGE_EDIT, b'{"data":{"images":["aGk="]}}', "application/json"),
        (Endpoint.TRANSCRIPTION, b" And so my fellow Americans", "text/html; charset=utf-8"),
        (Endpoint.EMBEDDINGS, b'{"object":"list","data":[]}', "application/json"),
    ],
)
async def test_answers_in_other_words_are_answers(endpoint: Endpoint, told: bytes, kind: str) -> None:
    peers = Peers((whole(200, told, f"content-type: {kind}"),), (GOOD,))
    assert await send(peers, ask(endpoint=endpoint)) == (200, told, 1)


@pytest.mark.parametrize(
    "told",
    [
        b'{"choices":[]}',
        b'{"choices": [ ]}',
        b'{"choices":null}',
        b"{}",
        b'{"choices":[{"message":',
        b'{"message":"m"}',
    ],
)
async def test_a_chat_needs_a_choice(told: bytes) -> None:
    rubbish = (whole(200, told, "content-type: application/json"),)
    assert (await send(Peers(rubbish, (GOOD,))))[1:] == (ROLE + WORD + DONE, 2)


@pytest.mark.parametrize("status", [201, 204])
async def test_any_success_needs_an_answer(status: int) -> None:
    assert (await send(Peers((whole(status, b""),), (GOOD,))))[1:] == (ROLE + WORD + DONE, 2)


async def test_white_space_in_front_of_an_answer_is_waited_out() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n"
    assert await send(Peers((head + b"  ", b" \n", b'{"choices":[{}]}'))) == (200, b'   \n{"choices":[{}]}', 1)
    assert await send(Peers((head + b" " * 4, RESET), (GOOD,))) == (200, ROLE + WORD + DONE, 2)


async def test_break_after_the_first_content_is_the_clients_to_see() -> None:
    seen = asyncio.Event()
    peers = Peers((EVENTS, ROLE + WORD, seen, RESET), (GOOD,))
    async with asyncio.timeout(DEADLINE_S), peers.router() as router, router.send(ask()) as answer:
        assert await answer.read_some() == ROLE + WORD
        seen.set()
        with pytest.raises((StreamReset, TruncatedFrame)):
            await answer.read_some()
        assert answer.broken
    assert len(peers.asked) == 1


async def test_preamble_comes_with_the_content() -> None:
    peers = Peers((EVENTS, b": hello\n\n", ROLE, WORD[:9], WORD[9:], HANG))
    async with asyncio.timeout(DEADLINE_S), peers.router() as router, router.send(ask()) as answer:
        assert await answer.read_some() == b": hello\n\n" + ROLE + WORD


async def test_error_event_becomes_an_answer_with_its_status() -> None:
    error = b'{"error": {"message": "too long", "code": 400}}'
    peers = Peers((EVENTS, ROLE, b"data: " + error + b"\n\n", HANG))
    async with asyncio.timeout(DEADLINE_S), peers.router() as router, router.send(ask()) as answer:
        assert (answer.status, await read(answer)) == (400, error)
        assert dict(answer.headers)[b"content-type"] == b"application/json"
        assert answer.complete
    assert peers.cut == [peers.asked[0]]


@pytest.mark.parametrize(
    "last", [(UNREACHABLE,), (RESET,), (failed("backend_unreachable"),), (EVENTS, ROLE)], ids=lambda last: str(last[0])
)
async def test_last_words_of_a_model_server_are_handed_on(last: tuple[Step, ...]) -> None:
    busy = whole(429, b'{"error":{"message":"slow down"}}', "retry-after: 7")
    peers = Peers((failed("backend_timeout"),), (busy,), last)
    async with asyncio.timeout(DEADLINE_S), peers.router() as router, router.send(ask()) as answer:
        assert (answer.status, answer.attempts) == (429, 3)
        assert dict(answer.headers)[b"retry-after"] == b"7"
        assert json.loads(await read(answer))["error"]["message"] == "slow down"
        assert answer.complete


async def test_later_of_two_model_servers_is_handed_on() -> None:
    assert await send(Peers((whole(500, b"one"),), (whole(503, b"two"),), (UNREACHABLE,))) == (503, b"two", 3)
    assert await send(Peers((whole(500, b"one"),), (whole(502, b"two"),), (whole(503, b"three"),))) == (
        503,
        b"three",
        3,
    )


async def test_words_without_end_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "REFUSAL_TIMEOUT_S", SOON_S)
    endless = b"HTTP/1.1 503 X\r\ncontent-length: 100\r\n\r\nbusy"
    assert await send(Peers((endless, HANG), (GOOD,))) == (200, ROLE + WORD + DONE, 2)
    with pytest.raises(AttemptsExhausted, match="the last: nobody is there"):
        await send(Peers((endless, HANG), (UNREACHABLE,)))


async def test_all_failed_says_why() -> None:
    with pytest.raises(AttemptsExhausted, match="3 in all") as raised:
        await send(Peers((failed("backend_unreachable"),)))
    assert raised.value.attempts == 3
    assert isinstance(raised.value.__cause__, BackendUnreachable)
    with pytest.raises(AttemptsExhausted) as raised:
        await send(Peers((failed("model_not_found"),)))
    assert isinstance(raised.value.__cause__, NodeUnavailable)


async def test_model_that_lacks_an_endpoint_everywhere_is_no_failure_of_nodes() -> None:
    with pytest.raises(EndpointUnsupported):
        await send(Peers((failed("endpoint_unsupported"),)))


@pytest.mark.parametrize("max_attempts", [1, 2, 5])
async def test_attempts_are_bounded(max_attempts: int) -> None:
    peers = Peers((whole(503, b""),))
    assert await send(peers, settings=RouteSettings(max_attempts)) == (503, b"", max_attempts)
    assert len(peers.asked) == max_attempts


async def test_every_candidate_is_asked_once() -> None:
    peers = Peers((UNREACHABLE,))
    with pytest.raises(AttemptsExhausted, match=f"{len(PEERS)} in all"):
        await send(peers, settings=RouteSettings(100))
    assert sorted(peers.asked) == sorted(PEERS)


async def test_time_to_the_first_content_is_bounded() -> None:
    peers = Peers((UNREACHABLE,), (EVENTS, ROLE, HANG))
    with pytest.raises(AttemptsExhausted, match="2 in all") as raised:
        await send(peers, settings=RouteSettings(total_timeout_s=SOON_S))
    assert isinstance(raised.value.__cause__, NetworkTimeout)
    assert peers.cut == [peers.asked[1]]


async def test_time_from_the_head_to_the_first_content_of_an_answer_to_an_upload_is_bounded() -> None:
    async def rest() -> AsyncGenerator[bytes]:
        yield b"st"

    peers = Peers((EVENTS, ROLE, HANG))
    with pytest.raises(AttemptsExhausted, match="1 in all") as raised:
        await send(peers, replace(ask(), body=StreamedBody(b"re", rest(), 4)), RouteSettings(total_timeout_s=SOON_S))
    assert isinstance(raised.value.__cause__, NetworkTimeout)
    assert peers.cut == peers.asked


async def test_words_of_a_model_server_are_better_than_none_when_time_is_up() -> None:
    peers = Peers((whole(503, b"busy"),), (HANG,))
    assert await send(peers, settings=RouteSettings(total_timeout_s=SOON_S)) == (503, b"busy", 2)


async def test_whole_answer_may_take_longer_than_its_first_content() -> None:
    peers = Peers((EVENTS, WORD, HANG))
    settings = RouteSettings(total_timeout_s=SOON_S)
    async with asyncio.timeout(DEADLINE_S), peers.router(settings) as router, router.send(ask()) as answer:
        assert await answer.read_some() == WORD
        waiting = asyncio.create_task(answer.read_some())
        await asyncio.wait((waiting,), timeout=2 * SOON_S)
        assert not waiting.done()
        waiting.cancel()


async def test_repetitions_of_all_requests_together_are_bounded() -> None:
    peers = Peers((whole(503, b""),))
    requests = 100
    async with asyncio.timeout(DEADLINE_S), peers.router(RouteSettings(6), share=0.2) as router:
        for _ in range(requests):
            async with router.send(ask()) as answer:
                assert answer.status == 503
    assert len(peers.asked) - requests == pytest.approx(0.2 * requests + defaults.ROUTE_RETRY_FLOOR, abs=1)


async def test_names_that_nobody_serves_save_up_no_repetitions() -> None:
    peers = Peers((whole(503, b""),))
    unknown = replace(ask(), model=ModelName("unknown"))
    async with asyncio.timeout(DEADLINE_S), peers.router(RouteSettings(6), share=0.2) as router:
        for _ in range(100):
            with pytest.raises(NoCandidate):
                async with router.send(unknown):
                    pass
        for _ in range(10):
            async with router.send(ask()) as answer:
                assert answer.status == 503
    assert len(peers.asked) - 10 == pytest.approx(0.2 * 10 + defaults.ROUTE_RETRY_FLOOR, abs=1)


async def test_who_is_no_good_for_it_costs_no_repetition() -> None:
    for unfit in ((REFUSING,), (failed("endpoint_unsupported"),)):
        peers = Peers(unfit, unfit, (GOOD,))
        assert await send(peers, share=0.0) == (200, ROLE + WORD + DONE, 3)


async def test_the_next_is_reserved_before_the_last_one_is_let_go() -> None:
    peers = Peers((b"HTTP/1.1 503 X\r\ncontent-length: 100\r\n\r\nbusy", HANG), (GOOD,))
    async with asyncio.timeout(DEADLINE_S), peers.router() as router:

        async def use() -> int:
            async with router.send(ask()) as answer:
                return answer.status

        using = asyncio.create_task(use())
        await until(lambda: sum(map(peers.reservations.at_peer, PEERS)) == 2)
        assert len(peers.asked) == 1, "the words of the first are still awaited"
        assert await using == 200


async def test_a_broken_answer_that_is_abandoned_frees_its_place_and_is_told() -> None:
    seen = asyncio.Event()
    peers = Peers((EVENTS, WORD, seen, RESET))
    async with asyncio.timeout(DEADLINE_S), peers.router() as router, router.send(ask()) as answer:
        assert await answer.read_some() == WORD
        seen.set()
        with pytest.raises((StreamReset, TruncatedFrame)):
            await answer.read_some()
        await answer.abandon()
        assert peers.reservations.at_peer(answer.peer) == 0
        assert peers.samples == [Sample(SampleOutcome.FAILED)]
    assert peers.samples == [Sample(SampleOutcome.FAILED)], "once"


async def test_no_budget_means_one_attempt() -> None:
    assert await send(Peers((whole(503, b""),), (GOOD,)), share=0.0) == (503, b"", 1)


async def test_peers_that_failed_this_client_are_not_asked() -> None:
    peers = Peers((whole(503, b""),))
    async with asyncio.timeout(DEADLINE_S), peers.router(RouteSettings(100)) as router:
        async with router.send(ask(), without=frozenset(PEERS[:4])):
            assert sorted(peers.asked) == sorted(PEERS[4:])
        with pytest.raises(NoCandidate):
            async with router.send(ask(), without=frozenset(PEERS)):
                pass


async def test_named_peer_is_asked_alone() -> None:
    peers = Peers((EVENTS, ROLE), (GOOD,))
    async with asyncio.timeout(DEADLINE_S), peers.router() as router:
        with pytest.raises(NodeUnavailable, match="before any content"):
            async with router.send_to(PEERS[0], ANY, ask()):
                pass
        async with router.send_to(PEERS[1], ANY, ask()) as answer:
            assert await read(answer) == ROLE + WORD + DONE
    assert peers.asked == list(PEERS[:2])


async def test_caller_that_leaves_resets_whoever_is_asked() -> None:
    peers = Peers((UNREACHABLE,), (EVENTS, ROLE, HANG))
    async with asyncio.timeout(DEADLINE_S), peers.router() as router:

        async def leave() -> None:
            async with router.send(ask()):
                pass

        leaving = asyncio.create_task(leave())
        await asyncio.wait((leaving,), timeout=SOON_S)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
    assert peers.cut == [peers.asked[1]]
