"""Gossip becomes an entry of the directory, or is turned away and counted."""

from __future__ import annotations

import pytest

from aicn import defaults
from aicn.clock import ManualClock
from aicn.errors import MalformedMessage
from aicn.ids import ModelName, PeerId, ProjectName
from aicn.p2p.host import GossipMessage
from aicn.peers import Directory, HeartbeatInbox, NodeFlags, Outcome, build_heartbeat
from aicn.registry import Model
from aicn.wire.messages import Header, Message, MessageType, encode_message

_A, _B = PeerId("a"), PeerId("b")
_P, _M = ProjectName("P"), ModelName("m")


class _World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.directory = Directory(self.clock)
        self.inbox = HeartbeatInbox(self.directory, self.clock)
        self.seqno = 0

    def heartbeat(self, peer: PeerId, *cids: str) -> bytes:
        models = [Model.of("P", "m", "http://127.0.0.1/", 0, cid) for cid in cids]
        return build_heartbeat(peer, models, lambda _: 0, NodeFlags(0), self.clock.unix(), reveal_api=False)

    def gossip(self, source: PeerId, data: bytes) -> GossipMessage:
        self.seqno += 1
        return GossipMessage("DeepBrainChain", source, self.seqno.to_bytes(8, "big"), data)

    def served(self) -> set[tuple[str, str]]:
        return {(record.peer, offer.cid) for record, offer in self.directory.serving(_P, _M)}


def test_heartbeats_reach_the_directory() -> None:
    world = _World()
    assert world.inbox.receive(world.gossip(_A, world.heartbeat(_A, "1", "2"))) is Outcome.APPLIED
    assert world.inbox.receive(world.gossip(_B, world.heartbeat(_B, "1"))) is Outcome.APPLIED
    assert world.served() == {("a", "1"), ("a", "2"), ("b", "1")}
    world.clock.advance(1)
    assert world.inbox.receive(world.gossip(_A, world.heartbeat(_A))) is Outcome.APPLIED
    assert world.served() == {("b", "1")}
    assert world.inbox.outcomes == {Outcome.APPLIED: 3}


def test_nobody_speaks_for_another() -> None:
    world = _World()
    world.inbox.receive(world.gossip(_A, world.heartbeat(_A, "1")))
    assert world.inbox.receive(world.gossip(_B, world.heartbeat(_A))) is Outcome.MALFORMED
    assert world.served() == {("a", "1")}


def test_an_old_heartbeat_does_not_come_back() -> None:
    world = _World()
    old = world.gossip(_A, world.heartbeat(_A, "old"))
    world.inbox.receive(old)
    world.clock.advance(5)
    world.inbox.receive(world.gossip(_A, world.heartbeat(_A, "new")))
    world.clock.advance(500)
    assert world.inbox.receive(old) is Outcome.REPLAYED
    assert world.served() == {("a", "new")}
    world.clock.advance(500)
    assert world.served() == set()


def test_other_messages_are_left_to_others_at_any_rate() -> None:
    world = _World()
    request = encode_message(
        Message(header=Header(node_id=_A, id="uuid", receiver=_B), type=MessageType.HOST_INFO, body=b"sealed")
    )
    for _ in range(10 * defaults.HEARTBEAT_BURST):
        assert world.inbox.receive(world.gossip(_A, request)) is Outcome.OTHER
    assert world.inbox.receive(world.gossip(_A, world.heartbeat(_A, "1"))) is Outcome.APPLIED


def test_a_talkative_peer_is_heard_at_its_rate_and_the_others_not_less() -> None:
    world = _World()
    outcomes = [
        world.inbox.receive(world.gossip(_A, world.heartbeat(_A, str(number))))
        for number in range(defaults.HEARTBEAT_BURST + 5)
    ]
    assert outcomes == [Outcome.APPLIED] * defaults.HEARTBEAT_BURST + [Outcome.TOO_MANY] * 5
    assert world.inbox.receive(world.gossip(_B, world.heartbeat(_B, "1"))) is Outcome.APPLIED
    world.clock.advance(1 / defaults.HEARTBEATS_PER_S)
    assert world.inbox.receive(world.gossip(_A, world.heartbeat(_A, "last"))) is Outcome.APPLIED
    assert world.served() == {("a", "last"), ("b", "1")}
    assert world.inbox.outcomes[Outcome.TOO_MANY] == 5


def test_nonsense_uses_up_the_allowance() -> None:
    world = _World()
    outcomes = [world.inbox.receive(world.gossip(_A, b"\xff nonsense")) for _ in range(defaults.HEARTBEAT_BURST + 1)]
    assert outcomes == [Outcome.MALFORMED] * defaults.HEARTBEAT_BURST + [Outcome.TOO_MANY]
    assert len(world.directory) == 0


def test_a_node_hears_itself_in_its_own_words_at_any_rate() -> None:
    world = _World()
    for number in range(10 * defaults.HEARTBEAT_BURST):
        world.inbox.hear_own(world.heartbeat(_A, str(number)), _A)
    assert world.served() == {("a", str(10 * defaults.HEARTBEAT_BURST - 1))}
    assert world.inbox.outcomes == {}
    with pytest.raises(MalformedMessage):
        world.inbox.hear_own(world.heartbeat(_B, "1"), _A)
    request = Message(header=Header(node_id=_A, id="uuid"), type=MessageType.HOST_INFO)
    with pytest.raises(MalformedMessage, match="no heartbeat"):
        world.inbox.hear_own(encode_message(request), _A)
