"""Answers explain themselves in headers, which the SDKs hand out."""

from __future__ import annotations

import pytest

from .asks import ASKS, HELLO, Ask
from .gateway import TALKER, Gateway
from .python_clients import Clients, in_thread

pytestmark = [
    pytest.mark.asyncio(loop_scope="package"),
    pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning"),
]

ONE_OF_EACH = list({ask.method: ask for ask in ASKS if "stream" not in ask.more}.values())


@pytest.mark.parametrize("ask", ONE_OF_EACH, ids=lambda ask: ask.method)
async def test_an_answer_says_who_gave_it_and_how(gateway: Gateway, clients: Clients, ask: Ask) -> None:
    *resource, method = ask.method.split(".")
    one = clients.async_openai
    for name in resource:
        one = getattr(one, name)
    answer = await getattr(one.with_raw_response, method)(**ask.arguments)
    headers = answer.headers
    (seen,) = gateway.seen()
    server = next(server for server in gateway.servers if server.seen)
    assert headers["x-aicn-node"] == gateway.workers[gateway.servers.index(server)].peer
    assert headers["x-aicn-attempts"] == "1"
    assert headers["x-aicn-path"] == "direct"
    assert int(headers["x-aicn-queue-ms"]) >= 0
    assert int(headers["x-aicn-first-token-ms"]) >= 0
    # One id at the client, at the gateway and at the model server.
    assert answer.request_id == headers["x-request-id"] == seen.header("x-request-id")


async def test_a_request_keeps_the_id_that_its_client_gave(gateway: Gateway, clients: Clients) -> None:
    answer = await clients.async_openai.chat.completions.create(
        model=TALKER, messages=HELLO, extra_headers={"x-request-id": "mine.1_2-3"}
    )
    assert answer._request_id == "mine.1_2-3"
    (seen,) = gateway.seen()
    assert seen.header("x-request-id") == "mine.1_2-3"


@pytest.mark.parametrize("bad", ["a b", "x" * 65, "a/b", "a\tb"])
async def test_an_id_that_could_do_harm_in_a_log_is_replaced(clients: Clients, bad: str) -> None:
    answer = await clients.async_openai.chat.completions.create(
        model=TALKER, messages=HELLO, extra_headers={"x-request-id": bad}
    )
    assert answer._request_id
    assert answer._request_id != bad


async def test_each_request_has_an_id_of_its_own(clients: Clients) -> None:
    def ask() -> str | None:
        return clients.openai.chat.completions.create(model=TALKER, messages=HELLO)._request_id

    first, second = await in_thread(ask), await in_thread(ask)
    assert first
    assert second
    assert first != second


async def test_a_streamed_answer_says_who_gives_it(gateway: Gateway, clients: Clients) -> None:
    chat = clients.async_openai.chat.completions.with_raw_response
    answer = await chat.create(model=TALKER, messages=HELLO, stream=True)
    assert answer.headers["x-aicn-node"] in {worker.peer for worker in gateway.workers}
    assert answer.headers["x-aicn-attempts"] == "1"
    assert answer.request_id
    assert [chunk async for chunk in answer.parse()]
