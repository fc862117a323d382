"""Settings of a whole node and what a user sees of them; what the host does with its own is tested at the host."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aicn import defaults
from aicn.config import ConfigFile
from aicn.multiaddr import is_relayed
from aicn.node import Node
from aicn.p2p.memory import MemoryHost, MemoryNetwork
from support.configurations import put, write
from support.hosts import until
from support.mock_model_server import MockModelServer
from support.processes import Nodes


def _connected(one: Node, other: Node) -> bool:
    return one.host.connection(other.host.peer_id) is not None


class _Whole:
    """Whole nodes that meet in memory, each started when it is asked for."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._files = Nodes(folder)
        self._network = MemoryNetwork()
        self._stack = stack

    async def start(self, role: str, settings: Mapping[str, Any] | None = None, **changes: Any) -> tuple[Node, str]:
        """Start a node with `settings` by their paths in the file; return it and where it is dialled."""
        file = self._files.make(role, API={"Addr": "127.0.0.1:0"}, **changes)
        raw = file.config()
        for path, value in (settings or {}).items():
            put(raw, path, value)
        write(file.config_path, raw)
        node = Node(ConfigFile.load(file.config_path), make_host=lambda config: MemoryHost(self._network, config))
        await self._stack.enter_async_context(_running(node))
        return node, file.multiaddr


@contextlib.asynccontextmanager
async def _running(node: Node) -> AsyncIterator[None]:
    async with node:
        yield


@pytest.fixture
async def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[_Whole]:
    monkeypatch.setattr(defaults, "CONNECTIONS_CHECK_S", 0.02)
    async with AsyncExitStack() as stack:
        yield _Whole(tmp_path, stack)


def _heard(one: Node, other: Node) -> bool:
    return other.host.peer_id in one.directory.peers()


def _parted(one: Node, other: Node) -> bool:
    return not _connected(one, other)


def _conn_mgr(kind: str, grace: str) -> dict[str, Any]:
    return {"Swarm.ConnMgr": {"Type": kind, "HighWater": 3, "LowWater": 2, "GracePeriod": grace}}


@pytest.mark.parametrize(("kind", "grace"), [("none", "0s"), ("basic", "1h")])
async def test_no_connection_is_closed_without_a_manager_or_in_the_grace_period(
    whole: _Whole, kind: str, grace: str
) -> None:
    entry, addr = await whole.start("input", _conn_mgr(kind, grace))
    for _ in range(5):
        await whole.start("worker", bootstrap=[addr])
    await until(lambda: len(entry.host.connections()) == 5)


async def test_connections_above_the_high_water_mark_are_closed_and_who_serves_stays(whole: _Whole) -> None:
    async with MockModelServer() as server:
        entry, addr = await whole.start("input", _conn_mgr("basic", "0s"))
        models = [("P", "m", server.chat_url)]
        serving = [(await whole.start("worker", bootstrap=[addr], models=models))[0] for _ in range(2)]
        peers = {node.host.peer_id for node in serving}
        await until(lambda: peers <= set(entry.directory.peers()))
        others = [(await whole.start("worker"))[0] for _ in range(2)]
        for number, other in enumerate(others):
            await other.host.connect(addr)  # type: ignore[arg-type]
            assert len(entry.host.connections()) == 3 + number
        await until(lambda: {connection.peer for connection in entry.host.connections()} == peers)


async def test_client_project_refuses_models_of_other_projects(whole: _Whole) -> None:
    async with MockModelServer() as server:
        entry, addr = await whole.start("input", {"App.PeersCollect.ClientProject": "P"})
        ours, _ = await whole.start("worker", models=[("P", "m", server.chat_url)])
        theirs, _ = await whole.start("worker", models=[("Q", "m", server.chat_url)])
        for node in (ours, theirs):
            await node.host.connect(addr)  # type: ignore[arg-type]
            await until(partial(_heard, entry, node))
            assert _connected(entry, node), "a stranger is let in"
        for node in (ours, theirs):
            await node.host.disconnect(entry.host.peer_id)
            await until(partial(_parted, entry, node))
            await node.host.connect(addr)  # type: ignore[arg-type]
        await until(partial(_parted, entry, theirs))
        await until(partial(_parted, theirs, entry))
        assert _connected(entry, ours)


@pytest.mark.parametrize("static", [True, False])
async def test_relay_client_is_called_through_its_relays_or_else_its_bootstrap_peers(
    whole: _Whole,
    static: bool,  # noqa: FBT001
) -> None:
    one, first = await whole.start("input")
    two, second = await whole.start("input")
    settings = {"Swarm.RelayClient": {"Enabled": True, "StaticRelays": [second] if static else None}}
    worker, _ = await whole.start("worker", settings, bootstrap=[first])
    relay = two if static else one
    await until(lambda: [addr for addr in worker.host.listen_addrs() if is_relayed(addr)] != [])
    [circuit] = [addr for addr in worker.host.listen_addrs() if is_relayed(addr)]
    assert relay.host.peer_id in circuit


async def test_node_is_called_through_no_relay_unless_asked_to(whole: _Whole) -> None:
    one, first = await whole.start("input")
    worker, _ = await whole.start("worker", bootstrap=[first])
    await until(lambda: worker.host.connection(one.host.peer_id) is not None)
    assert not any(is_relayed(addr) for addr in worker.host.listen_addrs())


async def test_node_that_does_not_collect_says_so_and_chooses_for_nobody(whole: _Whole) -> None:
    node, _ = await whole.start("worker")
    async with aiohttp.ClientSession() as http, http.get(f"http://{node.api.address}/api/v0/peers") as answer:
        assert (answer.status, (await answer.json())["code"]) == (500, 1011)


async def test_heartbeats_come_at_the_interval_of_the_file(whole: _Whole) -> None:
    """A node that nobody pokes is heard again and again."""
    entry, addr = await whole.start("input")
    worker, _ = await whole.start("worker", {"App.PeersCollect.HeartbeatInterval": "50ms"}, bootstrap=[addr])
    heard: set[float] = set()

    def heard_often() -> bool:
        record = entry.directory.record(worker.host.peer_id)
        if record is not None:
            heard.add(record.heard_s)
        return len(heard) >= 3

    await until(heard_often)
