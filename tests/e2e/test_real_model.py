"""The real model behind three real processes: what a user of the network gets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aicn.cli.demo_model import MODEL_NAME
from support.processes import NodeProcess, Nodes
from support.real_model import model_server

PROJECT = "demo"
DEADLINE_S = 60.0


@dataclass(slots=True)
class Setup:
    """An Input, two Workers, and the model server beside both."""

    nodes: Nodes
    entry: NodeProcess
    workers: tuple[NodeProcess, NodeProcess]
    model_url: str
    http: aiohttp.ClientSession

    def chat(self, *, stream: bool, max_tokens: int, headers: dict[str, str] | None = None) -> Any:
        """Ask through the Input, which chooses the Worker."""
        ask = {
            "project": PROJECT,
            "model": MODEL_NAME,
            "messages": [{"role": "user", "content": "Name three colours."}],
            "stream": stream,
            "max_tokens": max_tokens,
            "temperature": 0,
            "ignore_eos": True,  # passed through: llama.cpp's own
        }
        return self.http.post(f"{self.entry.api}/chat/completion/proxy", json=ask, headers=headers)

    async def busy_slots(self) -> int:
        """Return how many requests the model is working on."""
        async with self.http.get(f"{self.model_url}/slots") as answer:
            return sum(slot["is_processing"] for slot in await answer.json())

    async def until_idle(self) -> None:
        """Wait until the model works on nothing."""
        async with asyncio.timeout(DEADLINE_S):
            while await self.busy_slots():  # noqa: ASYNC110 - another process: there is nothing to wait on
                await asyncio.sleep(0.02)


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    async with model_server() as url, Nodes(tmp_path) as nodes, aiohttp.ClientSession() as http:
        entry = nodes.make("input")
        model = (PROJECT, MODEL_NAME, f"{url}/v1/chat/completions")
        one, two = (nodes.make("worker", bootstrap=[entry.multiaddr], models=[model]) for _ in range(2))
        await asyncio.gather(*(node.start() for node in (entry, one, two)))
        await nodes.until_seen(entry, PROJECT, MODEL_NAME, one, two)
        yield Setup(nodes, entry, (one, two), url, http)


def _events(body: bytes) -> list[str]:
    return [event.removeprefix("data: ") for event in body.decode().split("\n\n") if event]


async def test_chat_is_the_same_whole_and_streamed(setup: Setup) -> None:
    async with setup.chat(stream=False, max_tokens=12) as answer:
        assert answer.status == 200
        whole = await answer.json()
    assert whole["usage"]["completion_tokens"] == 12
    said = whole["choices"][0]["message"]["content"]
    assert said
    async with setup.chat(stream=True, max_tokens=12) as answer:
        assert answer.content_type == "text/event-stream"
        *events, last = _events(await answer.read())
    assert last == "[DONE]"
    deltas = [choice["delta"].get("content") or "" for event in events for choice in json.loads(event)["choices"]]
    assert "".join(deltas) == said
    assert sum(bool(delta) for delta in deltas) > 3


async def test_client_that_leaves_stops_the_model(setup: Setup) -> None:
    answer = await setup.chat(stream=True, max_tokens=3_000)
    await answer.content.readuntil(b"\n\n")
    assert await setup.busy_slots() == 1
    answer.close()
    await setup.until_idle()


async def test_worker_killed_in_the_middle_ends_the_stream_honestly(setup: Setup) -> None:
    async with setup.chat(stream=True, max_tokens=3_000) as answer:
        head = await answer.content.readuntil(b"\n\n")
        victim = next(worker for worker in setup.workers if worker.peer == answer.headers["x-aicn-node"])
        await victim.kill()
        *_, last = _events(head + await answer.read())
    assert json.loads(last)["code"] == 1018
    # The other Worker goes on serving, and the model is free of the dead one's request.
    async with setup.chat(stream=False, max_tokens=4) as answer:
        assert answer.status == 200
        assert answer.headers["x-aicn-node"] != victim.peer
    await setup.until_idle()


async def test_worker_killed_in_the_middle_is_continued_by_the_other_one(setup: Setup) -> None:
    """llama.cpp takes up the unfinished message where it broke off: each delta is one token, and none is missing."""
    async with setup.chat(stream=True, max_tokens=60, headers={"x-aicn-continue": "1"}) as answer:
        head = b"".join([await answer.content.readuntil(b"\n\n") for _ in range(5)])
        victim = next(worker for worker in setup.workers if worker.peer == answer.headers["x-aicn-node"])
        await victim.kill()
        *events, last = _events(head + await answer.read())
    assert last == "[DONE]"
    other = next(worker for worker in setup.workers if worker is not victim)
    assert f": broke off, continued by node {other.peer}" in events
    chunks = [json.loads(event) for event in events if event.startswith("{")]
    assert len({chunk["id"] for chunk in chunks}) == 1
    deltas = [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]
    assert sum(bool(delta) for delta in deltas) == 60
