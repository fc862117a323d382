"""A Go peer in the part of an Input beside our Worker: it hears what is served, asks for it, and goes away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from aicn.ids import PeerId
from interop.conftest import OracleStart
from interop.heartbeats import HAS_MODELS, Told, read_heartbeat
from interop.oracle import Oracle, Response
from support.mock_model_server import DONE, MockModelServer, Plan, completion, event
from support.processes import NodeProcess, Nodes

PSK = bytes(range(32))
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
HEADERS = {"Content-Type": "application/json"}
TARGET = "/api/v0/chat/completion?cid=&model=m&project=P"

every_network = pytest.mark.parametrize("psk", [PSK, None], ids=["psk", "public"])
both_routers = pytest.mark.parametrize("router", ["floodsub", "gossipsub"])


@dataclass(slots=True)
class Meeting:
    """Our Worker beside a model server, connected to a Go peer."""

    go: Oracle
    worker: NodeProcess
    server: MockModelServer

    async def heartbeat(self, *, models: int = 1, in_flight: int = 0) -> Told:
        """Return the next heartbeat of the Worker with that many models, requests in flight at the first."""
        while True:
            told = read_heartbeat((await self.go.event("gossip", **{"from": self.worker.peer}))["data"])
            if len(told.offers) == models and all(one.in_flight == in_flight for one in told.offers[:1]):
                return told

    async def ask(self, target: str = TARGET, *, tag: str = "", stream: bool = False) -> Response:
        """Ask the Worker as a Go Input does."""
        body = json.dumps({**CHAT, "stream": stream}).encode()
        return await self.go.request(PeerId(self.worker.peer), target, headers=HEADERS, body=body, tag=tag)


@contextlib.asynccontextmanager
async def meeting(
    folder: Path, start_oracle: OracleStart, *, psk: bytes | None = PSK, router: str = "floodsub"
) -> AsyncIterator[Meeting]:
    """Start the Worker with the Go peer as its bootstrap peer."""
    go = await start_oracle(psk=psk, router=router)
    async with MockModelServer() as server, Nodes(folder, psk=psk.hex() if psk else "") as nodes:
        worker = nodes.make("worker", bootstrap=[go.addr], models=[("P", "m", server.chat_url)], router=router)
        await worker.start()
        yield Meeting(go, worker, server)


@every_network
@both_routers
async def test_heard_and_asked(tmp_path: Path, start_oracle: OracleStart, psk: bytes | None, router: str) -> None:
    async with meeting(tmp_path, start_oracle, psk=psk, router=router) as met:
        told = await met.heartbeat()
        assert (told.node_id, told.node_type) == (met.worker.peer, HAS_MODELS)
        assert abs(told.timestamp - time.time()) < 60
        assert [(one.project, one.model, one.kind, one.cid) for one in told.offers] == [("P", "m", 0, "")]

        answer = await met.ask()
        assert (answer.status, answer.end, answer.after) == (200, "eof", "eof")
        assert answer.headers["Content-Type"] == ["application/json"]
        assert (answer.body, answer.content_length) == (completion("m"), len(completion("m")))
        seen = await met.server.next_request()
        assert (seen.method, seen.path, seen.query) == ("POST", "/v1/chat/completions", "")
        assert seen.json() == {**CHAT, "stream": False}

        met.server.plan = Plan(events=20)
        answer = await met.ask(stream=True)
        assert (answer.status, answer.chunked, answer.end, answer.after) == (200, True, "eof", "eof")
        assert answer.headers["Content-Type"] == ["text/event-stream"]
        assert answer.body == b"".join(event("m", index) for index in range(20)) + DONE


async def test_events_arrive_one_by_one(tmp_path: Path, start_oracle: OracleStart) -> None:
    """The model server is still to write later events when the Go peer has read each of the earlier ones."""
    async with meeting(tmp_path, start_oracle) as met:
        await met.heartbeat()
        met.server.plan = Plan(events=12, gap_ms=200)
        asking = asyncio.create_task(met.ask(tag="t", stream=True))
        seen = await met.server.next_request()
        for index in range(4):
            assert (await met.go.event("chunk", tag="t"))["data"] == event("m", index)
            assert seen.writes < 12
        assert (await asking).end == "eof"


async def test_the_load_is_told(tmp_path: Path, start_oracle: OracleStart) -> None:
    """A Go Input prefers the node with the least in flight: it hears of a request that begins and that ends."""
    async with meeting(tmp_path, start_oracle) as met:
        await met.heartbeat()
        met.server.plan = Plan(hang=True)
        asking = asyncio.create_task(met.ask(tag="t"))
        await met.server.next_request()
        await met.heartbeat(in_flight=1)
        await met.go.cancel("t")
        await met.heartbeat(in_flight=0)
        await asking


async def test_a_model_registered_later_is_told(tmp_path: Path, start_oracle: OracleStart) -> None:
    async with meeting(tmp_path, start_oracle) as met, aiohttp.ClientSession() as http:
        await met.heartbeat()
        model = {"project": "P", "model": "other", "api": met.server.chat_url, "type": 0, "cid": "c9"}
        async with http.post(f"{met.worker.api}/ai/model/register", json=model) as answer:
            assert answer.status == 200, await answer.text()
        told = await met.heartbeat(models=2)
        assert {(one.model, one.cid) for one in told.offers} == {("m", ""), ("other", "c9")}
        assert (await met.ask("/?cid=c9&model=other&project=P")).status == 200


async def test_the_model_servers_address_stays_inside(tmp_path: Path, start_oracle: OracleStart) -> None:
    async with meeting(tmp_path, start_oracle) as met:
        told = await met.heartbeat()
        assert [one.api for one in told.offers] == ["local"]


@pytest.mark.parametrize("target", ["/?project=P&model=none&cid=", "/?project=P&model=m&cid=none", "/"])
async def test_an_unknown_model_is_a_reset(tmp_path: Path, start_oracle: OracleStart, target: str) -> None:
    async with meeting(tmp_path, start_oracle) as met:
        await met.heartbeat()
        answer = await met.ask(target)
        assert (answer.status, answer.end) == (0, "reset")
        assert met.server.seen == []


async def test_a_model_server_that_fails_is_a_reset(tmp_path: Path, start_oracle: OracleStart) -> None:
    """A reset overtakes bytes on their way, in go-libp2p as in TCP: what arrives is the beginning of it all."""
    async with meeting(tmp_path, start_oracle) as met:
        await met.heartbeat()
        met.server.plan = Plan(events=10, die_after=3, gap_ms=200)
        answer = await met.ask(stream=True)
        assert (answer.status, answer.end) == (200, "reset")
        assert answer.body.startswith(event("m", 0))
        assert b"".join(event("m", index) for index in range(3)).startswith(answer.body)
        await met.server.stop()
        answer = await met.ask()
        assert (answer.status, answer.end) == (0, "reset")


@pytest.mark.parametrize("plan", [Plan(hang=True), Plan(events=100, gap_ms=50)], ids=["silent", "streaming"])
async def test_a_reset_reaches_the_model_server(tmp_path: Path, start_oracle: OracleStart, plan: Plan) -> None:
    async with meeting(tmp_path, start_oracle) as met:
        await met.heartbeat()
        met.server.plan = plan
        asking = asyncio.create_task(met.ask(tag="t", stream=True))
        seen = await met.server.next_request()
        if not plan.hang:
            await met.go.event("chunk", tag="t")
        await met.go.cancel("t")
        async with asyncio.timeout(10):
            await seen.gone.wait()
        assert not seen.finished
        await asking


async def test_a_go_peer_that_dies_frees_the_model(tmp_path: Path, start_oracle: OracleStart) -> None:
    async with meeting(tmp_path, start_oracle) as met:
        await met.heartbeat()
        met.server.plan = Plan(hang=True)
        number = await met.go.stream_open(PeerId(met.worker.peer))
        await met.go.stream_write(
            number, f"POST {TARGET} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode()
        )
        seen = await met.server.next_request()
        await met.go.kill()
        async with asyncio.timeout(10):
            await seen.gone.wait()
