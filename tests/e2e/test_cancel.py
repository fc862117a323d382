"""A client that goes away, in every mode and at every moment: the model server sees its socket close.

How soon is measured by `make bench`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from support.drawing import draw
from support.mock_model_server import MockModelServer, Plan, Seen, event
from support.processes import NodeProcess, Nodes

PROJECT = "P"
CHAT, DRAW, EDIT = "chat", "draw", "edit"
DEADLINE_S = 15.0
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
LONG_MS = 3_600_000.0


@dataclass(slots=True)
class Setup:
    """An Input, a Worker, and the model server of the Worker."""

    entry: NodeProcess
    worker: NodeProcess
    server: MockModelServer

    def url(self, path: str) -> str:
        """Return the URL of a route of either API."""
        return f"{self.entry.api.removesuffix('/api/v0')}/{path}"


async def _running(folder: Path) -> AsyncIterator[Setup]:
    async with MockModelServer() as server, Nodes(folder) as nodes:
        entry = nodes.make("input")
        models = [
            (PROJECT, CHAT, server.chat_url, 0),
            (PROJECT, DRAW, server.image_url, 1),
            (PROJECT, EDIT, server.edit_url, 2),
        ]
        worker = nodes.make("worker", bootstrap=[entry.multiaddr], models=models)
        await asyncio.gather(entry.start(), worker.start())
        for model in (CHAT, DRAW, EDIT):
            await nodes.until_seen(entry, PROJECT, model, worker)
        yield Setup(entry, worker, server)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_setup(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Setup]:
    async for running in _running(tmp_path_factory.mktemp("cancel")):
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def shared(module_setup: Setup) -> Setup:
    """The module's processes, the model server as new."""
    module_setup.server.plan = Plan()
    module_setup.server.forget()
    return module_setup


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    """Processes of the test's own, to kill."""
    async for running in _running(tmp_path):
        yield running


def _chat(*, stream: bool, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "hi"}]
    return {"json": {"project": PROJECT, "model": CHAT, "messages": messages, "stream": stream, **more}}


def _edit() -> dict[str, Any]:
    form = aiohttp.FormData({"project": PROJECT, "model": EDIT, "prompt": "a hat"})
    form.add_field("image", draw("a cat"), filename="cat.png", content_type="image/png")
    return {"data": form, "params": {"project": PROJECT, "model": EDIT}}


OLD, OLD_DRAW, OLD_EDIT = (f"api/v0/{path}/proxy" for path in ("chat/completion", "image/gen", "image/edit"))
DRAWN = {"json": {"project": PROJECT, "model": DRAW, "prompt": "a cat"}}
WAITING = Plan(hang=True)
PREFILL = Plan(first_event_ms=LONG_MS)
"""The head is out, and the model reads its prompt."""
ROLE_ONLY = Plan(chunks=(ROLE, event(CHAT, 0)), gap_ms=LONG_MS)
SLOW_BODY = Plan(body=b" " * 200_000 + b"{}", piece_bytes=1)
"""A whole answer that takes long to write."""

BEFORE = [
    pytest.param(OLD, _chat(stream=True), WAITING, id="stream, before the head"),
    pytest.param(OLD, _chat(stream=True), PREFILL, id="stream, prefill"),
    pytest.param(OLD, _chat(stream=True), ROLE_ONLY, id="stream, behind the role"),
    pytest.param(OLD, _chat(stream=False), WAITING, id="no stream"),
    pytest.param(OLD, _chat(stream=False), SLOW_BODY, id="no stream, inside the answer"),
    pytest.param(OLD_DRAW, DRAWN, WAITING, id="image"),
    pytest.param(OLD_EDIT, _edit, WAITING, id="image edit"),
    pytest.param("v1/chat/completions", _chat(stream=True), WAITING, id="v1 stream, before the head"),
    pytest.param("v1/chat/completions", _chat(stream=True), PREFILL, id="v1 stream, prefill"),
    pytest.param("v1/chat/completions", _chat(stream=True), ROLE_ONLY, id="v1 stream, behind the role"),
    pytest.param("v1/chat/completions", _chat(stream=False), WAITING, id="v1, no stream"),
    pytest.param("v1/completions", {"json": {"model": CHAT, "prompt": "hi"}}, WAITING, id="v1 completion"),
    pytest.param("v1/responses", {"json": {"model": CHAT, "input": "hi", "stream": True}}, PREFILL, id="v1 response"),
    pytest.param("v1/embeddings", {"json": {"model": CHAT, "input": "hi"}}, WAITING, id="v1 embedding"),
    pytest.param("v1/messages", _chat(stream=True, max_tokens=9), PREFILL, id="v1 message"),
    pytest.param("v1/images/generations", {"json": {"model": DRAW, "prompt": "a cat"}}, WAITING, id="v1 image"),
    pytest.param("v1/images/edits", _edit, WAITING, id="v1 image edit"),
    pytest.param("v1/audio/speech", {"json": {"model": CHAT, "input": "hi", "voice": "v"}}, WAITING, id="v1 speech"),
]
WORDS = Plan(events=10_000, gap_ms=20)
DURING = [
    pytest.param(OLD, _chat(stream=True), WORDS, id="stream"),
    pytest.param("v1/chat/completions", _chat(stream=True), WORDS, id="v1 stream"),
    pytest.param(
        "v1/audio/speech",
        {"json": {"model": CHAT, "input": "hi", "voice": "v"}},
        Plan(chunks=(b"\0" * 1_000,) * 10_000, gap_ms=20, headers={"Content-Type": "audio/mpeg"}),
        id="v1 speech",
    ),
]


async def _sees_it_close(seen: Seen) -> None:
    async with asyncio.timeout(DEADLINE_S):
        await seen.gone.wait()
    assert not seen.finished


async def _hang_up(post: asyncio.Task[aiohttp.ClientResponse]) -> None:
    """Leave a request, which may have been answered in this moment."""
    post.cancel()
    with contextlib.suppress(asyncio.CancelledError, aiohttp.ClientError):
        (await post).close()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("path", "request_of", "plan"), BEFORE)
async def test_client_that_leaves_before_the_answer(shared: Setup, path: str, request_of: Any, plan: Plan) -> None:
    shared.server.plan = plan
    asked = request_of() if callable(request_of) else request_of
    async with aiohttp.ClientSession() as leaving:
        post = asyncio.create_task(leaving.post(shared.url(path), **asked))
        seen = await shared.server.next_request(DEADLINE_S)
        post.cancel()
        await asyncio.wait([post])
        assert post.cancelled()
    await _sees_it_close(seen)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("path", "asked", "plan"), DURING)
async def test_client_that_leaves_inside_the_answer(
    shared: Setup, path: str, asked: dict[str, Any], plan: Plan
) -> None:
    shared.server.plan = plan
    async with aiohttp.ClientSession() as leaving:
        answer = await leaving.post(shared.url(path), **asked)
        seen = await shared.server.next_request(DEADLINE_S)
        assert answer.status == 200
        await answer.content.readany()
        answer.close()
    await _sees_it_close(seen)


@pytest.mark.parametrize("victim", ["entry", "worker"])
async def test_node_that_is_killed(setup: Setup, victim: str) -> None:
    setup.server.plan = WAITING
    async with aiohttp.ClientSession() as http:
        post = asyncio.create_task(http.post(setup.url(OLD), **_chat(stream=True)))
        seen = await setup.server.next_request(DEADLINE_S)
        node: NodeProcess = getattr(setup, victim)
        await node.kill()
        await _sees_it_close(seen)
        await _hang_up(post)


async def test_client_that_leaves_while_its_node_stands_still(setup: Setup) -> None:
    """The node takes no stream; when it goes on, it finds that nobody waits any more."""
    os.kill(setup.worker.pid, signal.SIGSTOP)
    try:
        async with aiohttp.ClientSession() as http:
            post = asyncio.create_task(http.post(setup.url(OLD), **_chat(stream=True)))
            await _until_under_way(http, setup, 1)
            await _hang_up(post)
            await _until_under_way(http, setup, 0)
    finally:
        os.kill(setup.worker.pid, signal.SIGCONT)
    async with aiohttp.ClientSession() as http:
        async with http.post(setup.url(OLD), **_chat(stream=False)) as answer:
            assert answer.status == 200
        await _until_under_way(http, setup, 0)
    assert any(seen.finished for seen in setup.server.seen)
    for seen in setup.server.seen:
        if not seen.finished:
            await _sees_it_close(seen)


async def _until_under_way(http: aiohttp.ClientSession, setup: Setup, wanted: int) -> None:
    """Wait until the Input counts so many requests of its users under way."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            async with http.get(f"{setup.entry.api}/debug/metrics/prometheus") as answer:
                lines = (await answer.text()).splitlines()
            counts = [line for line in lines if line.startswith("aicn_requests_in_flight{") and 'side="input"' in line]
            if sum(int(float(line.split()[-1])) for line in counts) == wanted:
                return
            await asyncio.sleep(0.02)
