"""Errors of the gateway itself, which no model server says: a network of its own, to be short of time and of nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from .asks import HELLO, LONG
from .gateway import TALKER, Gateway, running_gateway
from .node_program import judge, names_in, run_file
from .python_clients import Clients, in_thread, opened

HANG = {"x_mock": {"hang": True}}
SLOW = {"x_mock": {"gap_ms": 50}}
TOO_LARGE = "x" * (33 << 20)


@pytest.fixture
async def hurried(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A network whose Input waits a second for the first word of an answer."""
    async with running_gateway(tmp_path, AICN={"Routing": {"TotalTimeout": "1s"}}) as gateway:
        yield gateway


@pytest.fixture
async def clients(hurried: Gateway) -> AsyncIterator[Clients]:
    async with opened(hurried.root) as ready:
        yield ready


def status_of(error: openai.APIStatusError) -> int:
    """Return the status of an error of OpenAI's shape."""
    assert isinstance(error.body, dict)
    assert error.body.keys() == {"message", "type", "param", "code"}
    assert error.body["message"]
    assert error.request_id
    return error.status_code


async def test_time_size_nodes_and_connections_run_out(hurried: Gateway, clients: Clients) -> None:
    """One network for all of them, since each of them wants one to itself and none of them changes it but the last."""
    chat: Any = clients.async_openai.chat.completions
    for how in ({}, {"stream": True}):
        with pytest.raises(openai.InternalServerError) as late:
            await chat.create(model=TALKER, messages=HELLO, extra_body=HANG, **how)
        assert status_of(late.value) == 504

    with pytest.raises(openai.APIStatusError) as large:
        await chat.create(model=TALKER, messages=[{"role": "user", "content": TOO_LARGE}])
    assert status_of(large.value) == 413
    with pytest.raises(openai.APIStatusError) as large:
        await in_thread(lambda: clients.openai.embeddings.create(model=TALKER, input=TOO_LARGE))
    assert status_of(large.value) == 413

    outcomes = await run_file("hurried.own.mjs", AICN_ROOT=hurried.root)
    for name in names_in("hurried.own.mjs"):
        judge(outcomes, name)

    # A stream, and a chat that waits, while the Input dies.
    hurried.renew()
    stream = await chat.create(model=TALKER, messages=LONG, stream=True, extra_body=SLOW)
    chunks = aiter(stream)
    await anext(chunks)
    waiting = asyncio.ensure_future(chat.create(model=TALKER, messages=HELLO, extra_body=HANG))
    await hurried.next_request()
    await hurried.next_request()
    await hurried.entry.kill()
    with pytest.raises(openai.APIConnectionError):
        await waiting
    with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError, httpx2.ReadError)):
        async for _ in chunks:
            pass


async def test_model_servers_that_are_down(hurried: Gateway, clients: Clients) -> None:
    for server in hurried.servers:
        await server.stop()
    chat: Any = clients.async_openai.chat.completions
    for how in ({}, {"stream": True}):
        with pytest.raises(openai.InternalServerError) as down:
            await chat.create(model=TALKER, messages=HELLO, **how)
        assert status_of(down.value) == 503
        assert int(down.value.response.headers["retry-after"]) > 0


async def test_workers_that_are_gone(hurried: Gateway, clients: Clients) -> None:
    for worker in hurried.workers:
        await worker.kill()
    with pytest.raises(openai.InternalServerError) as gone:
        await clients.async_openai.chat.completions.create(model=TALKER, messages=HELLO)
    assert status_of(gone.value) in {502, 503, 504}
