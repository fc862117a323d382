"""Three real processes, an Input and two Workers, each Worker beside a programmable model server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from support.mock_model_server import MockModelServer
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


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session


@pytest.fixture
async def network(tmp_path: Path, http: aiohttp.ClientSession) -> AsyncIterator[Network]:
    async with MockModelServer() as first, MockModelServer() as second, Nodes(tmp_path) as nodes:
        entry = await nodes.input()
        one = await nodes.worker(entry, models=[(PROJECT, MODEL, first.chat_url)])
        two = await nodes.worker(entry, models=[(PROJECT, MODEL, second.chat_url)])
        await nodes.until_seen(entry, PROJECT, MODEL, one, two)
        yield Network(nodes, entry, (one, two), (first, second), http)
