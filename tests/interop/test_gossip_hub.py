"""Nodes that no connection can join speak through a Go node that both are connected to: gossip is all there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from aicn.ids import PeerId
from interop.conftest import OracleStart
from interop.dialogue import Asks, Model
from interop.networks import EVERY, Network, hears, joined, projects
from interop.waiting import eventually
from support.mock_model_server import MockModelServer, completion
from support.processes import Nodes

ROUTING: Final = {"Type": "none", "ProtocolPrefix": "/none"}
CHAT: Final = {"project": "P", "model": "m", "messages": [{"role": "user", "content": "hi"}]}
ANSWER: Final = {"created": 1_700_000_000, "choices": [{"message": {"role": "assistant", "content": "Hello."}}]}

every_network = pytest.mark.parametrize("net", EVERY, ids=str)
two_networks = pytest.mark.parametrize("net", EVERY[::3], ids=str)


@two_networks
async def test_our_input_and_a_go_worker(tmp_path: Path, start_oracle: OracleStart, net: Network) -> None:
    hub = await start_oracle(psk=net.psk, router=net.router, prefix="/hub")
    hidden = await start_oracle(psk=net.psk, router=net.router, prefix="/hidden", listen="none", bootstrap=[hub.addr])
    async with Nodes(tmp_path, psk=net.psk_hex) as nodes, aiohttp.ClientSession() as http:
        entry = await nodes.input(router=net.router, bootstrap=[hub.addr], Routing=ROUTING)
        await joined(hub, entry)
        await hears(entry, hub.peer)
        await joined(hub, hidden)
        await joined(hidden, hub)

        async def post(route: str, body: object) -> tuple[int, dict[str, Any]]:
            async with http.post(f"{entry.api}/{route}", json=body) as answer:
                decoded: dict[str, Any] = await answer.json()
                return answer.status, decoded

        status, told = await post("peer", {"node_id": hidden.peer})
        assert (status, told["peer_id"]) == (200, hidden.peer)

        await hidden.offer(Model("P", "m"))

        async def is_listed() -> bool:
            query = {"project": "P", "model": "m"}
            async with http.get(f"{entry.api}/ai/projects/peers", params=query) as answer:
                peers = (await answer.json())["data"] or []
            return [(one["node_id"], one["connectivity"]) for one in peers] == [(hidden.peer, 0)]

        await eventually("the Input lists the Worker, not connected", is_listed)
        await hidden.answer(Asks.CHAT, ANSWER)
        status, told = await post("chat/completion", {**CHAT, "node_id": hidden.peer})
        assert (status, told["choices"][0]["message"]["content"]) == (200, "Hello.")
        status, told = await post("chat/completion/proxy", CHAT)
        assert (status, told["choices"][0]["message"]["content"]) == (200, "Hello.")


@every_network
async def test_a_go_input_and_our_worker(tmp_path: Path, start_oracle: OracleStart, net: Network) -> None:
    hub = await start_oracle(psk=net.psk, router=net.router, prefix="/hub")
    go = await start_oracle(psk=net.psk, router=net.router, prefix="/go", bootstrap=[hub.addr])
    async with MockModelServer() as server, Nodes(tmp_path, psk=net.psk_hex) as nodes:
        worker = nodes.make(
            "worker", bootstrap=[hub.addr], router=net.router, Routing=ROUTING, AIProjects=projects(server)
        )
        await worker.start()
        await joined(hub, worker)
        await hears(worker, hub.peer)
        await joined(hub, go)
        await joined(go, hub)
        messages = [{"role": "user", "content": b'"hi"'.hex()}]
        said = await go.ask(PeerId(worker.peer), Asks.CHAT, {"project": "P", "model": "m", "messages": messages})
        assert (said.code, said.sealed, said.signer) == (0, True, worker.peer)
        assert said.answer is not None
        whole = json.loads(completion("m"))["choices"][0]["message"]["content"]
        assert said.answer["choices"][0]["message"]["content"] == whole
        assert await go.connections(PeerId(worker.peer)) == []
