"""A model server that fails before its first word is not noticed: the gateway asks the other one.

A network of their own: a gateway that has just seen many failures leaves alone what failed, and repeats less.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest

from support.mock_model_server import Plan

from .asks import HELLO
from .gateway import TALKER, Gateway, running_gateway
from .python_clients import Clients, opened

WORDS = "You said: Grüße, 世界 🌍"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with running_gateway(tmp_path) as running:
        yield running


@pytest.fixture
async def clients(gateway: Gateway) -> AsyncIterator[Clients]:
    async with opened(gateway.root) as ready:
        yield ready


async def test_model_servers_that_break_off_before_the_first_word(gateway: Gateway, clients: Clients) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        await clients.async_openai.chat.completions.create(
            model=TALKER, messages=HELLO, extra_body={"x_mock": {"die_at_once": True}}
        )
    assert caught.value.status_code == 502
    # Both were tried, and no one twice.
    assert [len(server.seen) for server in gateway.servers] == [1, 1]


async def test_one_model_server_that_breaks_off_is_not_noticed(gateway: Gateway, clients: Clients) -> None:
    for plan in (Plan(lifelike=True, die_at_once=True), Plan(status=503, body=b"{}"), Plan(status=429, body=b"{}")):
        gateway.renew()
        broken, whole = gateway.servers
        broken.plan = plan
        for _ in range(4):
            answer = await clients.async_openai.chat.completions.create(model=TALKER, messages=HELLO)
            assert answer.choices[0].message.content == WORDS
        assert len(whole.seen) == 4


async def test_attempts_are_counted(gateway: Gateway, clients: Clients) -> None:
    chat = clients.async_openai.chat.completions.with_raw_response
    broken, whole = gateway.servers
    broken.plan = Plan(die_at_once=True)
    attempts = []
    for _ in range(8):
        answer = await chat.create(model=TALKER, messages=HELLO)
        assert answer.headers["x-aicn-node"] == gateway.workers[1].peer
        attempts.append(answer.headers["x-aicn-attempts"])
    assert len(whole.seen) == 8
    assert (attempts.count("1"), attempts.count("2")) == (8 - len(broken.seen), len(broken.seen))


async def test_the_sdk_tries_again_by_itself(gateway: Gateway, clients: Clients) -> None:
    for server in gateway.servers:
        server.once = [Plan(status=503, body=b"{}")]
    answer = await clients.async_openai.with_options(max_retries=1).chat.completions.with_raw_response.create(
        model=TALKER, messages=HELLO
    )
    assert answer.retries_taken == 1
    parsed = answer.parse()
    assert parsed.choices[0].message.content == WORDS
