"""A Go peer in the part of a Worker beside our Input: it is listed, it is asked, and it is told when nobody listens."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from interop.conftest import OracleStart
from interop.heartbeats import Offered, encode_heartbeat, read_heartbeat
from interop.oracle import Oracle
from interop.waiting import eventually
from support.processes import NodeProcess, Nodes

PSK = bytes(range(32))
CHAT = {"project": "P", "model": "m", "messages": [{"role": "user", "content": "hi"}]}
EVENTS = [f'data: {{"choices":[{{"index":0,"delta":{{"content":"{n}"}}}}]}}\n\n'.encode() for n in range(5)]
DONE = b"data: [DONE]\n\n"
SSE = {"Content-Type": "text/event-stream"}
JSON = {"Content-Type": "application/json"}
GOLDEN = Path(__file__).parents[1] / "fixtures" / "golden-wire.json"

every_network = pytest.mark.parametrize("psk", [PSK, None], ids=["psk", "public"])
both_routers = pytest.mark.parametrize("router", ["floodsub", "gossipsub"])


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """Return a client that gives up after a minute."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session


async def offer(http: aiohttp.ClientSession, entry: NodeProcess, go: Oracle, *, in_flight: int = 0) -> dict[str, Any]:
    """Have a Go peer join and offer model m of P; return how the Input lists it."""
    await go.connect(entry.multiaddr)
    await go.event("subscribed", peer=entry.peer)
    await go.publish(encode_heartbeat(go.peer, [Offered("P", "m", in_flight=in_flight, cid="c1")], int(time.time())))
    listed: list[dict[str, Any]] = []

    async def is_listed() -> bool:
        query = {"project": "P", "model": "m"}
        async with http.get(f"{entry.api}/ai/projects/peers", params=query) as answer:
            peers = (await answer.json())["data"] or []
        listed[:] = [one for one in peers if one["node_id"] == go.peer and one["connectivity"] == 1]
        return bool(listed)

    await eventually("the Input lists the Go peer", is_listed)
    return listed[0]


def test_the_heartbeat_is_that_of_the_network() -> None:
    """What the tests here write and read is, byte for byte, what was recorded."""
    checked = 0
    for message in json.loads(GOLDEN.read_text(encoding="utf-8"))["messages"]:
        data = bytes.fromhex(message["hex"])
        if not data.endswith(b"*\x09heartbeat") or b"chat" not in data:
            continue
        told = read_heartbeat(data)
        assert encode_heartbeat(told.node_id, told.offers, told.timestamp, node_type=told.node_type) == data
        assert told.node_id == message["from"]
        checked += 1
    assert checked > 3


@every_network
@both_routers
async def test_listed_and_asked(
    tmp_path: Path, http: aiohttp.ClientSession, start_oracle: OracleStart, psk: bytes | None, router: str
) -> None:
    async with Nodes(tmp_path, psk=psk.hex() if psk else "") as nodes:
        entry, go = await nodes.input(router=router), await start_oracle(psk=psk, router=router)
        listed = await offer(http, entry, go, in_flight=3)
        assert (listed["Idle"], listed["cid"]) == (3, "c1")

        await go.serve([b'{"model":"m","choices":[{}]}'], headers=JSON)
        async with http.post(f"{entry.api}/chat/completion/proxy", json=CHAT) as answer:
            assert (answer.status, answer.content_type) == (200, "application/json")
            assert await answer.read() == b'{"model":"m","choices":[{}]}'
            assert answer.headers["x-aicn-node"] == go.peer
        asked = await go.event("request")
        assert (asked["peer"], asked["method"], asked["proto"]) == (entry.peer, "POST", "HTTP/1.1")
        assert {"project=P", "model=m", "cid=c1"} <= set(asked["target"].partition("?")[2].split("&"))
        assert json.loads(asked["body"])["messages"] == CHAT["messages"]

        await go.serve([*EVENTS, DONE], headers=SSE, chunked=True, gap_ms=5)
        async with http.post(f"{entry.api}/chat/completion/proxy", json={**CHAT, "stream": True}) as answer:
            assert (answer.status, answer.content_type) == (200, "text/event-stream")
            assert await answer.read() == b"".join(EVENTS) + DONE


async def test_it_answers_what_it_knows_of_the_openai_api(
    tmp_path: Path, http: aiohttp.ClientSession, start_oracle: OracleStart
) -> None:
    """Chats go to it as ever; what it has no path for it is not asked."""
    async with Nodes(tmp_path, psk=PSK.hex()) as nodes:
        entry, go = await nodes.input(), await start_oracle(psk=PSK)
        await offer(http, entry, go)
        v1 = entry.api.replace("/api/v0", "/v1")
        await go.serve([b'{"model":"m","choices":[{}]}'], headers=JSON)
        body = b'{"seed": 1.0, "model": "P/m", "messages": [{"role": "user", "content": "h\\u00e9"}]}'
        async with http.post(f"{v1}/chat/completions", data=body, headers=JSON) as answer:
            assert (answer.status, await answer.read()) == (200, b'{"model":"m","choices":[{}]}')
        asked = await go.event("request")
        assert asked["target"].partition("?")[0] == "/api/v0/chat/completion"
        assert {"project=P", "model=m", "cid=c1"} <= set(asked["target"].partition("?")[2].split("&"))
        assert asked["body"] == body.replace(b"P/m", b"m")

        await go.serve([*EVENTS, DONE], headers=SSE, chunked=True, gap_ms=5)
        async with http.post(f"{v1}/chat/completions", json={**CHAT, "stream": True}) as answer:
            assert (answer.status, await answer.read()) == (200, b"".join(EVENTS) + DONE)
        await go.event("request")

        async with http.post(f"{v1}/embeddings", json={"model": "m", "input": "hi"}) as answer:
            assert answer.status == 404
            assert (await answer.json())["error"]["code"] == "endpoint_unsupported"
        assert not go.heard("request")


async def test_events_arrive_at_once_and_a_client_that_leaves_is_told(
    tmp_path: Path, http: aiohttp.ClientSession, start_oracle: OracleStart
) -> None:
    """The Go peer goes silent in the middle: what it wrote is here, and it sees the reset while it only waits."""
    async with Nodes(tmp_path, psk=PSK.hex()) as nodes:
        entry, go = await nodes.input(), await start_oracle(psk=PSK)
        await offer(http, entry, go)
        await go.serve(EVENTS, headers=SSE, chunked=True, cut="hang", cut_after=3)
        async with http.post(f"{entry.api}/chat/completion/proxy", json={**CHAT, "stream": True}) as answer:
            for event in EVENTS[:3]:
                assert await answer.content.readuntil(b"\n\n") == event
            assert not go.heard("answered")
            answer.close()
        outcome = await go.event("answered")
        assert (outcome["outcome"], outcome["how"], outcome["chunks"]) == ("cancelled", "reset", 3)


async def test_a_client_that_leaves_before_the_answer_begins(
    tmp_path: Path, http: aiohttp.ClientSession, start_oracle: OracleStart
) -> None:
    async with Nodes(tmp_path, psk=PSK.hex()) as nodes:
        entry, go = await nodes.input(), await start_oracle(psk=PSK)
        await offer(http, entry, go)
        await go.serve(kind="hang")
        asking = asyncio.create_task(_post(http, entry))
        await go.event("request")
        asking.cancel()
        outcome = await go.event("answered")
        assert (outcome["outcome"], outcome["how"]) == ("cancelled", "reset")


async def _post(http: aiohttp.ClientSession, entry: NodeProcess) -> None:
    async with http.post(f"{entry.api}/chat/completion/proxy", json=CHAT) as answer:
        await answer.read()


@pytest.mark.parametrize("cut", ["reset", "close"])
async def test_a_cut_stream_does_not_look_whole(
    tmp_path: Path, http: aiohttp.ClientSession, start_oracle: OracleStart, cut: str
) -> None:
    async with Nodes(tmp_path, psk=PSK.hex()) as nodes:
        entry, go = await nodes.input(), await start_oracle(psk=PSK)
        await offer(http, entry, go)
        await go.serve(EVENTS, headers=SSE, chunked=True, cut=cut, cut_after=3)
        async with http.post(f"{entry.api}/chat/completion/proxy", json={**CHAT, "stream": True}) as answer:
            body = await answer.read()
        whole, last = b"".join(EVENTS[:3]), body.removeprefix(b"".join(EVENTS[:3]))
        assert body.startswith(whole)
        assert b"error" in last
        assert b"[DONE]" not in body


async def test_another_is_asked_when_one_resets(
    tmp_path: Path, http: aiohttp.ClientSession, start_oracle: OracleStart
) -> None:
    async with Nodes(tmp_path, psk=PSK.hex()) as nodes:
        entry = await nodes.input()
        broken, healthy = await start_oracle(psk=PSK), await start_oracle(psk=PSK)
        await broken.serve(kind="reset")
        await healthy.serve([b'{"choices":[{}]}'], headers=JSON)
        await offer(http, entry, broken)
        await offer(http, entry, healthy, in_flight=1)
        async with http.post(f"{entry.api}/chat/completion/proxy", json=CHAT) as answer:
            assert (answer.status, await answer.read()) == (200, b'{"choices":[{}]}')
            assert answer.headers["x-aicn-node"] == healthy.peer
            assert answer.headers["x-aicn-attempts"] == "2"
        await broken.event("request")
