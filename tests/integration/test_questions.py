"""Questions between two nodes over their gossip, in memory and on the network, beside a real model server."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from aicn import defaults
from aicn.backends import BackendClient
from aicn.clock import SystemClock
from aicn.endpoints import Endpoint
from aicn.errors import NetworkError, NetworkTimeout, PeerRefused, StreamRefused
from aicn.identity import PrivateKey
from aicn.ids import InstanceId, ModelName, PeerId, ProjectName
from aicn.p2p import rpc
from aicn.p2p.host import Stream
from aicn.p2p.rpc import Rpc
from aicn.peers import Directory, HeartbeatInbox, NodeFlags
from aicn.registry import Model, ModelRegistry
from aicn.routing import Answer, Ask, LegacyStreams
from aicn.routing.exchange import ask_peer
from aicn.serving import GossipMail, GossipModels, GossipServer, NodeFacts
from aicn.upkeep.hardware import read_hardware
from aicn.wire.codes import Code
from aicn.wire.messages import (
    AIProjectRequest,
    AIProjectResponse,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatRequestMessage,
    HostInfoRequest,
    HostInfoResponse,
    ImageGenerationRequest,
    ImageGenerationResponse,
    MessageType,
    PeerIdentityRequest,
    PeerIdentityResponse,
    RequestBody,
)
from support.comfyui import ComfyUi
from support.drawing import size_of
from support.hosts import DEADLINE_S, PROTOCOL, TOPIC, AnyHost, HostMaker, Witness, echo, until
from support.mock_model_server import MockModelServer, Plan, completion

CHAT = ChatCompletionRequest("P", "m", (ChatRequestMessage("user", b'"hi"'),), temperature=0.5)
IMAGE = ImageGenerationRequest("P", "i", "a cat", 1, "1x1")


class Node:
    """A host with everything that asks and answers over gossip."""

    def __init__(self, maker: HostMaker, server: MockModelServer, *, streams: bool = True, agent: str = "test") -> None:
        async def save(_: tuple[Model, ...]) -> None:
            return

        key = PrivateKey.generate()
        protocols = (defaults.CHAT_PROXY_PROTOCOL, PROTOCOL) if streams else (PROTOCOL,)
        self.witness: Witness = maker.make(private_key=key.protobuf, stream_protocols=protocols)
        self.registry = ModelRegistry(
            [Model.of("P", "m", server.chat_url, 0, "c1"), Model.of("P", "i", server.image_url, 1, "")], save=save
        )
        self.backends = BackendClient()
        clock = SystemClock()
        self.rpc = Rpc(key, self.publish, clock, "test")
        self.server = GossipServer(
            key,
            self.publish,
            clock,
            "test",
            facts=NodeFacts(self.host, self.registry, NodeFlags(0), read_hardware, agent_version=agent),
            models=GossipModels(self.registry, self.backends),
        )
        inbox = HeartbeatInbox(Directory(clock), clock)
        self.host.on_stream(PROTOCOL, echo)
        self.host.on_gossip(GossipMail(self.peer, inbox, self.rpc, self.server).receive)

    @property
    def host(self) -> AnyHost:
        """Its host."""
        return self.witness.host

    @property
    def peer(self) -> PeerId:
        """Its identity."""
        return self.witness.peer

    async def publish(self, payload: bytes) -> None:
        """Send a payload to the network."""
        await self.host.publish(TOPIC, payload)

    async def close(self) -> None:
        """Stop in the order of a node."""
        self.rpc.close()
        await self.server.drain()
        await self.host.close()
        await self.backends.close()
        assert (self.rpc.pending, self.server.under_way, self.registry.in_flight.total()) == (0, 0, 0)


@dataclass(slots=True)
class Setup:
    """A node that asks, a node that answers, and the model server beside it."""

    asker: Node
    node: Node
    model: MockModelServer
    maker: HostMaker

    async def ask(self, body: RequestBody, timeout_s: float = DEADLINE_S) -> object:
        """Ask the node."""
        return await self.asker.rpc.ask(self.node.peer, body, timeout_s=timeout_s)

    async def refused(self, body: RequestBody) -> PeerRefused:
        """Ask the node, which answers with an error."""
        with pytest.raises(PeerRefused) as caught:
            await self.ask(body)
        return caught.value


@pytest.fixture(params=["memory", "native"])
async def setup(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Setup]:
    monkeypatch.setattr(defaults, "SHUTDOWN_GRACE_S", 0.1)
    async with MockModelServer() as model:
        maker = HostMaker(request.param)
        # One that speaks no streams, as nodes of old releases do.
        asker, node = Node(maker, model), Node(maker, model, streams=False)
        for each in (asker, node):
            await each.host.start()
        await asker.host.connect(node.witness.addr)
        await asker.witness.until_subscribed(node.peer)
        await node.witness.until_subscribed(asker.peer)
        yield Setup(asker, node, model, maker)
        await asker.close()
        await node.close()
        await maker.close()


async def test_who_and_what_a_node_is(setup: Setup) -> None:
    identity = await setup.ask(PeerIdentityRequest())
    assert isinstance(identity, PeerIdentityResponse)
    assert identity.listen_addrs == setup.node.host.listen_addrs()
    assert set(identity.protocols) == set(setup.node.host.protocols)
    machine = await setup.ask(HostInfoRequest())
    assert isinstance(machine, HostInfoResponse)
    assert machine.memory is not None
    assert machine.memory.total_physical_bytes > 0
    models = await setup.ask(AIProjectRequest())
    assert isinstance(models, AIProjectResponse)
    assert [entry.model for entry in models.projects[0].models] == ["m", "i"]
    # And the other way, over the same connection.
    assert isinstance(await setup.node.rpc.ask(setup.asker.peer, HostInfoRequest()), HostInfoResponse)


async def test_chat(setup: Setup) -> None:
    answer = await setup.ask(CHAT)
    assert isinstance(answer, ChatCompletionResponse)
    whole = json.loads(completion("m"))
    assert answer.choices[0].message is not None
    assert answer.choices[0].message.content == whole["choices"][0]["message"]["content"]
    assert answer.usage is not None
    assert answer.usage.total_tokens == whole["usage"]["total_tokens"]
    assert (answer.id, answer.object, answer.created) == (whole["id"], whole["object"], whole["created"])
    seen = await setup.model.next_request()
    assert seen.path == "/v1/chat/completions"
    assert seen.header("content-type") == "application/json"
    assert seen.json() == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": False,
        "temperature": 0.5,
    }


@pytest.mark.parametrize("picture", [{"url": "http://127.0.0.1/a.png"}, {"b64_json": "AA=="}], ids=["url", "b64_json"])
async def test_image(setup: Setup, picture: dict[str, str]) -> None:
    setup.model.plan = Plan(body=json.dumps({"created": 5, "data": [picture]}).encode())
    answer = await setup.ask(IMAGE)
    assert isinstance(answer, ImageGenerationResponse)
    (choice,) = answer.choices
    assert {"url": choice.url, "b64_json": choice.b64_json} == {"url": "", "b64_json": "", **picture}
    assert (await setup.model.next_request()).json() == {"model": "i", "prompt": "a cat", "n": 1, "size": "1x1"}


async def test_image_of_a_server_with_words_of_its_own(setup: Setup) -> None:
    async with ComfyUi("sdxl.safetensors").serving() as url:
        await setup.node.registry.register(Model.of("P", "own", f"{url}/prompt", 1, "", "sdxl.safetensors"))
        answer = await setup.ask(ImageGenerationRequest("P", "own", "a cat", 2, "64x32"))
        assert isinstance(answer, ImageGenerationResponse)
        assert [size_of(base64.b64decode(choice.b64_json)) for choice in answer.choices] == [(64, 32)] * 2
        refused = await setup.refused(ImageGenerationRequest("P", "own", "a cat", 11, "64x32"))
        assert "10 images are drawn at once" in str(refused)


async def test_requests_count_while_the_model_works(setup: Setup) -> None:
    setup.model.plan = Plan(hang=True)
    asking = asyncio.create_task(setup.ask(CHAT))
    seen = await setup.model.next_request()
    assert setup.node.registry.in_flight.total() == 1
    assert (setup.asker.rpc.pending, setup.node.server.under_way) == (1, 1)
    asking.cancel()
    await asyncio.wait([asking])
    assert setup.asker.rpc.pending == 0
    # Nobody tells the node, as the network has no message for it: the node has a limit of its own, and its end.
    await setup.node.close()
    await asyncio.wait_for(seen.gone.wait(), DEADLINE_S)


@pytest.mark.parametrize(
    ("plan", "code", "word"),
    [
        (Plan(status=500, body=b'{"error": {"message": "out of memory"}}'), Code.MODEL, "out of memory"),
        (Plan(status=503, body=b"busy", headers={"content-type": "text/plain"}), Code.MODEL, "503"),
        (Plan(body=b'{"code": 7, "message": "out of memory"}'), 7, "out of memory"),
        (Plan(body=b"no JSON"), Code.MODEL, "no chat completion"),
        (Plan(body=b'{"choices": 5}'), Code.MODEL, "no chat completion"),
        (Plan(body=b'{"choices": [{"index": 99999999999}]}'), Code.MODEL, "does not fit"),
        (Plan(die_at_once=True), Code.MODEL, "model server"),
    ],
)
async def test_model_server_that_fails_is_an_error(setup: Setup, plan: Plan, code: int, word: str) -> None:
    setup.model.plan = plan
    refused = await setup.refused(CHAT)
    assert refused.code == code
    assert word in str(refused)
    setup.model.plan = Plan()
    assert isinstance(await setup.ask(CHAT), ChatCompletionResponse)


async def test_model_server_that_stops_in_the_middle_is_an_error(setup: Setup) -> None:
    setup.model.plan = Plan(chunks=(b'{"choices": []', b"}"), die_after=1)
    assert (await setup.refused(CHAT)).code == Code.MODEL


@pytest.mark.parametrize("size", [defaults.GOSSIP_QUESTION_MAX_BYTES, 5 * defaults.GOSSIP_MAX_BYTES])
async def test_answer_that_is_too_long_is_a_clean_error(setup: Setup, size: int) -> None:
    """And gossip goes on: what is too long for a frame never reaches it."""
    setup.model.plan = Plan(body=json.dumps({"choices": [{"message": {"content": "x" * size}}]}).encode())
    refused = await setup.refused(CHAT)
    assert refused.code == Code.BUFFER
    assert "gossip carries" in str(refused)
    assert isinstance(await setup.ask(PeerIdentityRequest()), PeerIdentityResponse)


async def test_longest_answer_arrives(setup: Setup) -> None:
    content = "x" * (defaults.GOSSIP_QUESTION_MAX_BYTES - 1_000)
    setup.model.plan = Plan(body=json.dumps({"choices": [{"message": {"content": content}}]}).encode())
    answer = await setup.ask(CHAT)
    assert isinstance(answer, ChatCompletionResponse)
    assert answer.choices[0].message is not None
    assert len(answer.choices[0].message.content) == len(content)


async def test_node_that_is_not_there_is_a_timeout(setup: Setup) -> None:
    with pytest.raises(NetworkTimeout):
        await setup.asker.rpc.ask(PrivateKey.generate().public.peer_id, HostInfoRequest(), timeout_s=0.05)


async def test_many_at_once(setup: Setup) -> None:
    answers = await asyncio.gather(*(setup.ask(CHAT) for _ in range(40)))
    assert all(isinstance(answer, ChatCompletionResponse) for answer in answers)
    assert len(setup.model.seen) == 40


# --- a node of an old release, asked by our router ---------------------------------------------------------


class Legacy:
    """The asker's streams: to the node they go over gossip."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.opened: list[PeerId] = []
        self.streams = LegacyStreams(setup.asker.host, setup.asker.rpc, self._open)

    async def _open(self, peer: PeerId, protocol: str, first: bytes) -> Stream:
        self.opened.append(peer)
        return await self.setup.asker.host.open_stream(peer, protocol, first=first)

    async def ask(self, body: bytes, endpoint: Endpoint = Endpoint.CHAT, model: str = "m") -> tuple[Answer, bytes]:
        """Ask the node for a model as the router does."""
        await until(lambda: self.setup.asker.host.identity(self.setup.node.peer) is not None)
        ask = Ask(ProjectName("P"), ModelName(model), body, endpoint=endpoint)
        async with ask_peer(self.streams.open, self.setup.node.peer, InstanceId(""), ask) as answer:
            return answer, await answer.read_all(1 << 20, lambda _: None)


HTTP_CHAT = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'


async def test_old_node_is_asked_for_a_chat_over_gossip(setup: Setup) -> None:
    legacy = Legacy(setup)
    answer, body = await legacy.ask(HTTP_CHAT)
    assert (answer.status, answer.node_error, answer.relayed, answer.complete) == (200, None, True, True)
    told, whole = json.loads(body), json.loads(completion("m"))
    assert told["choices"][0]["message"].items() <= whole["choices"][0]["message"].items()
    assert told["choices"][0]["message"]["content"]
    assert told["usage"] == whole["usage"]
    assert (await setup.model.next_request()).json()["messages"] == [{"role": "user", "content": "hi"}]
    assert legacy.opened == []


async def test_old_node_is_asked_for_an_image_over_gossip(setup: Setup) -> None:
    picture = {"created": 5, "data": [{"url": "http://127.0.0.1/a.png", "revised_prompt": "a fat cat"}]}
    setup.model.plan = Plan(body=json.dumps(picture).encode())
    body = b'{"model":"i","prompt":"a cat","n":1,"response_format":"url"}'
    answer, told = await Legacy(setup).ask(body, Endpoint.IMAGE_GENERATION, "i")
    assert (answer.status, json.loads(told)) == (200, picture)


async def test_error_of_an_old_node_is_a_failed_answer(setup: Setup) -> None:
    setup.model.plan = Plan(body=b'{"code": 7, "message": "out of memory"}')
    answer, told = await Legacy(setup).ask(HTTP_CHAT)
    assert (answer.status, answer.node_error) == (500, None)
    assert json.loads(told) == {"code": 7, "message": "out of memory"}


@pytest.mark.parametrize(
    ("body", "endpoint", "word"),
    [
        (b'{"model":"m","messages":[],"stream":true}', Endpoint.CHAT, "stream"),
        (b'{"model":"m","messages":[],"max_tokens":5}', Endpoint.CHAT, "max_tokens"),
        (b'{"model":"m","prompt":"","response_format":"b64_json"}', Endpoint.IMAGE_GENERATION, "not their URLs"),
        (b"--x--", Endpoint.IMAGE_EDIT, "a chat and an image"),
    ],
)
async def test_what_an_old_node_cannot_do_is_told(setup: Setup, body: bytes, endpoint: Endpoint, word: str) -> None:
    with pytest.raises(StreamRefused, match=word):
        await Legacy(setup).ask(body, endpoint)
    assert setup.model.seen == []


class Chain:
    """An asker, and a node that it reaches only by the gossip that passes through another."""

    def __init__(self, maker: HostMaker, model: MockModelServer, agent: str) -> None:
        self.asker = Node(maker, model)
        self.between = Node(maker, model)
        self.far = Node(maker, model, agent=agent)
        self.tried: list[PeerId] = []
        self.streams = LegacyStreams(self.asker.host, self.asker.rpc, self._open)

    async def _open(self, peer: PeerId, protocol: str, first: bytes) -> Stream:
        self.tried.append(peer)
        return await self.asker.host.open_stream(peer, protocol, first=first)

    async def start(self) -> None:
        for each in (self.asker, self.between, self.far):
            await each.host.start()
        for each in (self.asker, self.far):
            await each.host.connect(self.between.witness.addr)
            await each.witness.until_subscribed(self.between.peer)
            await self.between.witness.until_subscribed(each.peer)

    async def chat(self, body: bytes) -> int:
        """Ask the far node, as one that the client has named; return the status."""
        ask = Ask(ProjectName("P"), ModelName("m"), body)
        async with ask_peer(self.streams.open_named, self.far.peer, InstanceId(""), ask) as answer:
            assert answer.peer == self.far.peer
            return answer.status

    async def close(self) -> None:
        for each in (self.asker, self.far, self.between):
            await each.close()


@pytest.mark.parametrize("kind", ["memory", "native"])
async def test_named_node_that_cannot_be_dialled_is_reached_through_others(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "LEGACY_PROBE_TIMEOUT_S", 1.0)
    async with MockModelServer() as model:
        maker = HostMaker(kind)
        chain = Chain(maker, model, "AIComputingNode@v0.1.0")
        await chain.start()
        assert chain.asker.host.connection(chain.far.peer) is None
        assert await chain.chat(HTTP_CHAT) == 200
        assert chain.tried == [chain.far.peer]
        with pytest.raises(NetworkError):  # what gossip cannot carry fails as it did
            await chain.chat(b'{"messages":[],"stream":true}')
        with pytest.raises(NetworkError):  # the router's own choices are not worth the wait
            await chain.streams.open(chain.far.peer, defaults.CHAT_PROXY_PROTOCOL, b"")
        assert len(model.seen) == 1
        await chain.far.close()
        with pytest.raises(NetworkError):  # gone: found out soon
            await chain.chat(HTTP_CHAT)
        await chain.close()
        await maker.close()


async def test_our_own_nodes_get_no_chat_over_gossip() -> None:
    async with MockModelServer() as model:
        maker = HostMaker("memory")
        chain = Chain(maker, model, f"{defaults.OWN_AGENT}-1.0.0")
        await chain.start()
        with pytest.raises(NetworkError):
            await chain.chat(HTTP_CHAT)
        assert model.seen == []
        await chain.close()
        await maker.close()


async def test_node_that_has_not_said_what_it_speaks_is_tried_first(setup: Setup) -> None:
    """And asked over gossip once it has refused the stream."""
    setup.model.plan = Plan()
    known = setup.asker.host.identity

    class Unidentified:
        """The asker's host before identify has answered."""

        def __getattr__(self, name: str) -> object:
            return getattr(setup.asker.host, name)

        def identity(self, _: PeerId) -> None:
            return None

    await until(lambda: known(setup.node.peer) is not None)
    legacy = Legacy(setup)
    legacy.streams = LegacyStreams(Unidentified(), setup.asker.rpc, legacy._open)  # type: ignore[arg-type]
    answer, _ = await legacy.ask(HTTP_CHAT)
    assert answer.status == 200
    assert legacy.opened == [setup.node.peer]


async def test_silence_of_an_old_node_is_a_timeout(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rpc._TIMEOUTS_S, MessageType.CHAT_COMPLETION, 0.1)
    setup.model.plan = Plan(hang=True)
    answer, told = await Legacy(setup).ask(HTTP_CHAT)
    assert (answer.status, json.loads(told)["code"]) == (500, Code.TIMEOUT)


async def test_node_that_speaks_streams_gets_one(setup: Setup) -> None:
    """Here the one that is asked is the asker of the other tests."""
    node = setup.node.host
    await until(lambda: node.identity(setup.asker.peer) is not None)

    async def open_stream(peer: PeerId, protocol: str, first: bytes) -> Stream:
        return await node.open_stream(peer, protocol, first=first)

    stream = await LegacyStreams(node, setup.node.rpc, open_stream).open(setup.asker.peer, PROTOCOL, b"x")
    assert await stream.read() == b"x"
    await stream.close()
    assert setup.asker.server.under_way == 0
