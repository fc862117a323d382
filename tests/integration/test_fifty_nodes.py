"""Fifty hosts, and fifty whole nodes, in one process: what a simulation needs from the in-memory twin."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aicn.config import ConfigFile
from aicn.ids import ModelName, ProjectName
from aicn.node import Node
from aicn.p2p.memory import MemoryHost, MemoryNetwork
from support.hosts import PROTOCOL, TOPIC, HostMaker, Witness, until
from support.mock_model_server import MockModelServer, completion
from support.processes import Nodes

NODES = 50


@pytest.fixture
async def ring() -> AsyncIterator[list[Witness]]:
    """Fifty hosts, each connected to the next."""
    maker = HostMaker("memory")
    nodes = [await maker.start() for _ in range(NODES)]
    for number, node in enumerate(nodes):
        await node.host.connect(nodes[(number + 1) % NODES].addr)
    yield nodes
    await maker.close()


async def test_gossip_of_each_reaches_all(ring: list[Witness]) -> None:
    for node in ring:
        assert await node.host.publish(TOPIC, node.peer.encode()) == 2
    async with asyncio.timeout(10):
        for node in ring:
            heard = {(await node.gossip.get()).data.decode() for _ in range(NODES - 1)}
            assert heard == {other.peer for other in ring} - {node.peer}
            assert node.gossip.empty()


async def test_streams_around_the_ring(ring: list[Witness]) -> None:
    async def ask(number: int) -> None:
        stream = await ring[number].host.open_stream(ring[(number + 1) % NODES].peer, PROTOCOL)
        for _ in range(20):
            await stream.write(b"x" * 1_000)
            got = 0
            while got < 1_000:
                got += len(await stream.read())
        await stream.close()

    async with asyncio.timeout(10):
        await asyncio.gather(*(ask(number) for number in range(NODES)))


async def test_crash_of_one_is_seen_by_its_neighbours_only(ring: list[Witness]) -> None:
    await ring[7].host.close()
    assert ring[6].host.connection(ring[7].peer) is None
    assert ring[8].host.connection(ring[7].peer) is None
    assert all(len(node.host.connections()) == 2 for number, node in enumerate(ring) if number not in {6, 7, 8})
    # The ring is a chain now, and gossip still reaches its other end.
    await ring[8].host.publish(TOPIC, b"around")
    async with asyncio.timeout(10):
        assert (await ring[6].gossip.get()).data == b"around"


@contextlib.asynccontextmanager
async def whole_nodes(configs: list[Path]) -> AsyncIterator[list[Node]]:
    """Run nodes that meet in memory, complete but for the sockets between them."""
    network = MemoryNetwork()
    nodes = [Node(ConfigFile.load(path), make_host=lambda config: MemoryHost(network, config)) for path in configs]
    running: list[Node] = []
    try:
        for node in nodes:
            await node.__aenter__()
            running.append(node)
        yield running
    finally:
        await asyncio.gather(*(node.__aexit__() for node in running))


async def test_fifty_whole_nodes_answer_chats(tmp_path: Path) -> None:
    """An Input and 49 Workers: every Worker gets work."""
    files = Nodes(tmp_path)  # only their configurations are used
    anywhere: dict[str, Any] = {"Addresses": ["/ip4/127.0.0.1/tcp/0"], "API": {"Addr": "127.0.0.1:0"}}
    async with MockModelServer() as server, aiohttp.ClientSession() as http, AsyncExitStack() as stack:
        first = files.make("input")
        models = [("P", "m", server.chat_url)]
        rest = [files.make("worker", bootstrap=[first.multiaddr], models=models, **anywhere) for _ in range(NODES - 1)]
        entry, *workers = await stack.enter_async_context(whole_nodes([file.config_path for file in (first, *rest)]))
        await until(lambda: len(entry.directory.serving(ProjectName("P"), ModelName("m"))) == NODES - 1)

        async def chat() -> str:
            ask = {"project": "P", "model": "m", "messages": []}
            async with http.post(f"http://{entry.api.address}/api/v0/chat/completion/proxy", json=ask) as answer:
                assert await answer.read() == completion("m")
                return answer.headers["x-aicn-node"]

        served: set[str] = set()
        for _ in range(20):
            served |= set(await asyncio.gather(*(chat() for _ in range(NODES))))
            if len(served) == NODES - 1:
                break
        assert served == {worker.host.peer_id for worker in workers}
