"""Chats through relays: a Go relay carries for ours, ours carries for Go peers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from aicn.ids import PeerId
from interop.conftest import OracleStart
from interop.networks import ALONE, EVERY, RELAY, Network, projects
from interop.oracle import Oracle
from interop.waiting import eventually
from support.mock_model_server import DONE, MockModelServer, Plan, completion, event
from support.processes import NodeProcess, Nodes

CHAT: Final = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
TARGET: Final = "/api/v0/chat/completion?cid=&model=m&project=P"
HEADERS: Final = {"Content-Type": "application/json"}
ROUTING: Final = {"Type": "none", "ProtocolPrefix": "/none"}
"""With the prefixes of the Go peers: so that nobody finds another and dials past the relay."""
both_networks = pytest.mark.parametrize("net", EVERY[::3], ids=str)


def relayed(relays: list[str], *, hole_punching: bool = False) -> dict[str, Any]:
    """Return the section of a Worker's configuration that has it reached through `relays`."""
    return {
        "ConnMgr": {"Type": "basic", "HighWater": 400, "LowWater": 100, "GracePeriod": "60s"},
        "DisableNatPortMap": True,
        "RelayClient": {"Enabled": True, "StaticRelays": relays},
        "RelayService": {"Enabled": False},
        "EnableHolePunching": hole_punching,
        "EnableAutoNATService": True,
        "DialTimeout": "",
    }


async def reached(go: Oracle, relay: str, peer: str) -> None:
    """Have a Go peer reach `peer` through `relay`."""
    await go.connect(f"{relay}/p2p-circuit/p2p/{peer}")
    conns = await go.connections(PeerId(peer))
    assert [one["relayed"] for one in conns] == [True], conns


async def reachable(worker: NodeProcess, relay: PeerId) -> None:
    """Wait until a Worker says that it can be called through a relay: a relay bears only so many calls in vain."""

    async def is_reachable() -> bool:
        async with aiohttp.ClientSession() as http, http.get(f"{worker.api}/id") as answer:
            addresses: list[str] = (await answer.json())["addresses"]
        return any(f"/p2p/{relay}/p2p-circuit" in one for one in addresses)

    await eventually("the Worker can be called through the relay", is_reachable)


async def chat(go: Oracle, worker: NodeProcess, server: MockModelServer) -> None:
    """Have a Go Input chat with our Worker, in one piece and event by event."""
    body = json.dumps({**CHAT, "stream": False}).encode()
    answer = await go.request(PeerId(worker.peer), TARGET, headers=HEADERS, body=body)
    assert (answer.status, answer.end, answer.body) == (200, "eof", completion("m"))
    server.plan = Plan(events=10, gap_ms=5)
    body = json.dumps({**CHAT, "stream": True}).encode()
    answer = await go.request(PeerId(worker.peer), TARGET, headers=HEADERS, body=body)
    assert answer.body == b"".join(event("m", index) for index in range(10)) + DONE
    assert [one["relayed"] for one in await go.connections(PeerId(worker.peer))] == [True]


@both_networks
async def test_a_go_relay_carries_to_our_worker(tmp_path: Path, start_oracle: OracleStart, net: Network) -> None:
    """For a Go Input and for ours."""
    relay = await start_oracle(psk=net.psk, router=net.router, prefix="/relay", **RELAY)
    go = await start_oracle(psk=net.psk, router=net.router, prefix=ALONE)
    async with MockModelServer() as server, Nodes(tmp_path, psk=net.psk_hex) as nodes, aiohttp.ClientSession() as http:
        worker = nodes.make(
            "worker",
            bootstrap=[relay.addr],
            router=net.router,
            Routing=ROUTING,
            Swarm=relayed([relay.addr]),
            AIProjects=projects(server),
        )
        await worker.start()
        await reachable(worker, relay.peer)
        await reached(go, relay.addr, worker.peer)
        await chat(go, worker, server)

        server.plan = Plan()
        entry = await nodes.input(router=net.router, bootstrap=[relay.addr], Routing=ROUTING)
        circuit = {"node_addr": f"{relay.addr}/p2p-circuit/p2p/{worker.peer}"}
        async with http.post(f"{entry.api}/swarm/connect", json=circuit) as answer:
            assert answer.status == 200, await answer.text()
        question = {**CHAT, "project": "P", "node_id": worker.peer}
        async with http.post(f"{entry.api}/chat/completion", json=question) as answer:
            assert (answer.status, await answer.read()) == (200, completion("m"))
        async with http.get(f"{entry.api}/swarm/peers") as answer:
            conns = [one["addr"] for one in await answer.json() if one["peer"] == worker.peer]
        assert conns
        assert all("/p2p-circuit" in addr for addr in conns)


@both_networks
async def test_our_relay_carries_to_our_worker_and_to_a_go_worker(
    tmp_path: Path, start_oracle: OracleStart, net: Network
) -> None:
    """For a Go Input."""
    go = await start_oracle(psk=net.psk, router=net.router, prefix=ALONE)
    hidden = await start_oracle(psk=net.psk, router=net.router, prefix="/hidden", listen="none")
    async with MockModelServer() as server, Nodes(tmp_path, psk=net.psk_hex) as nodes:
        entry = await nodes.input(router=net.router, Routing=ROUTING)
        await hidden.connect(entry.multiaddr)
        slot = await hidden.reserve(entry.multiaddr)
        assert slot["expires_unix"] > 0
        await reached(go, entry.multiaddr, hidden.peer)
        await hidden.serve([completion("m")], headers=HEADERS)
        answer = await go.request(hidden.peer, TARGET, headers=HEADERS, body=b"{}")
        assert (answer.status, answer.end, answer.body) == (200, "eof", completion("m"))

        worker = nodes.make(
            "worker",
            bootstrap=[entry.multiaddr],
            router=net.router,
            Routing=ROUTING,
            Swarm=relayed([entry.multiaddr]),
            AIProjects=projects(server),
        )
        await worker.start()
        await reachable(worker, PeerId(entry.peer))
        await reached(go, entry.multiaddr, worker.peer)
        await chat(go, worker, server)


async def test_a_go_peer_with_hole_punching_does_not_harm_a_relayed_chat(
    tmp_path: Path, start_oracle: OracleStart
) -> None:
    """On loopback there is no hole to punch: what ours tries fails, and the relayed connection goes on."""
    net = EVERY[0]
    relay = await start_oracle(psk=net.psk, prefix="/relay", **RELAY)
    go = await start_oracle(psk=net.psk, prefix=ALONE, hole_punching=True)
    async with MockModelServer() as server, Nodes(tmp_path, psk=net.psk_hex) as nodes:
        worker = nodes.make(
            "worker",
            bootstrap=[relay.addr],
            Routing=ROUTING,
            Swarm=relayed([relay.addr], hole_punching=True),
            AIProjects=projects(server),
        )
        await worker.start()
        await reachable(worker, relay.peer)
        await reached(go, relay.addr, worker.peer)
        body = json.dumps({**CHAT, "stream": False}).encode()
        answer = await go.request(PeerId(worker.peer), TARGET, headers=HEADERS, body=body)
        assert (answer.status, answer.end, answer.body) == (200, "eof", completion("m"))
