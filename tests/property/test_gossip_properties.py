"""Whatever a peer sends over gossip, the reader of a node's mail goes on."""

from __future__ import annotations

import asyncio
import dataclasses

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aicn.backends import BackendClient
from aicn.clock import ManualClock
from aicn.identity import PrivateKey
from aicn.p2p.host import GossipMessage, HostConfig
from aicn.p2p.memory import MemoryHost, MemoryNetwork
from aicn.p2p.rpc import Rpc
from aicn.peers import Directory, HeartbeatInbox, NodeFlags
from aicn.registry import Model, ModelRegistry
from aicn.serving import GossipMail, GossipModels, GossipServer, NodeFacts
from aicn.wire.messages import (
    Header,
    HostInfoRequest,
    HostInfoResponse,
    Message,
    MessageType,
    decode_message,
    encode_message,
)
from aicn.wire.seal import seal

OWN, PEER = PrivateKey.generate(), PrivateKey.generate()

text = st.text(max_size=20)
headers = st.builds(
    Header,
    client_version=text,
    timestamp=st.integers(-(2**63), 2**63 - 1),
    id=text,
    node_id=st.sampled_from([PEER.public.peer_id, OWN.public.peer_id, ""]) | text,
    receiver=st.just(OWN.public.peer_id) | text,
    node_pub_key=st.sampled_from([PEER.public.protobuf, OWN.public.protobuf, b""]) | st.binary(max_size=40),
    sign=st.binary(max_size=4),
)
bodies = st.binary(max_size=60) | st.binary(max_size=60).map(lambda plain: seal(plain, PEER, OWN.public))
messages = st.builds(
    Message,
    header=headers,
    type=st.sampled_from(MessageType),
    body=bodies,
    result_code=st.sampled_from([0, 0, 0, 1007, -1]),
    result_message=text,
)
payloads = st.binary(max_size=200) | messages.map(encode_message)


async def _save(_: tuple[Model, ...]) -> None:
    return


async def _machine() -> HostInfoResponse:
    return HostInfoResponse()


def _as_reply(message: Message, question: Message) -> bytes:
    header = dataclasses.replace(message.header, id=question.header.id)
    return encode_message(dataclasses.replace(message, header=header, type=question.type))


async def _hear(heard: list[bytes | Message]) -> None:
    clock = ManualClock()
    published: asyncio.Queue[bytes] = asyncio.Queue()
    registry = ModelRegistry(save=_save)
    backends = BackendClient()
    host = MemoryHost(MemoryNetwork(), HostConfig(OWN.protobuf))
    rpc = Rpc(OWN, published.put, clock)
    server = GossipServer(
        OWN,
        published.put,
        clock,
        facts=NodeFacts(host, registry, NodeFlags(0), _machine, agent_version=""),
        models=GossipModels(registry, backends),
    )
    mail = GossipMail(OWN.public.peer_id, HeartbeatInbox(Directory(clock), clock), rpc, server)
    asking = asyncio.create_task(rpc.ask(PEER.public.peer_id, HostInfoRequest(), timeout_s=60))
    question = decode_message(await published.get())
    for each in heard:
        # A message is sent as if it were the reply to what was asked; bytes as they are.
        payload = _as_reply(each, question) if isinstance(each, Message) else each
        mail.receive(GossipMessage("t", PEER.public.peer_id, b"", payload))
    await server.drain()
    assert published.qsize() <= len(heard), "no message has two answers"
    rpc.close()
    await asyncio.gather(asking, return_exceptions=True)
    assert (rpc.pending, server.under_way) == (0, 0)
    await backends.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(payloads | messages, max_size=8))
def test_nothing_that_is_heard_ends_the_reader(heard: list[bytes | Message]) -> None:
    asyncio.run(_hear(heard))
