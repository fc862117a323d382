"""Model servers that die while their nodes live: nobody is sent to them, until they answer again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import pytest

from support.mock_model_server import MockModelServer
from support.processes import Nodes

from .conftest import MODEL, PROJECT, Network
from .test_controls import ask, own_models, until_serving

WATCHED: dict[str, Any] = {"AICN": {"Health": {"Enabled": True, "Interval": "1s"}}}


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Network]:
    """An Input and two Workers that look at their model servers every second."""
    async with (
        MockModelServer() as first,
        MockModelServer() as second,
        Nodes(tmp_path) as nodes,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http,
    ):
        entry = nodes.make("input")
        workers = [
            nodes.make("worker", bootstrap=[entry.multiaddr], models=[(PROJECT, MODEL, server.chat_url)], **WATCHED)
            for server in (first, second)
        ]
        await asyncio.gather(*(node.start() for node in (entry, *workers)))
        await nodes.until_seen(entry, PROJECT, MODEL, *workers)
        yield Network(nodes, entry, (workers[0], workers[1]), (first, second), http)


class Impostor:
    """Listens where a model server was, answers 503 to everything, and keeps what it was asked."""

    def __init__(self, url: str) -> None:
        self._port = urlsplit(url).port
        self._server: asyncio.Server | None = None
        self.asked: list[str] = []
        self.was_asked = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.split(b"\r\n")[0].decode())
            writer.write(b"HTTP/1.1 503 Loading\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()
            self.was_asked.set()
        finally:
            writer.close()


async def test_a_killed_model_server_gets_nothing_and_comes_back(watched: Network) -> None:
    first, second = watched.workers
    dead, _ = watched.servers
    await dead.stop()
    await until_serving(watched, MODEL, second)
    (listed,) = await own_models(watched, first)
    assert listed["state"] == "unreachable"
    async with Impostor(dead.url) as impostor:
        assert [await ask(watched) for _ in range(10)] == [(200, second.peer)] * 10
        await impostor.was_asked.wait()
        assert set(impostor.asked) == {"GET /v1/models HTTP/1.1"}, "who can say only 503 is not offered, but asked"
        (listed,) = await own_models(watched, first)
        assert listed["state"] == "unreachable"
    await dead.start()
    await until_serving(watched, MODEL, first, second)
    (listed,) = await own_models(watched, first)
    assert listed["state"] == "serving"


async def test_a_node_of_dead_model_servers_says_so_at_once(watched: Network) -> None:
    for server in watched.servers:
        await server.stop()
    await until_serving(watched, MODEL)
    base = watched.entry.api.removesuffix("/api/v0")
    body = {"model": f"{PROJECT}/{MODEL}", "messages": []}
    async with watched.http.post(f"{base}/v1/chat/completions", json=body) as answer:
        told = await answer.json()
        assert (answer.status, told["error"]["type"]) == (503, "server_error")
        assert int(answer.headers["retry-after"]) > 0
    async with watched.http.get(f"{base}/v1/models") as answer:
        assert (await answer.json())["data"] == []


async def test_a_request_that_finds_a_dead_server_has_it_withdrawn_before_its_turn(tmp_path: Path) -> None:
    rarely: dict[str, Any] = {"AICN": {"Health": {"Enabled": True, "Interval": "1h"}}}
    async with MockModelServer() as server, Nodes(tmp_path) as nodes, aiohttp.ClientSession() as http:
        entry = await nodes.input()
        worker = await nodes.worker(entry, models=[(PROJECT, MODEL, server.chat_url)], **rarely)
        await nodes.until_seen(entry, PROJECT, MODEL, worker)
        network = Network(nodes, entry, (worker, worker), (server, server), http)
        assert (await ask(network))[0] == 200
        await server.stop()
        async with asyncio.timeout(20):
            while (await own_models(network, worker))[0]["state"] == "serving":
                assert (await ask(network))[0] != 200
        await until_serving(network, MODEL)
