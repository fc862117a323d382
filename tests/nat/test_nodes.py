"""Whole nodes around NAT: a chat reaches a Worker that nobody can dial."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from nat.namespaces import Internet, Place
from nat.programs import Program
from support.mock_model_server import completion
from support.processes import NodeProcess, Nodes

PROJECT, MODEL = "P", "m"
API_PORT, P2P_PORT, MODEL_PORT = 7002, 7001, 7003
PATIENCE_S = 90.0
"""The fourth look into the DHT comes after 35 s, the fifth after 75 s."""
ASK = {"project": PROJECT, "model": MODEL, "messages": [{"role": "user", "content": "hi"}]}


class Net:
    """Nodes of one private network, each in a namespace."""

    def __init__(self, nodes: Nodes, programs: AsyncExitStack) -> None:
        self._nodes = nodes
        self._programs = programs

    async def node(self, role: str, place: Place, *others: tuple[NodeProcess, Place], **sections: Any) -> NodeProcess:
        """Write a configuration; `others` are dialled at the start."""
        node = self._nodes.make(
            role,
            bootstrap=[f"/ip4/{at.ip}/tcp/{P2P_PORT}/p2p/{other.peer}" for other, at in others],
            models=[(PROJECT, MODEL, f"http://127.0.0.1:{MODEL_PORT}/v1/chat/completions")] if role == "worker" else (),
            Addresses=[f"/ip4/0.0.0.0/tcp/{P2P_PORT}"],
            API={"Addr": f"127.0.0.1:{API_PORT}"},
            **sections,
        )
        with (node.folder / "output.log").open("ab") as out:
            words = ("ip", "netns", "exec", place.namespace, sys.executable, "-m", "aicn", "run", "-c")
            node.process = await asyncio.create_subprocess_exec(
                *words, str(node.config_path), stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out
            )
        return node

    async def errands(self, place: Place) -> Program:
        """Start what asks the node of a place, and is its model server."""
        program = await Program.start(place.namespace, "errand_program.py", str(MODEL_PORT))
        self._programs.push_async_callback(program.close)
        await program.until(lambda: bool(program.of("ready")))
        return program


@pytest.fixture
async def net(internet: Internet, tmp_path: Path) -> AsyncIterator[Net]:  # noqa: ARG001 - outlives the nodes
    async with AsyncExitStack() as programs, Nodes(tmp_path) as nodes:
        yield Net(nodes, programs)


async def chat(asking: Program, worker: NodeProcess, path: str) -> None:
    """Ask until the answer comes, over the path that is meant."""
    url = f"http://127.0.0.1:{API_PORT}/api/v0/chat/completion/proxy"
    answer: dict[str, Any] = {}
    try:
        async with asyncio.timeout(PATIENCE_S):
            while answer.get("headers", {}).get("x-aicn-path") != path:
                await asyncio.sleep(0.1)  # the Worker must first be heard of, the hole punched
                answer = await asking.do("POST", url=url, body=ASK)
    except TimeoutError:
        raise AssertionError(f"no answer over a {path} path: {json.dumps(answer)}") from None
    assert answer["status"] == 200
    assert answer["headers"]["x-aicn-node"] == worker.peer
    assert answer["body"].encode() == completion(MODEL)


def swarm(**changes: Any) -> dict[str, Any]:
    """Return the section `Swarm` of a node that can be called through its bootstrap peers."""
    return {
        "ConnMgr": {"Type": "basic", "HighWater": 400, "LowWater": 100, "GracePeriod": "60s"},
        "DisableNatPortMap": True,
        "RelayClient": {"Enabled": True, "StaticRelays": []},
        "RelayService": {"Enabled": False},
        "EnableHolePunching": False,
        "EnableAutoNATService": False,
        "DialTimeout": "",
        **changes,
    }


async def test_chat_reaches_a_worker_over_the_connection_that_the_worker_made(internet: Internet, net: Net) -> None:
    at_input, at_worker = internet.public("input"), internet.home("worker").machine
    entry = await net.node("input", at_input)
    worker = await net.node("worker", at_worker, (entry, at_input))
    await net.errands(at_worker)
    await chat(await net.errands(at_input), worker, "direct")


@pytest.mark.parametrize(("punching", "path"), [(False, "relayed"), (True, "direct")])
async def test_chat_reaches_a_worker_from_behind_another_nat(
    internet: Internet, net: Net, *, punching: bool, path: str
) -> None:
    at_relay = internet.public("relay")
    at_worker, at_input = internet.home("worker").machine, internet.home("input").machine
    relay = await net.node("input", at_relay)
    section = swarm(EnableHolePunching=punching)
    worker = await net.node("worker", at_worker, (relay, at_relay), Swarm=section)
    await net.node("input", at_input, (relay, at_relay), Swarm=section)
    await net.errands(at_worker)
    await chat(await net.errands(at_input), worker, path)
