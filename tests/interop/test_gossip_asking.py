"""Our Input asks a Go Worker that has nothing better than gossip, by the routes that its users call."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import pytest_asyncio

from interop.dialogue import Asks, Model, Said
from interop.networks import ALONE, Network, every_network, hears, joined, one_network
from interop.oracle import Oracle
from interop.waiting import eventually
from support.processes import NodeProcess, Nodes

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODELS: Final = (
    Model("P", "m", cid="c1"),
    Model("P", "i", "http://127.0.0.1:9009/v1/images/generations", 1),
    Model("Q", "m"),
)
CHAT: Final = {"project": "P", "model": "m", "messages": [{"role": "user", "content": "hi"}]}
IMAGE: Final = {"project": "P", "model": "i", "prompt": "a cat", "n": 2, "size": "512x512"}
ANSWER: Final = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "choices": [{"message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
    "usage": {"completion_tokens": 3, "prompt_tokens": 2, "total_tokens": 5},
}


@dataclass(slots=True)
class Meeting:
    """Our Input and a Go Worker, connected to it alone."""

    entry: NodeProcess
    go: Oracle
    http: aiohttp.ClientSession

    async def post(self, route: str, body: object) -> tuple[int, dict[str, Any]]:
        """Return the status and the JSON of an answer."""
        data, headers = io.BytesIO(json.dumps(body).encode()), {"Content-Type": "application/json"}
        async with self.http.post(f"{self.entry.api}/{route}", data=data, headers=headers) as answer:
            decoded: dict[str, Any] = await answer.json()
            return answer.status, decoded

    async def listed(self, model: str = "m") -> dict[str, Any]:
        """Return how the Input lists the Worker; {} for not at all."""
        query = {"project": "P", "model": model}
        async with self.http.get(f"{self.entry.api}/ai/projects/peers", params=query) as answer:
            peers: list[dict[str, Any]] = (await answer.json())["data"] or []
        return next((one for one in peers if one["node_id"] == self.go.peer and one["connectivity"] == 1), {})

    async def asked(self, what: Asks) -> Said:
        """Return the next question to the Worker: from the Input, sealed, and written as a Go node would."""
        said = await self.go.asked(what)
        assert (said.signer, said.node_id, said.receiver) == (self.entry.peer, self.entry.peer, self.go.peer)
        assert said.sealed
        assert said.exact
        return said


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def meeting(
    network: Network, oracle_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Meeting]:
    """Return an Input and a Go Worker that it lists, for all tests on one network."""
    async with (
        Nodes(tmp_path_factory.mktemp("asking"), psk=network.psk_hex) as nodes,
        Oracle(oracle_binary, psk=network.psk, router=network.router, prefix=ALONE, chat_proxy=False) as go,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http,
    ):
        entry = await nodes.input(router=network.router)
        await go.connect(entry.multiaddr)
        await joined(go, entry)
        await hears(entry, go.peer)
        await go.offer(*MODELS)
        meeting = Meeting(entry, go, http)

        async def is_listed() -> bool:
            return bool(await meeting.listed())

        await eventually("the Input lists the Go Worker", is_listed)
        yield meeting


@pytest_asyncio.fixture(loop_scope="module")
async def met(meeting: Meeting) -> Meeting:
    """Return the same with a Worker that answers what it has to say."""
    for what in Asks:
        await meeting.go.answer(what)
        while meeting.go.heard("asked", type=what):
            await meeting.go.asked(what)
    return meeting


@every_network
async def test_identity(met: Meeting) -> None:
    status, told = await met.post("peer", {"node_id": met.go.peer})
    assert (status, told["peer_id"], told["protocol_version"]) == (200, met.go.peer, "aicn/0.0.1")
    assert set(told["protocols"]) == set(await met.go.protocols())
    assert set(told["addresses"]) == {addr.partition("/p2p/")[0] for addr in met.go.addrs}
    assert (await met.asked(Asks.PEER_IDENTITY)).question == {}


@every_network
async def test_host_info(met: Meeting) -> None:
    status, told = await met.post("host/info", {"node_id": met.go.peer})
    assert status == 200
    assert told["os"]["platform_version"] == "22.04"
    assert told["cpu"] == [{"model_name": "An oracle's processor", "total_cores": 4, "total_threads": 8}]
    assert told["memory"] == {"total_physical_bytes": 64 << 30, "total_usable_bytes": 60 << 30}
    assert told["disk"][0]["size_bytes"] == 1 << 40
    assert told["gpu"] == [{"vendor": "NVIDIA", "product": "An oracle's card"}]
    await met.asked(Asks.HOST_INFO)


@every_network
async def test_models(met: Meeting) -> None:
    status, told = await met.post("ai/project/peer", {"node_id": met.go.peer})
    assert status == 200
    assert told["data"] == {
        "P": [
            {"Model": "m", "API": MODELS[0].api, "Type": 0, "CID": "c1", "Idle": 0},
            {"Model": "i", "API": MODELS[1].api, "Type": 1, "CID": "", "Idle": 0},
        ],
        "Q": [{"Model": "m", "API": MODELS[2].api, "Type": 0, "CID": "", "Idle": 0}],
    }
    await met.asked(Asks.AI_PROJECT)


@every_network
@pytest.mark.parametrize("proxy", ["", "/proxy"])
async def test_chat(met: Meeting, proxy: str) -> None:
    await met.go.answer(Asks.CHAT, ANSWER)
    whom = {} if proxy else {"node_id": met.go.peer, "cid": "c1"}
    status, told = await met.post(f"chat/completion{proxy}", {**CHAT, **whom, "temperature": 0.5, "top_p": 0.25})
    assert status == 200
    choice = {"index": 0, **ANSWER["choices"][0]}  # type: ignore[index]
    assert {**ANSWER, "choices": [choice]}.items() <= told.items()
    said = await met.asked(Asks.CHAT)
    assert said.question is not None
    assert said.question.pop("wallet", {}) == {}
    content = json.dumps("hi").encode().hex()
    assert said.question == {
        "project": "P",
        "model": "m",
        "cid": "c1",
        "messages": [{"role": "user", "content": content}],
        "temperature": 0.5,
        "top_p": 0.25,
    }


@every_network
@pytest.mark.parametrize("proxy", ["", "/proxy"])
async def test_image(met: Meeting, proxy: str) -> None:
    choices = [{"url": "http://127.0.0.1/1.png", "revised_prompt": "a fat cat"}, {"url": "http://127.0.0.1/2.png"}]
    await met.go.answer(Asks.IMAGE, {"created": 1_700_000_000, "choices": choices})
    whom = {} if proxy else {"node_id": met.go.peer}
    status, told = await met.post(f"image/gen{proxy}", {**IMAGE, **whom, "response_format": "url"})
    assert (status, told) == (200, {"created": 1_700_000_000, "data": choices})
    said = await met.asked(Asks.IMAGE)
    assert said.question is not None
    assert said.question.pop("wallet", {}) == {}
    assert said.question == {
        "project": "P",
        "model": "i",
        "prompt": "a cat",
        "number": 2,
        "size": "512x512",
        "response_format": "url",
    }


@one_network
async def test_the_load_of_the_worker_is_listed(met: Meeting) -> None:
    await met.go.answer(Asks.CHAT, ANSWER, kind="hold")
    asking = asyncio.create_task(met.post("chat/completion/proxy", CHAT))
    said = await met.asked(Asks.CHAT)

    async def is_busy() -> bool:
        return (await met.listed()).get("Idle") == 1

    await eventually("the Input lists the Worker as busy", is_busy)
    await met.go.release(said.id)
    assert (await asking)[0] == 200

    async def is_free() -> bool:
        return (await met.listed()).get("Idle") == 0

    await eventually("the Input lists the Worker as free", is_free)


@one_network
@pytest.mark.parametrize("bare", [True, False], ids=["bare", "with a body"])
async def test_errors(met: Meeting, *, bare: bool) -> None:
    for what, route, body in (
        (Asks.PEER_IDENTITY, "peer", {}),
        (Asks.HOST_INFO, "host/info", {}),
        (Asks.AI_PROJECT, "ai/project/peer", {}),
        (Asks.CHAT, "chat/completion", {**CHAT, "cid": "c1"}),
        (Asks.IMAGE, "image/gen", IMAGE),
    ):
        await met.go.answer(what, code=1007, message="out of memory", bare=bare)
        status, told = await met.post(route, {**body, "node_id": met.go.peer})
        assert (status, told["code"]) == (500, 1007), (what, told)
        assert "out of memory" in told["message"]


@one_network
async def test_a_reply_that_comes_twice_counts_once(met: Meeting) -> None:
    """And the late one harms nothing: the next question has its own answer."""
    await met.go.answer(Asks.CHAT, ANSWER, copies=3)
    for _ in range(3):
        assert (await met.post("chat/completion/proxy", CHAT))[0] == 200
    await met.go.answer(Asks.HOST_INFO, {"os": {"os": "plan9"}}, copies=2)
    for _ in range(2):
        status, told = await met.post("host/info", {"node_id": met.go.peer})
        assert (status, told["os"]["os"]) == (200, "plan9")
    assert met.entry.running


@one_network
@pytest.mark.parametrize("as_asked", [True, False], ids=["in the name of who was asked", "in its own name"])
@pytest.mark.parametrize("bare", [True, False], ids=["error", "answer"])
async def test_a_reply_from_another_node_is_none(
    met: Meeting, network: Network, oracle_binary: Path, *, as_asked: bool, bare: bool
) -> None:
    async with Oracle(oracle_binary, psk=network.psk, router=network.router, prefix=ALONE) as impostor:
        await impostor.connect(met.entry.multiaddr)
        await joined(impostor, met.entry)
        await hears(met.entry, impostor.peer)
        if bare:
            await impostor.answer(Asks.HOST_INFO, code=1012, message="x", bare=True, overheard=True, as_asked=as_asked)
        else:
            await impostor.answer(Asks.HOST_INFO, {"os": {"os": "forged"}}, overheard=True, as_asked=as_asked)
        await met.go.answer(Asks.HOST_INFO, {"os": {"os": "true"}}, kind="hold")
        asking = asyncio.create_task(met.post("host/info", {"node_id": met.go.peer}))
        said = await met.asked(Asks.HOST_INFO)
        await impostor.event("overheard", id=said.id)
        # The Go Worker hears of the forgery through the Input only, which has heard it by then.
        await met.go.event("gossip", **{"from": impostor.peer})
        assert not asking.done()
        await met.go.release(said.id)
        status, told = await asking
        assert (status, told["os"]["os"]) == (200, "true")


@one_network
async def test_what_is_too_large_to_be_asked_is_an_error_at_once(met: Meeting) -> None:
    large = {**CHAT, "messages": [{"role": "user", "content": "x" * (1 << 20)}]}
    async with asyncio.timeout(10):
        status, told = await met.post("chat/completion/proxy", large)
    assert status in (400, 500)
    assert told["code"] != 0
    assert (await met.post("peer", {"node_id": met.go.peer}))[0] == 200
    await met.go.answer(Asks.CHAT, ANSWER)
    assert (await met.post("chat/completion/proxy", CHAT))[0] == 200


@one_network
async def test_what_cannot_be_said_over_gossip_is_an_error(met: Meeting) -> None:
    """A stream cannot; nor can an image edit: there is no message for them."""
    status, told = await met.post("chat/completion", {**CHAT, "node_id": met.go.peer, "cid": "c1", "stream": True})
    assert status == 500
    assert told["code"] != 0
    assert not met.go.heard("asked")
