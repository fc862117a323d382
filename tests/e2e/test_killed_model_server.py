"""Model servers that are real processes, killed and frozen: no request finds them, and they come back by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from support.model_process import ModelProcess
from support.processes import NodeProcess, Nodes

from .conftest import MODEL, PROJECT

DEADLINE_S = 40.0
POLL_S = 0.05
CALLERS = 4


@dataclass(slots=True)
class Pair:
    """An Input and two Workers, each beside a model server that is a process."""

    entry: NodeProcess
    workers: tuple[NodeProcess, NodeProcess]
    servers: tuple[ModelProcess, ModelProcess]
    http: aiohttp.ClientSession

    async def ask(self) -> tuple[int, str, int]:
        """Return status, node and number of attempts of an answer."""
        body = {"model": f"{PROJECT}/{MODEL}", "messages": [{"role": "user", "content": "hi"}]}
        url = self.entry.api.removesuffix("/api/v0") + "/v1/chat/completions"
        async with self.http.post(url, json=body) as answer:
            await answer.read()
            return answer.status, answer.headers.get("x-aicn-node", ""), int(answer.headers.get("x-aicn-attempts", 0))

    async def state(self, worker: NodeProcess) -> tuple[str, str]:
        """Return state and reason of the only model of a Worker."""
        async with self.http.get(f"{worker.api}/ai/model/list") as answer:
            (listed,) = (await answer.json())["data"]
            return listed["state"], listed["reason"]

    async def until_serving(self, *workers: NodeProcess) -> None:
        """Wait until the Input lists just `workers`."""
        wanted, query = {worker.peer for worker in workers}, {"project": PROJECT, "model": MODEL}
        async with asyncio.timeout(DEADLINE_S):
            while True:
                async with self.http.get(f"{self.entry.api}/ai/projects/peers", params=query) as answer:
                    if {peer["node_id"] for peer in (await answer.json())["data"] or []} == wanted:
                        return
                await asyncio.sleep(POLL_S)

    async def until_answered_by(self, worker: NodeProcess) -> None:
        """Ask until `worker` answers."""
        async with asyncio.timeout(DEADLINE_S):
            while (await self.ask())[:2] != (200, worker.peer):
                continue


@pytest.fixture
async def pair(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    """Model servers are asked every second; or as the test says."""
    watch: dict[str, Any] = {"AICN": {"Health": {"Enabled": True, "Interval": getattr(request, "param", "1s")}}}
    async with (
        ModelProcess() as first,
        ModelProcess() as second,
        Nodes(tmp_path) as nodes,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http,
    ):
        entry = nodes.make("input")
        workers = [
            nodes.make("worker", bootstrap=[entry.multiaddr], models=[(PROJECT, MODEL, server.chat_url)], **watch)
            for server in (first, second)
        ]
        await asyncio.gather(*(node.start() for node in (entry, *workers)))
        await nodes.until_seen(entry, PROJECT, MODEL, *workers)
        yield Pair(entry, (workers[0], workers[1]), (first, second), http)


async def test_a_server_that_is_killed_unseen_gets_no_request_and_is_back_when_it_is_back(pair: Pair) -> None:
    first, second = pair.workers
    await pair.until_answered_by(first)
    await pair.servers[0].kill()
    await pair.until_serving(second)
    # One attempt each: nobody had to find out.
    assert [await pair.ask() for _ in range(10)] == [(200, second.peer, 1)] * 10
    state, reason = await pair.state(first)
    assert state == "unreachable"
    assert "refused" in reason

    await pair.servers[0].start()
    await pair.until_serving(first, second)
    assert await pair.state(first) == ("serving", "")
    await pair.until_answered_by(first)


@pytest.mark.parametrize("pair", ["1h"], indirect=True)
async def test_requests_that_find_a_killed_server_are_answered_elsewhere_and_withdraw_it(pair: Pair) -> None:
    first, second = pair.workers
    await pair.until_answered_by(first)
    answers: list[tuple[int, str, int]] = []
    enough = asyncio.Event()

    async def go_on_asking() -> None:
        while not enough.is_set():
            answers.append(await pair.ask())

    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(go_on_asking())
        await pair.servers[0].kill()
        await pair.until_serving(second)
        enough.set()
    assert {status for status, _, _ in answers} == {200}, "whoever was sent to the dead server was sent on"
    assert (await pair.state(first))[0] == "unreachable"
    assert [await pair.ask() for _ in range(10)] == [(200, second.peer, 1)] * 10


async def test_a_server_that_stands_still_is_withdrawn_and_is_back_when_it_goes_on(pair: Pair) -> None:
    first, second = pair.workers
    pair.servers[0].freeze()
    await pair.until_serving(second)
    state, reason = await pair.state(first)
    assert state == "unreachable"
    assert "did not answer within" in reason
    assert await pair.ask() == (200, second.peer, 1)
    pair.servers[0].thaw()
    await pair.until_serving(first, second)
    await pair.until_answered_by(first)
