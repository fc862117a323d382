"""Who refuses a stream: a node of an old release is asked over gossip, one that breaks off is not waited for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from aicn import defaults
from aicn.errors import AicnError, IdentityError, NetworkTimeout, StreamRefused, StreamReset
from aicn.ids import Multiaddr, PeerId
from aicn.p2p.host import Connection, Direction, PeerIdentity, Stream
from aicn.p2p.pipe import stream_pair
from aicn.routing import Ask, LegacyStreams
from aicn.routing.exchange import ask_peer
from support.scripted_peers import ANY, MODEL, PROJECT

PEER, OWN = PeerId("peer"), PeerId("own")
STREAMS = frozenset({defaults.CHAT_PROXY_PROTOCOL})
CHAT = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'


@dataclass
class Scene:
    """The host, the gossip and the streams of one node, as far as they are asked about one peer."""

    protocols: frozenset[str] | None
    connected: bool
    spoke_before: bool | None = None
    refuses: bool = True
    asked_over_gossip: int = 0
    fault: AicnError = field(default_factory=lambda: NetworkTimeout("nobody has answered"))

    def identity(self, peer: PeerId) -> PeerIdentity | None:
        if self.protocols is None:
            return None
        return PeerIdentity(peer, "", "", tuple(self.protocols), (), b"")

    def connection(self, peer: PeerId) -> Connection | None:
        addr = Multiaddr("/ip4/127.0.0.1")
        made = Connection(peer, addr, Direction.INBOUND, relayed=False, rtt_us=None, conn_id="1")
        return made if self.connected else None

    async def ask(self, *_: Any) -> Any:
        self.asked_over_gossip += 1
        raise self.fault

    async def open_stream(self, peer: PeerId, protocol: str, first: bytes) -> Stream:
        if self.refuses:
            raise StreamRefused("it does not speak the protocol")
        asking, answering = stream_pair(OWN, peer, protocol)
        await asking.write(first)
        await answering.finish(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        return asking

    async def chat(self, streams: LegacyStreams) -> int:
        async with ask_peer(streams.open, PEER, ANY, Ask(PROJECT, MODEL, CHAT)) as answer:
            return answer.status

    def streams(self) -> LegacyStreams:
        host: Any = self
        return LegacyStreams(host, host, self.open_stream, lambda _, __: self.spoke_before)


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(Scene(STREAMS, connected=True), id="its connection is going"),
        pytest.param(Scene(None, connected=False), id="its connection is gone"),
        pytest.param(Scene(None, connected=True, spoke_before=True), id="it is connected anew"),
    ],
)
@pytest.mark.parametrize("used", [False, True])
async def test_node_that_breaks_off_as_it_is_asked_is_not_asked_over_gossip(after: Scene, *, used: bool) -> None:
    scene = Scene(STREAMS, connected=True, refuses=False)
    streams = scene.streams()
    if used:
        assert await scene.chat(streams) == 200
    scene.refuses, scene.spoke_before = True, after.spoke_before
    if used:
        # What is known of a peer that took the last stream is not looked at, and may have changed.
        scene.protocols, scene.connected = after.protocols, after.connected
    with pytest.raises(StreamReset):
        await scene.chat(streams)
    assert scene.asked_over_gossip == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(None, None, id="it has not said what it speaks"),
        pytest.param(STREAMS, frozenset(), id="it has become an old one"),
        pytest.param(frozenset(), frozenset(), id="it is known to be old"),
    ],
)
async def test_node_of_an_old_release_is_asked_over_gossip(
    before: frozenset[str] | None, after: frozenset[str] | None
) -> None:
    scene = Scene(before, connected=True, refuses=False)
    streams = scene.streams()
    if before == STREAMS:
        assert await scene.chat(streams) == 200
    scene.refuses, scene.protocols = True, after
    assert await scene.chat(streams) == 500
    assert scene.asked_over_gossip == 1


async def test_node_for_which_nothing_can_be_sealed_has_failed() -> None:
    scene = Scene(frozenset(), connected=True)
    scene.fault = IdentityError("the peer's key carries no secp256k1 key")
    with pytest.raises(StreamReset, match="cannot be asked over gossip"):
        await scene.chat(scene.streams())
