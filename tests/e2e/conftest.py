"""Three real processes, an Input and two Workers, each Worker beside a programmable model server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from support.mock_model_server import MockModelServer, Plan
from support.processes import NodeProcess, Nodes

PROJECT = "P"
MODEL = "m"


@dataclass(slots=True)
class Network:
    """An Input, two Workers, and the model server of each."""

    nodes: Nodes
    entry: NodeProcess
    workers: tuple[NodeProcess, NodeProcess]
    servers: tuple[MockModelServer, MockModelServer]
    http: aiohttp.ClientSession

    def server_of(self, peer: str) -> MockModelServer:
        """Return the model server beside the Worker with that id."""
        return self.servers[[worker.peer for worker in self.workers].index(peer)]

    def worker_of(self, server: MockModelServer) -> NodeProcess:
        """Return the Worker beside that model server."""
        return self.workers[self.servers.index(server)]

    @property
    def proxy_url(self) -> str:
        """Where a chat is posted for which the Input chooses the Worker."""
        return f"{self.entry.api}/chat/completion/proxy"


@contextlib.asynccontextmanager
async def running_network(folder: Path) -> AsyncIterator[Network]:
    """Start everything, wait until the Input sees both Workers; stop everything."""
    async with (
        MockModelServer() as first,
        MockModelServer() as second,
        Nodes(folder) as nodes,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http,
    ):
        entry = nodes.make("input")
        workers = [
            nodes.make("worker", bootstrap=[entry.multiaddr], models=[(PROJECT, MODEL, server.chat_url)])
            for server in (first, second)
        ]
        await asyncio.gather(*(node.start() for node in (entry, *workers)))
        await nodes.until_seen(entry, PROJECT, MODEL, *workers)
        yield Network(nodes, entry, (workers[0], workers[1]), (first, second), http)


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[Network]:
    """A network of the test's own, to break as it likes."""
    async with running_network(tmp_path) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Network]:
    """A network for all tests of a module that leave it whole."""
    async with running_network(tmp_path_factory.mktemp("network")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def shared(module_network: Network) -> Network:
    """The module's network, its model servers as new."""
    for server in module_network.servers:
        server.plan = Plan()
        server.once.clear()
        server.forget()
    return module_network
