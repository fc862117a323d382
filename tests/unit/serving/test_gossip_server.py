"""Answers over gossip: to whom, how often, and what is dropped."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aicn import defaults
from aicn.backends import BackendClient
from aicn.clock import ManualClock
from aicn.errors import PublishFailed
from aicn.identity import PrivateKey
from aicn.ids import PeerId
from aicn.p2p.host import GossipMessage, HostConfig
from aicn.p2p.memory import MemoryHost, MemoryNetwork
from aicn.p2p.rpc import ReplyOutcome, Rpc
from aicn.peers import Directory, HeartbeatInbox, NodeFlags, Outcome, build_heartbeat
from aicn.registry import Model, ModelRegistry
from aicn.serving import GossipMail, GossipModels, GossipServer, NodeFacts, QuestionOutcome
from aicn.wire.codes import Code
from aicn.wire.envelope import Reply, build_error, build_reply, build_request, open_reply, open_request
from aicn.wire.messages import (
    AIProjectRequest,
    AIProjectResponse,
    ChatCompletionRequest,
    Header,
    HostInfoRequest,
    HostInfoResponse,
    Message,
    MessageType,
    OSInfo,
    PeerIdentityRequest,
    PeerIdentityResponse,
    RequestBody,
    decode_message,
    encode_body,
    encode_message,
)
from aicn.wire.seal import seal
from support.mock_model_server import MockModelServer, Plan

OWN, ASKER, OTHER = (PrivateKey.generate() for _ in range(3))
MACHINE = HostInfoResponse(os=OSInfo(os="plan9"))
GOLDEN = json.loads((Path(__file__).parents[2] / "fixtures" / "golden-wire.json").read_text(encoding="utf-8"))


class Node:
    """One node's mail, and what it publishes. Its machine is read when `reading` is set."""

    def __init__(self, own: PrivateKey = OWN) -> None:
        async def save(_: tuple[Model, ...]) -> None:
            return

        self.own = own
        self.clock = ManualClock()
        self.published: asyncio.Queue[bytes] = asyncio.Queue()
        self.reading = asyncio.Event()
        self.reading.set()
        self.registry = ModelRegistry([Model.of("P", "m", "http://127.0.0.1:9/chat", 0, "c1")], save=save)
        self.backends = BackendClient()
        host = MemoryHost(MemoryNetwork(), HostConfig(own.protobuf, stream_protocols=("/chat-proxy/0.0.1",)))
        self.rpc = Rpc(own, self.published.put, self.clock, "test")
        self.server = GossipServer(
            own,
            self.publish,
            self.clock,
            "test",
            facts=NodeFacts(host, self.registry, NodeFlags.PUBLIC, self.read_machine, agent_version="test"),
            models=GossipModels(self.registry, self.backends),
        )
        self.inbox = HeartbeatInbox(Directory(self.clock), self.clock)
        self.mail = GossipMail(own.public.peer_id, self.inbox, self.rpc, self.server)
        self.may_publish = True

    async def publish(self, payload: bytes) -> None:
        if not self.may_publish:
            raise PublishFailed("nobody listens")
        await self.published.put(payload)

    async def read_machine(self) -> HostInfoResponse:
        await self.reading.wait()
        return MACHINE

    def question(self, body: RequestBody, asker: PrivateKey = ASKER) -> Message:
        """Return a question to this node."""
        return build_request(body, asker, self.own.public, now_unix=self.clock.unix())

    def hear(self, data: bytes | Message, signer: PeerId | PrivateKey = ASKER) -> None:
        """Receive a message as gossip brings it."""
        source = signer.public.peer_id if isinstance(signer, PrivateKey) else signer
        payload = encode_message(data) if isinstance(data, Message) else data
        self.mail.receive(GossipMessage("t", source, b"\0" * 8, payload))

    async def said(self, asker: PrivateKey = ASKER) -> Reply:
        """Return the next reply."""
        async with asyncio.timeout(10):
            message = decode_message(await self.published.get())
        assert message.header.client_version == "test"
        return open_reply(message, asker, self.own.public.peer_id)


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    node = Node()
    yield node
    await node.server.drain()
    await node.backends.close()
    assert node.server.under_way == 0


async def test_each_question_has_its_answer(node: Node) -> None:
    for body in (PeerIdentityRequest(), HostInfoRequest(), AIProjectRequest()):
        question = node.question(body)
        node.hear(question)
        reply = await node.said()
        assert (reply.id, reply.code) == (question.header.id, 0)
        match reply.body:
            case PeerIdentityResponse() as told:
                assert told.public_key == OWN.public.protobuf
                assert "/chat-proxy/0.0.1" in told.protocols
                assert (told.protocol_version, told.agent_version) == ("aicn/0.0.1", "test")
            case AIProjectResponse() as told:
                assert told.node_type == NodeFlags.PUBLIC | NodeFlags.HAS_MODELS
                (project,) = told.projects
                (entry,) = project.models
                assert (project.project, entry.model, entry.cid, entry.idle) == ("P", "m", "c1", 0)
                assert entry.api == "local", "the inside of a network is nobody else's business"
            case told:
                assert told == MACHINE
    assert node.server.outcomes == {QuestionOutcome.TAKEN: 3}


def _other_key(message: Message) -> Message:
    return replace(message, header=replace(message.header, node_pub_key=OTHER.public.protobuf))


def _header(**changes: Any) -> Callable[[Message], Message]:
    return lambda message: replace(message, header=replace(message.header, **changes))


def _answer_instead(message: Message) -> Message:
    return replace(message, body=seal(encode_body(HostInfoResponse()), ASKER, OWN.public))


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        (_header(node_id=OTHER.public.peer_id), QuestionOutcome.MALFORMED),
        (_header(node_id=""), QuestionOutcome.MALFORMED),
        (_header(node_pub_key=b"x"), QuestionOutcome.MALFORMED),
        (_header(id="x" * 65), QuestionOutcome.MALFORMED),
        (_other_key, QuestionOutcome.MALFORMED),
        (lambda message: replace(message, result_code=7), QuestionOutcome.MALFORMED),
        (_answer_instead, QuestionOutcome.MALFORMED),
        (lambda message: replace(message, body=seal(b"\xff", ASKER, OWN.public)), QuestionOutcome.MALFORMED),
        (lambda message: replace(message, body=seal(b"", ASKER, OWN.public)), QuestionOutcome.MALFORMED),
        (_header(receiver=OTHER.public.peer_id), None),
        (_header(receiver=""), None),
        (_header(id=""), None),
    ],
)
async def test_what_is_no_question_is_dropped_without_a_word(
    node: Node, change: Callable[[Message], Message], outcome: QuestionOutcome | None
) -> None:
    node.hear(change(node.question(HostInfoRequest())))
    assert node.server.outcomes == ({} if outcome is None else {outcome: 1})
    node.hear(node.question(PeerIdentityRequest()))
    assert isinstance((await node.said()).body, PeerIdentityResponse)
    assert node.published.empty()


@pytest.mark.parametrize(
    "change",
    [
        lambda message: replace(message, body=encode_body(HostInfoRequest())),
        lambda message: replace(message, body=b""),
        lambda message: replace(message, body=seal(encode_body(HostInfoRequest()), ASKER, OTHER.public)),
        _header(node_pub_key=b""),
    ],
    ids=["plain", "nothing", "for another", "no key"],
)
async def test_what_is_not_sealed_is_refused(node: Node, change: Callable[[Message], Message]) -> None:
    question = change(node.question(HostInfoRequest()))
    node.hear(question)
    reply = await node.said()
    assert (reply.id, reply.code, reply.body) == (question.header.id, Code.DECRYPT, None)
    assert "not sealed" in reply.message
    assert node.server.outcomes == {QuestionOutcome.REFUSED: 1}


async def test_the_words_of_another_are_not_answered(node: Node) -> None:
    """Whoever has recorded a question and sends it under its own signature gets nothing."""
    node.hear(node.question(HostInfoRequest()), OTHER)
    assert node.server.outcomes == {QuestionOutcome.MALFORMED: 1}


async def test_a_question_is_answered_once(node: Node) -> None:
    question = node.question(HostInfoRequest())
    for _ in range(3):
        node.hear(question)
    assert (await node.said()).body == MACHINE
    node.hear(question)
    assert node.server.outcomes == {QuestionOutcome.TAKEN: 1, QuestionOutcome.REPEATED: 3}
    await node.server.drain()
    assert node.published.empty()


async def test_no_two_nodes_keep_each_other_talking(node: Node) -> None:
    """Neither a late answer nor an error is ever answered."""
    question = build_request(HostInfoRequest(), OWN, ASKER.public, now_unix=0)
    node.hear(build_reply(MACHINE, open_request(question, ASKER), ASKER, now_unix=0))
    node.hear(build_error(1014, "no", question, ASKER, now_unix=0))
    assert node.server.outcomes == {QuestionOutcome.MALFORMED: 2}


async def test_a_flood_is_not_read_and_hurts_nobody_else(node: Node) -> None:
    for _ in range(1_000):
        node.hear(node.question(PeerIdentityRequest(), OTHER), OTHER)
    assert node.server.outcomes[QuestionOutcome.TOO_MANY] == 1_000 - defaults.QUESTION_BURST
    for _ in range(defaults.QUESTION_BURST):
        await node.said(OTHER)
    node.hear(node.question(PeerIdentityRequest()))
    assert isinstance((await node.said()).body, PeerIdentityResponse)
    await node.server.drain()
    assert node.published.empty()


async def test_work_is_bounded_for_each_peer_and_for_all(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "ANSWERING_MAX_PER_PEER", 2)
    monkeypatch.setattr(defaults, "ANSWERING_MAX", 3)
    node.reading.clear()
    for asker in (ASKER, ASKER, ASKER, OTHER):
        node.hear(node.question(HostInfoRequest(), asker), asker)
    refused = await node.said()
    assert (refused.code, "too many" in refused.message) == (Code.INTERNAL, True)
    assert node.server.under_way == 3
    node.hear(node.question(HostInfoRequest(), OTHER), OTHER)
    assert (await node.said(OTHER)).code == Code.INTERNAL
    node.reading.set()
    await node.server.drain()
    assert node.published.qsize() == 3


async def test_a_reply_that_cannot_be_published_harms_nothing(node: Node) -> None:
    node.may_publish = False
    node.hear(node.question(HostInfoRequest()))
    await node.server.drain()
    assert node.server.under_way == 0


async def test_drain_lets_end_what_is_under_way_and_takes_nothing_new(node: Node) -> None:
    node.reading.clear()
    node.hear(node.question(HostInfoRequest()))
    draining = asyncio.create_task(node.server.drain())
    await asyncio.sleep(0)
    node.hear(node.question(HostInfoRequest()))
    assert "shutting down" in (await node.said()).message
    node.reading.set()
    assert (await node.said()).body == MACHINE
    await draining


async def test_drain_cuts_what_takes_too_long(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "SHUTDOWN_GRACE_S", 0.01)
    node.reading.clear()
    node.hear(node.question(HostInfoRequest()))
    await asyncio.sleep(0)
    await node.server.drain()
    assert node.server.under_way == 0
    assert node.published.empty()


async def test_what_is_slow_is_told_so(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "ASK_INFO_TIMEOUT_S", 0.01)
    node.reading.clear()
    node.hear(node.question(HostInfoRequest()))
    assert (await node.said()).code == Code.TIMEOUT


async def test_model_that_is_not_there(node: Node) -> None:
    node.hear(node.question(ChatCompletionRequest("P", "none")))
    reply = await node.said()
    assert (reply.code, reply.message) == (1007, "can not find in registered project and model")


async def test_replies_and_questions_pass_whoever_has_sent_too_many_heartbeats(node: Node) -> None:
    """As a reference Worker does, which sends two with every request."""
    for number in range(2 * defaults.HEARTBEAT_BURST):
        heartbeat = build_heartbeat(
            ASKER.public.peer_id,
            node.registry.models(),
            lambda _: 0,
            NodeFlags(0),
            node.clock.unix() + number,
            reveal_api=True,
        )
        node.hear(heartbeat)
    assert node.inbox.outcomes[Outcome.TOO_MANY] > 0
    asking = asyncio.create_task(node.rpc.ask(ASKER.public.peer_id, HostInfoRequest()))
    question = decode_message(await node.published.get())
    node.hear(build_reply(MACHINE, open_request(question, ASKER), ASKER, now_unix=0))
    assert await asking == MACHINE
    node.hear(node.question(HostInfoRequest()))
    assert (await node.said()).body == MACHINE
    assert node.rpc.outcomes[ReplyOutcome.TAKEN] == 1


async def test_every_recorded_question_is_answered() -> None:
    """Those of real reference nodes, read by the node that they were for."""
    keys = {
        GOLDEN[role]["PeerID"]: PrivateKey.from_protobuf(base64.b64decode(GOLDEN[role]["PrivKey"]))
        for role in ("input", "worker")
    }
    answered = set()
    for recorded in GOLDEN["messages"]:
        message = decode_message(bytes.fromhex(recorded["hex"]))
        if not message.header.receiver:
            continue
        node = Node(keys[message.header.receiver])
        node.hear(message, PeerId(recorded["from"]))
        if not node.server.outcomes[QuestionOutcome.TAKEN]:
            continue
        reply = await node.said(keys[recorded["from"]])
        assert reply.id == message.header.id
        asks_model = message.type in {MessageType.CHAT_COMPLETION, MessageType.IMAGE_GENERATION}
        assert reply.code == (Code.MODEL if asks_model else 0), reply.message
        answered.add(message.type)
        await node.server.drain()
        await node.backends.close()
    assert answered == set(MessageType)


async def test_bytes_of_any_kind_are_dropped(node: Node) -> None:
    for data in (b"", b"\xff" * 100, b"\x0a\x00", encode_message(Message(Header(id="x"), MessageType.HOST_INFO))):
        node.hear(data)
    assert not node.server.outcomes


async def test_what_a_model_server_says_is_for_whoever_asked(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """It may repeat the question, and the log is read by others."""
    caplog.set_level(logging.INFO)
    async with MockModelServer() as server:
        server.plan = Plan(status=422, body=b'{"error":{"message":"bad input: my diagnosis"}}')
        await node.registry.register(Model.of("P", "m", server.chat_url, 0, "c1"))
        node.hear(node.question(ChatCompletionRequest("P", "m", cid="c1")))
        reply = await node.said()
    assert "diagnosis" in reply.message
    assert "diagnosis" not in caplog.text
    assert "backend_refused" in caplog.text
