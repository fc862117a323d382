"""Our host and Go peers: dialled, dialling, both at once; who they are; who is refused."""

from __future__ import annotations

import asyncio

import pytest

from aicn.errors import DialFailed
from aicn.identity import PrivateKey
from aicn.ids import Multiaddr
from aicn.p2p.host import Direction, PeerIdentity
from interop.conftest import HostStart, OracleStart
from interop.oracle import Oracle
from interop.oracle_build import OracleFailed
from interop.our_host import CHAT_PROXY, TOPIC, OurHost
from interop.waiting import eventually

PSK = bytes(range(32))
OTHER_PSK = bytes(range(1, 33))
both_networks = pytest.mark.parametrize("psk", [PSK, None], ids=["psk", "public"])


@both_networks
async def test_we_dial(start_host: HostStart, start_oracle: OracleStart, psk: bytes | None) -> None:
    ours, go = await start_host(psk=psk), await start_oracle(psk=psk)
    assert await ours.host.connect(go.addr) == go.peer
    connection = ours.host.connection(go.peer)
    assert connection is not None
    assert (connection.direction, connection.relayed) == (Direction.OUTBOUND, False)
    assert f"{connection.addr}/p2p/{go.peer}" == go.addr
    seen = await go.event("connected", peer=ours.peer)
    assert (seen["direction"], seen["security"], seen["muxer"]) == ("Inbound", "/noise", "/yamux/1.0.0")


@both_networks
async def test_we_are_dialled(start_host: HostStart, start_oracle: OracleStart, psk: bytes | None) -> None:
    ours, go = await start_host(psk=psk), await start_oracle(psk=psk)
    assert await go.connect(ours.addr) == ours.peer
    await ours.identified(go.peer)
    connection = ours.host.connection(go.peer)
    assert connection is not None
    assert connection.direction is Direction.INBOUND
    assert [one["direction"] for one in await go.connections(ours.peer)] == ["Outbound"]


def keys(*, ours_first: bool) -> tuple[PrivateKey, PrivateKey]:
    """Return two keys whose peer ids stand in that order."""
    one, two = sorted((PrivateKey.generate() for _ in range(2)), key=lambda key: key.public.protobuf)
    return (one, two) if ours_first else (two, one)


async def settled(ours: OurHost, go: Oracle) -> None:
    """Wait until both sides hold one and the same connection."""

    async def one_each() -> bool:
        return len(ours.host.connections()) == 1 == len(await go.connections(ours.peer))

    await eventually("one connection is left on each side", one_each)


async def forgotten(ours: OurHost, go: Oracle) -> None:
    """Wait until the Go side has nothing of ours left."""

    async def nothing() -> bool:
        return not await go.connections(ours.peer) and not await go.topic_peers()

    await eventually("Go has forgotten us", nothing)


async def subscribed(ours: OurHost, go: Oracle) -> None:
    """Wait until each side knows that the other listens to the topic."""

    async def go_knows() -> bool:
        return ours.peer in await go.topic_peers()

    await asyncio.gather(ours.knows(go.peer), eventually("Go knows of our subscription", go_knows))


@pytest.mark.parametrize("ours_first", [True, False], ids=["our id is lower", "our id is higher"])
@pytest.mark.parametrize("router", ["floodsub", "gossipsub"])
async def test_both_dial_at_once(
    start_host: HostStart, start_oracle: OracleStart, router: str, *, ours_first: bool
) -> None:
    """Two connections would leave the Go side deaf to our gossip as soon as one of them goes.

    Not more often with one pair: pubsub gives up a peer of which it has lost five of two connections in ten minutes.
    """
    our_key, their_key = keys(ours_first=ours_first)
    ours = await start_host(router=router, psk=PSK, key=our_key)
    go = await start_oracle(router=router, psk=PSK, key=their_key.protobuf)
    for number in range(2):
        await asyncio.gather(ours.host.connect(go.addr), go.connect(ours.addr))
        await settled(ours, go)
        ours_said, go_said = f"ours {number}".encode(), f"go {number}".encode()
        await subscribed(ours, go)
        await asyncio.gather(ours.host.publish(TOPIC, ours_said), go.publish(go_said))
        heard, event = await asyncio.gather(ours.gossip(go_said), go.event("gossip", data=ours_said))
        assert (heard.source, event["from"]) == (go.peer, ours.peer)
        await settled(ours, go)
        await ours.host.disconnect(go.peer)
        await forgotten(ours, go)


def known(ours: OurHost, go: Oracle) -> PeerIdentity:
    identity = ours.host.identity(go.peer)
    assert identity is not None
    return identity


async def test_identify(start_host: HostStart, start_oracle: OracleStart) -> None:
    ours, go = await start_host(psk=PSK), await start_oracle(psk=PSK)
    await ours.host.connect(go.addr)

    of_ours = await go.identify(ours.peer)
    assert of_ours["protocol_version"] == "aicn/0.0.1"
    assert of_ours["agent_version"] == "AIComputingNode@interop"
    assert set(of_ours["protocols"]) == set(ours.host.protocols)
    assert {
        CHAT_PROXY,
        "/dbc/kad/1.0.0",
        "/floodsub/1.0.0",
        "/ipfs/id/1.0.0",
        "/ipfs/ping/1.0.0",
        "/libp2p/autonat/1.0.0",
    } <= set(of_ours["protocols"])
    assert str(ours.host.listen_addrs()[0]) in of_ours["addrs"]

    of_go = await ours.identified(go.peer)
    assert (of_go.peer, of_go.protocol_version) == (go.peer, "aicn/0.0.1")
    assert of_go.agent_version == "AIComputingNode@oracle"
    theirs = set(await go.protocols())
    await eventually("Go has named all its protocols", lambda: set(known(ours, go).protocols) == theirs)
    assert go.addr.removesuffix(f"/p2p/{go.peer}") in of_go.listen_addrs


async def test_identify_tells_the_key(start_host: HostStart, start_oracle: OracleStart) -> None:
    our_key, their_key = PrivateKey.generate(), PrivateKey.generate()
    ours, go = await start_host(key=our_key), await start_oracle(key=their_key.protobuf)
    assert (ours.peer, go.peer) == (our_key.public.peer_id, their_key.public.peer_id)
    await go.connect(ours.addr)
    assert (await ours.identified(go.peer)).public_key == their_key.public.protobuf
    assert (await go.identify(ours.peer))["public_key"] == our_key.public.protobuf


async def test_ping_both_ways(start_host: HostStart, start_oracle: OracleStart) -> None:
    ours, go = await start_host(psk=PSK), await start_oracle(psk=PSK)
    await ours.host.connect(go.addr)
    await go.event("connected", peer=ours.peer)
    assert 0 < await go.ping(ours.peer) < 1_000_000

    def measured_us() -> int:
        connection = ours.host.connection(go.peer)
        return (connection.rtt_us or 0) if connection else 0

    await eventually("a round trip is measured", lambda: measured_us() > 0)
    assert measured_us() < 1_000_000


@pytest.mark.parametrize(
    ("our_psk", "their_psk"),
    [(PSK, OTHER_PSK), (PSK, None), (None, PSK)],
    ids=["another key", "they have none", "we have none"],
)
async def test_another_network_is_refused(
    start_host: HostStart, start_oracle: OracleStart, our_psk: bytes | None, their_psk: bytes | None
) -> None:
    """Random bytes for a greeting: now and then they look like the start of a long one, and only time tells."""
    ours, go = await start_host(psk=our_psk, dial_timeout_s=2), await start_oracle(psk=their_psk)
    with pytest.raises(DialFailed) as refused:
        await ours.host.connect(go.addr, timeout_s=20)
    address = go.addr.removesuffix(f"/p2p/{go.peer}")
    assert address in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(OracleFailed, match="connect"):
        await go.connect(ours.addr, timeout_ms=2_000)
    assert ours.host.connections() == ()
    assert await go.connections() == []


async def test_another_peer_at_the_address_is_refused(start_host: HostStart, start_oracle: OracleStart) -> None:
    ours, go = await start_host(psk=PSK), await start_oracle(psk=PSK)
    stranger = PrivateKey.generate().public.peer_id
    with pytest.raises(DialFailed, match=go.peer):
        await ours.host.connect(Multiaddr(go.addr.replace(go.peer, stranger)))
    with pytest.raises(OracleFailed, match="peer id mismatch"):
        await go.connect(ours.addr.replace(ours.peer, stranger))


async def test_an_end_is_seen_on_the_other_side(start_host: HostStart, start_oracle: OracleStart) -> None:
    ours, go = await start_host(psk=PSK), await start_oracle(psk=PSK)
    await ours.host.connect(go.addr)
    await go.event("connected", peer=ours.peer)
    await ours.host.disconnect(go.peer)
    await go.event("disconnected", peer=ours.peer)
    await ours.disconnected(go.peer)

    await ours.host.connect(go.addr)
    await go.kill()
    await ours.disconnected(go.peer)
    assert ours.host.connection(go.peer) is None
