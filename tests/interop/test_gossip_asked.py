"""A Go Input asks our Worker over gossip, as the Go nodes ask for everything that is not streamed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from aicn.ids import PeerId
from interop.dialogue import MODEL_ERROR, Asks, Said, texts
from interop.heartbeats import Told, read_heartbeat
from interop.networks import ALONE, Network, every_network, one_network, projects
from interop.oracle import Oracle
from support.mock_model_server import MockModelServer, Plan, completion
from support.processes import NodeProcess, Nodes

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = b'{"created": 1700000000, "data": [{"url": "http://127.0.0.1/a.png", "revised_prompt": "a fat cat"}]}'
PARTS = [{"type": "text", "text": "what is this?"}, {"type": "image_url", "image_url": {"url": "data:,x"}}]


@dataclass(slots=True)
class Meeting:
    """Our Worker beside a model server, asked by a Go peer."""

    go: Oracle
    worker: NodeProcess
    server: MockModelServer

    async def ask(self, what: Asks, **body: Any) -> Said:
        """Ask the Worker; the reply is from it, sealed, and written as a Go node would."""
        said = await self.go.ask(PeerId(self.worker.peer), what, body)
        assert (said.signer, said.node_id, said.receiver) == (self.worker.peer, self.worker.peer, self.go.peer)
        assert said.type is what
        assert said.exact
        return said

    async def chat(self, content: object = "hi", model: str = "m", **more: Any) -> Said:
        """Ask for a chat."""
        messages = [{"role": "user", "content": json.dumps(content).encode().hex()}]
        return await self.ask(Asks.CHAT, project="P", model=model, messages=messages, wallet={}, **more)

    async def image(self, model: str = "i", **more: Any) -> Said:
        """Ask for an image."""
        question = {"prompt": "a cat", "number": 1, "response_format": "url", "wallet": {}}
        return await self.ask(Asks.IMAGE, project="P", model=model, **{**question, **more})

    async def heartbeat(self, model: str, in_flight: int) -> Told:
        """Return the next heartbeat of the Worker that tells so many requests in flight at a model."""
        while True:
            gossip = await self.go.event("gossip", **{"from": self.worker.peer})
            if not gossip["data"].endswith(b"heartbeat"):
                continue
            told = read_heartbeat(gossip["data"])
            if [one.in_flight for one in told.offers if one.model == model] == [in_flight]:
                return told


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def met(
    network: Network, oracle_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Meeting]:
    """Return a Worker and a Go peer that have met, for all tests on one network."""
    async with (
        Oracle(oracle_binary, psk=network.psk, router=network.router, prefix=ALONE) as go,
        MockModelServer() as server,
        Nodes(tmp_path_factory.mktemp("asked"), psk=network.psk_hex) as nodes,
    ):
        worker = nodes.make("worker", bootstrap=[go.addr], router=network.router, AIProjects=projects(server))
        await worker.start()
        met = Meeting(go, worker, server)
        await met.heartbeat("m", 0)
        yield met


@pytest.fixture(autouse=True)
def _healthy(met: Meeting) -> None:
    met.server.plan = Plan()
    met.server.forget()


@every_network
async def test_identity(met: Meeting) -> None:
    said = await met.ask(Asks.PEER_IDENTITY)
    assert (said.code, said.sealed) == (0, True)
    assert said.answer is not None
    told = await met.go.identify(PeerId(met.worker.peer))
    assert said.answer["protocol_version"] == told["protocol_version"] == "aicn/0.0.1"
    assert said.answer["agent_version"] == told["agent_version"]
    assert set(texts(said, "protocols")) == set(told["protocols"])
    assert met.worker.multiaddr.partition("/p2p/")[0] in texts(said, "listen_addrs")


@every_network
async def test_host_info(met: Meeting) -> None:
    said = await met.ask(Asks.HOST_INFO)
    assert (said.code, said.sealed) == (0, True)
    assert said.answer is not None
    assert said.answer["os"]["os"] == "linux"
    assert said.answer["cpu"][0]["total_threads"] > 0
    assert said.answer["memory"]["total_physical_bytes"] >= said.answer["memory"]["total_usable_bytes"] > 0


@every_network
async def test_models(met: Meeting) -> None:
    said = await met.ask(Asks.AI_PROJECT)
    assert (said.code, said.sealed) == (0, True)
    assert said.answer is not None
    (project,) = said.answer["projects"]
    assert project["project"] == "P"
    listed = {(one["model"], one.get("type", 0), one.get("cid", "")) for one in project["models"]}
    assert listed == {("m", 0, ""), ("i", 1, ""), ("e", 2, ""), ("two", 1, "c1"), ("two", 1, "c2")}
    assert all(met.server.url not in one["api"] for one in project["models"])


@every_network
async def test_chat(met: Meeting) -> None:
    said = await met.chat(PARTS)
    assert (said.code, said.sealed) == (0, True)
    whole = json.loads(completion("m"))
    assert said.answer == {
        "id": whole["id"],
        "object": whole["object"],
        "created": whole["created"],
        "choices": [{"message": {"role": "assistant", "content": "Hello there."}, "finish_reason": "stop"}],
        "usage": whole["usage"],
    }
    seen = await met.server.next_request()
    assert (seen.method, seen.path) == ("POST", "/v1/chat/completions")
    asked = seen.json()
    assert (asked["model"], asked["messages"]) == ("m", [{"role": "user", "content": PARTS}])
    assert not asked.get("stream")
    assert "temperature" not in asked  # 0 and absent are the same on the wire; the model's default is what is meant


@every_network
async def test_image(met: Meeting) -> None:
    met.server.plan = Plan(body=JSON)
    said = await met.image(size="512x512", number=2)
    assert (said.code, said.sealed) == (0, True)
    whole = json.loads(JSON)
    assert said.answer == {"created": whole["created"], "choices": whole["data"]}
    seen = await met.server.next_request()
    assert (seen.method, seen.path) == ("POST", "/v1/images/generations")
    asked = seen.json()
    assert {
        "model": "i",
        "prompt": "a cat",
        "n": 2,
        "size": "512x512",
        "response_format": "url",
    }.items() <= asked.items()


@one_network
async def test_the_instance_that_is_asked_for(met: Meeting) -> None:
    met.server.plan = Plan(body=JSON)
    for cid, path in (("c2", "/second"), ("c1", "/first")):
        assert (await met.image("two", cid=cid)).code == 0
        assert (await met.server.next_request()).path == path
    assert (await met.image("two", cid="none")).code == MODEL_ERROR


@one_network
async def test_options_and_wallet_reach_the_model(met: Meeting) -> None:
    proof = {"wallet": "w", "signature": "s", "hash": "h"}
    messages = [{"role": "user", "content": b'"hi"'.hex()}]
    said = await met.ask(
        Asks.CHAT, project="P", model="m", messages=messages, temperature=0.5, top_p=0.25, stream=True, wallet=proof
    )
    assert said.code == 0
    asked = (await met.server.next_request()).json()
    assert {"temperature": 0.5, "top_p": 0.25, **proof}.items() <= asked.items()
    assert not asked.get("stream"), "an answer over gossip is one message: nothing can be streamed"


@one_network
async def test_the_load_is_told(met: Meeting) -> None:
    met.server.plan = Plan(first_byte_ms=4_000)
    asking = asyncio.create_task(met.chat())
    await met.heartbeat("m", 1)
    assert (await asking).code == 0
    await met.heartbeat("m", 0)


@one_network
@pytest.mark.parametrize(
    "plan",
    [
        Plan(status=500, body=b'{"error": {"message": "out of memory"}}'),
        Plan(body=b'{"code": 7, "message": "out of memory"}'),
        Plan(body=b"no JSON"),
        Plan(die_at_once=True),
    ],
    ids=["status", "code", "no JSON", "dead"],
)
async def test_a_model_that_fails_is_an_error(met: Meeting, plan: Plan) -> None:
    met.server.plan = plan
    said = await met.chat()
    assert said.code != 0
    assert said.message
    assert not said.answer


@one_network
async def test_what_is_not_there_is_an_error(met: Meeting) -> None:
    said = await met.chat(model="none")
    assert said.code == MODEL_ERROR
    assert said.message
    said = await met.image("none")
    assert said.code == MODEL_ERROR
    assert met.server.seen == []


@one_network
@pytest.mark.parametrize("no_key", [True, False], ids=["without a key", "with a key"])
@pytest.mark.parametrize("what", list(Asks), ids=lambda what: what.name)
async def test_what_is_not_sealed_is_refused(met: Meeting, what: Asks, *, no_key: bool) -> None:
    messages = [{"role": "user", "content": b'"hi"'.hex()}]
    bodies: dict[Asks, dict[str, Any]] = {
        Asks.CHAT: {"project": "P", "model": "m", "messages": messages},
        Asks.IMAGE: {"project": "P", "model": "i", "prompt": "a cat"},
    }
    id_ = await met.go.say(PeerId(met.worker.peer), what, bodies.get(what), plain=True, no_key=no_key)
    assert (await met.ask(Asks.PEER_IDENTITY)).code == 0  # asked later, answered: the other was heard before
    for told in met.go.heard("replied", id=id_):
        assert told["code"] != 0
        assert told["answer"] is None
    assert met.server.seen == []


@one_network
async def test_a_question_that_is_heard_twice_is_answered_once(met: Meeting) -> None:
    """The same id from the same node, as who repeats a recorded question would send it."""
    first = await met.chat()
    await met.server.next_request()
    await met.go.call(
        "ask",
        peer=met.worker.peer,
        id=first.id,
        type=Asks.CHAT,
        body={"project": "P", "model": "m", "messages": [{"role": "user", "content": b'"hi"'.hex()}]},
        no_wait=True,
    )
    assert (await met.chat("another")).code == 0
    assert [one.json()["messages"][0]["content"] for one in met.server.seen] == ["hi", "another"]


@one_network
async def test_a_reply_that_is_too_large_is_a_clean_error(met: Meeting) -> None:
    """No node of the network takes a message over 1 MiB: what would be lost is told, and gossip goes on."""
    large = json.loads(completion("m"))
    large["choices"][0]["message"]["content"] = "x" * (1 << 20)
    met.server.plan = Plan(body=json.dumps(large).encode())
    said = await met.chat()
    assert said.code != 0
    assert "1" in said.message
    assert said.size < 4_096
    met.server.plan = Plan(first_byte_ms=4_000)
    asking = asyncio.create_task(met.chat())
    await met.heartbeat("m", 1)
    assert (await asking).code == 0
    assert (await met.ask(Asks.PEER_IDENTITY)).code == 0


@one_network
async def test_a_large_reply_arrives(met: Meeting) -> None:
    large = json.loads(completion("m"))
    large["choices"][0]["message"]["content"] = "x" * 900_000
    met.server.plan = Plan(body=json.dumps(large).encode())
    said = await met.chat()
    assert said.answer is not None
    assert len(said.answer["choices"][0]["message"]["content"]) == 900_000
