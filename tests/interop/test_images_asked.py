"""A Go Input has images made and edited by our Worker, on chat-proxy streams."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from aicn.ids import PeerId
from interop.networks import ALONE, Network, one_network, projects, two_networks
from interop.oracle import Oracle, Response
from interop.pictures import B64, FORM, IMAGE, JSON, MULTIPART, URL
from support.mock_model_server import MockModelServer, Plan
from support.processes import NodeProcess, Nodes

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(slots=True)
class Meeting:
    """Our Worker beside a model server, asked by a Go Input."""

    go: Oracle
    worker: NodeProcess
    server: MockModelServer

    async def ask(self, target: str, headers: dict[str, str], body: bytes, *, chunked: bool = False) -> Response:
        """Send one request on a chat-proxy stream."""
        return await self.go.request(PeerId(self.worker.peer), target, headers=headers, body=body, chunked=chunked)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def meeting(
    network: Network, oracle_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Meeting]:
    """Return a Worker and a Go Input that have met."""
    async with (
        Oracle(oracle_binary, psk=network.psk, router=network.router, prefix=ALONE) as go,
        MockModelServer() as server,
        Nodes(tmp_path_factory.mktemp("worker"), psk=network.psk_hex) as nodes,
    ):
        worker = nodes.make("worker", bootstrap=[go.addr], router=network.router, AIProjects=projects(server))
        await worker.start()
        await go.identify(PeerId(worker.peer), "/chat-proxy/0.0.1")
        yield Meeting(go, worker, server)


@pytest.fixture
def met(meeting: Meeting) -> Meeting:
    """Return the same with a model server that has seen nothing."""
    meeting.server.forget()
    return meeting


@two_networks
async def test_a_go_input_has_an_image_made(met: Meeting) -> None:
    body = json.dumps(B64).encode()
    met.server.plan = Plan(body=body)
    question = json.dumps({**IMAGE, "response_format": "b64_json"}).encode()
    answer = await met.ask("/api/v0/image/gen?cid=&model=i&project=P", JSON, question)
    assert (answer.status, answer.end, answer.after) == (200, "eof", "eof")
    assert (answer.body, answer.headers["Content-Type"]) == (body, ["application/json"])
    seen = await met.server.next_request()
    assert (seen.method, seen.path, seen.query, seen.body) == ("POST", "/v1/images/generations", "", question)


@two_networks
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_go_input_has_an_image_edited(met: Meeting, *, chunked: bool) -> None:
    body = json.dumps(B64).encode()
    met.server.plan = Plan(body=body)
    answer = await met.ask("/api/v0/image/edit?cid=&model=e&project=P", MULTIPART, FORM, chunked=chunked)
    assert (answer.status, answer.end, answer.body) == (200, "eof", body)
    seen = await met.server.next_request()
    assert (seen.method, seen.path, seen.body) == ("POST", "/v1/images/edits", FORM)
    assert seen.header("Content-Type") == MULTIPART["Content-Type"]


@one_network
async def test_a_go_input_chooses_the_instance(met: Meeting) -> None:
    met.server.plan = Plan(body=json.dumps(URL).encode())
    for cid, path in (("c2", "/second"), ("c1", "/first")):
        answer = await met.ask(f"/api/v0/image/gen?cid={cid}&model=two&project=P&seed=7", JSON, b"{}")
        assert answer.status == 200
        seen = await met.server.next_request()
        assert (seen.path, seen.query) == (path, "seed=7")


@one_network
@pytest.mark.parametrize("target", ["/?project=P&model=none&cid=", "/?project=P&model=two&cid=none"])
async def test_a_go_input_is_reset_where_there_is_no_such_model(met: Meeting, target: str) -> None:
    answer = await met.ask(target, MULTIPART, FORM)
    assert (answer.status, answer.end) == (0, "reset")
    assert met.server.seen == []
