"""The routes about one node, asked over HTTP and answered over gossip by a node of the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from aicn.api import NodeRoutes
from aicn.api.endpoint import Handler, JsonEndpoint
from aicn.clock import ManualClock
from aicn.identity import PrivateKey
from aicn.p2p.host import HostConfig
from aicn.p2p.memory import MemoryHost, MemoryNetwork
from aicn.p2p.rpc import Rpc
from aicn.peers import NodeFlags
from aicn.registry import Model, ModelRegistry
from aicn.serving import NodeFacts
from aicn.wire.envelope import build_error, build_reply, open_request
from aicn.wire.messages import (
    AIProjectResponse,
    CpuInfo,
    DiskInfo,
    GpuInfo,
    HostInfoResponse,
    MemoryInfo,
    ModelEntry,
    OSInfo,
    PeerIdentityResponse,
    ProjectModels,
    ResponseBody,
    decode_message,
)

OWN, OTHER = PrivateKey.generate(), PrivateKey.generate()
MACHINE = HostInfoResponse(
    OSInfo("linux", "debian", "debian", "12", "6.1", "x86_64"),
    (CpuInfo("a processor", 2, 4),),
    MemoryInfo(8, 7),
    (DiskInfo("SSD", 9, "a disk", "1"),),
    (GpuInfo("NVIDIA", "a card"),),
)
MACHINE_JSON = {
    "os": {
        "os": "linux",
        "platform": "debian",
        "platform_family": "debian",
        "platform_version": "12",
        "kernel_version": "6.1",
        "kernel_arch": "x86_64",
    },
    "cpu": [{"model_name": "a processor", "total_cores": 2, "total_threads": 4}],
    "memory": {"total_physical_bytes": 8, "total_usable_bytes": 7},
    "disk": [{"drive_type": "SSD", "size_bytes": 9, "model": "a disk", "serial_number": "1"}],
    "gpu": [{"vendor": "NVIDIA", "product": "a card"}],
}


@dataclass(slots=True)
class Routes:
    """The handlers, and what they ask over gossip."""

    nodes: NodeRoutes
    rpc: Rpc
    host: MemoryHost
    published: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)

    def handler(self, path: str) -> Handler:
        """Return the handler of a route."""
        return {"peer": self.nodes.peer, "host/info": self.nodes.host_info, "ai/project/peer": self.nodes.projects}[
            path
        ]

    async def post(self, path: str, body: object, gone: asyncio.Event | None = None) -> tuple[int, Any]:
        """Return status and JSON of the answer; the client hangs up at `gone`."""
        sent: list[dict[str, Any]] = []
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        messages = [{"type": "http.request", "body": data, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            await (gone or asyncio.Event()).wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await JsonEndpoint(self.handler(path))({"type": "http", "method": "POST", "headers": []}, receive, send)
        if not sent:
            return 0, None
        return sent[0]["status"], json.loads(b"".join(part.get("body", b"") for part in sent))

    async def answered(self, path: str, body: ResponseBody | None, code: int = 0) -> tuple[int, Any]:
        """Ask for another node, which answers with `body`, or with an error."""
        asking = asyncio.create_task(self.post(path, {"node_id": OTHER.public.peer_id}))
        question = decode_message(await self.published.get())
        reply = (
            build_error(code, "why not", question, OTHER, now_unix=0)
            if body is None
            else build_reply(body, open_request(question, OTHER), OTHER, now_unix=0)
        )
        self.rpc.receive(reply, OTHER.public.peer_id)
        return await asking


@pytest.fixture
async def routes() -> AsyncIterator[Routes]:
    async def save(_: tuple[Model, ...]) -> None:
        return

    async def machine() -> HostInfoResponse:
        return MACHINE

    published: asyncio.Queue[bytes] = asyncio.Queue()
    host = MemoryHost(MemoryNetwork(), HostConfig(OWN.protobuf, ("/ip4/127.0.0.1/tcp/0",)))  # type: ignore[arg-type]
    registry = ModelRegistry([Model.of("P", "m", "http://127.0.0.1:9/chat", 0, "c1")], save=save)
    facts = NodeFacts(host, registry, NodeFlags(0), machine, agent_version="agent")
    rpc = Rpc(OWN, published.put, ManualClock())
    await host.start()
    yield Routes(NodeRoutes(host.peer_id, facts, rpc, timeout_s=0.05), rpc, host, published)
    assert rpc.pending == 0
    await host.close()


PATHS = ["peer", "host/info", "ai/project/peer"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({}, 1001, "empty node_id"),
        ({"node_id": ""}, 1001, "empty node_id"),
        (b"{bad", 1002, "Parsing error"),
        (b"", 1002, "Parsing error"),
        ({"node_id": 5}, 1002, "Parsing error"),
        ({"node_id": "nobody"}, 1001, "invalid node_id: "),
        ({"node_id": "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"}, 1001, "carries no secp256k1 key"),
    ],
)
async def test_what_names_no_node(routes: Routes, path: str, body: object, code: int, message: str) -> None:
    status, told = await routes.post(path, body)
    assert (status, told["code"]) == (400, code)
    assert message in told["message"]
    assert routes.published.empty()


@pytest.mark.parametrize("path", PATHS)
async def test_node_that_does_not_answer(routes: Routes, path: str) -> None:
    status, told = await routes.post(path, {"node_id": OTHER.public.peer_id})
    assert (status, told["code"]) == (500, 1005)
    assert told["message"].startswith("Processing timeout")
    assert OTHER.public.peer_id in told["message"]


@pytest.mark.parametrize("path", PATHS)
async def test_error_of_the_node_comes_with_its_code(routes: Routes, path: str) -> None:
    assert await routes.answered(path, None, 1012) == (500, {"code": 1012, "message": "why not"})
    assert await routes.answered(path, None, 77) == (500, {"code": 5000, "message": "why not"})


@pytest.mark.parametrize("path", PATHS)
async def test_client_that_hangs_up_ends_the_question(routes: Routes, path: str) -> None:
    gone = asyncio.Event()
    asking = asyncio.create_task(routes.post(path, {"node_id": OTHER.public.peer_id}, gone))
    await routes.published.get()
    assert routes.rpc.pending == 1
    gone.set()
    assert await asking == (0, None)
    assert routes.rpc.pending == 0


async def test_another_node(routes: Routes) -> None:
    identity = PeerIdentityResponse(b"", ("/ip4/127.0.0.1/tcp/1",), ("/a/1",), "aicn/0.0.1", "v1")
    assert await routes.answered("peer", identity) == (
        200,
        {
            "peer_id": OTHER.public.peer_id,
            "protocol_version": "aicn/0.0.1",
            "agent_version": "v1",
            "addresses": ["/ip4/127.0.0.1/tcp/1"],
            "protocols": ["/a/1"],
        },
    )
    assert await routes.answered("host/info", MACHINE) == (200, MACHINE_JSON)
    status, told = await routes.answered("host/info", HostInfoResponse())
    assert status == 200
    assert (set(told), told["cpu"], told["disk"]) == ({"os", "cpu", "memory", "disk"}, [], [])
    models = AIProjectResponse((ProjectModels("P", (ModelEntry("m", "http://a", 1, 3, "c"),)), ProjectModels("Q")), 4)
    assert await routes.answered("ai/project/peer", models) == (
        200,
        {"data": {"P": [{"Model": "m", "API": "http://a", "Type": 1, "CID": "c", "Idle": 3}], "Q": []}},
    )


async def test_this_node_answers_without_gossip(routes: Routes) -> None:
    own = {"node_id": OWN.public.peer_id}
    status, told = await routes.post("peer", own)
    assert status == 200
    assert list(told) == ["peer_id", "protocol_version", "addresses", "protocols"]
    assert (told["peer_id"], told["addresses"]) == (OWN.public.peer_id, list(routes.host.listen_addrs()))
    assert await routes.post("host/info", own) == (200, MACHINE_JSON)
    assert await routes.post("ai/project/peer", own) == (
        200,
        {"data": {"P": [{"Model": "m", "API": "http://127.0.0.1:9/chat", "Type": 0, "CID": "c1", "Idle": 0}]}},
    )
    assert routes.published.empty()
