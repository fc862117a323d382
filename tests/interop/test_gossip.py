"""Gossip between our host and Go peers: signed, whole, once, and passed on."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from aicn.p2p.host import PubsubRouter
from interop.conftest import HostStart, OracleStart
from interop.oracle import Oracle
from interop.our_host import TOPIC, OurHost

PSK = bytes(range(32))
both_routers = pytest.mark.parametrize("router", list(PubsubRouter))
both_networks = pytest.mark.parametrize("psk", [PSK, None], ids=["psk", "public"])


async def meet(ours: OurHost, go: Oracle) -> None:
    """Dial from our side and wait until each knows that the other listens."""
    await ours.host.connect(go.addr)
    await know_each_other(ours, go)


async def know_each_other(ours: OurHost, go: Oracle) -> None:
    await asyncio.gather(ours.subscribed(go.peer), go.event("subscribed", peer=ours.peer))


async def talk(ours: OurHost, go: Oracle, word: bytes = b"") -> None:
    """Gossip flows both ways, under the right names."""
    await go.publish(b"of go" + word)
    heard, told = await asyncio.gather(ours.gossip(b"of go" + word), go.event("published", data=b"of go" + word))
    assert (heard.source, heard.topic, heard.seqno) == (go.peer, TOPIC, told["seqno"])

    assert await ours.host.publish(TOPIC, b"of ours" + word) >= 1
    event = await go.event("gossip", data=b"of ours" + word)
    assert event["from"] == ours.peer
    assert len(event["seqno"]) == 8


@both_routers
@both_networks
async def test_both_ways(start_host: HostStart, start_oracle: OracleStart, router: str, psk: bytes | None) -> None:
    ours, go = await start_host(router=router, psk=psk), await start_oracle(router=router, psk=psk)
    await meet(ours, go)
    await talk(ours, go)


@pytest.mark.parametrize(("our_router", "go_router"), [("floodsub", "gossipsub"), ("gossipsub", "floodsub")])
async def test_routers_may_differ(
    start_host: HostStart, start_oracle: OracleStart, our_router: str, go_router: str
) -> None:
    ours, go = await start_host(router=our_router), await start_oracle(router=go_router)
    await meet(ours, go)
    await talk(ours, go)


@both_routers
async def test_our_host_passes_on_between_go_peers(
    start_host: HostStart, start_oracle: OracleStart, router: str
) -> None:
    ours = await start_host(router=router, psk=PSK)
    one, two = [await start_oracle(router=router, psk=PSK, prefix=apart) for apart in ("/one", "/two")]
    await asyncio.gather(meet(ours, one), meet(ours, two))
    for source, target in ((one, two), (two, one)):
        await source.publish(source.peer.encode())
        event, told = await asyncio.gather(target.event("gossip", data=source.peer.encode()), source.event("published"))
        assert (event["from"], event["via"], event["seqno"]) == (source.peer, ours.peer, told["seqno"])
    assert await one.connections(two.peer) == []


@both_routers
async def test_go_passes_on_between_our_hosts(start_host: HostStart, start_oracle: OracleStart, router: str) -> None:
    go = await start_oracle(router=router, psk=PSK, prefix="/apart")
    one, two = await start_host(router=router, psk=PSK), await start_host(router=router, psk=PSK)
    await asyncio.gather(meet(one, go), meet(two, go))
    for source, target in ((one, two), (two, one)):
        hearing = asyncio.create_task(target.gossip(source.peer.encode()))
        # Again and again: with gossipsub, Go passes nothing on to a peer whose graft has not reached it yet.
        while not hearing.done():
            await source.host.publish(TOPIC, source.peer.encode())
            await asyncio.wait([hearing], timeout=0.5)
        assert (await hearing).source == source.peer
    assert one.host.connection(two.peer) is None


async def test_go_has_us_as_a_direct_peer(start_host: HostStart, start_oracle: OracleStart) -> None:
    """So a Go node treats its bootstrap peers: outside the mesh, and it refuses to be grafted by them."""
    ours = await start_host(router="gossipsub", psk=PSK)
    direct = await start_oracle(router="gossipsub", psk=PSK, prefix="/one", bootstrap=[ours.addr])
    other = await start_oracle(router="gossipsub", psk=PSK, prefix="/two")
    await asyncio.gather(know_each_other(ours, direct), meet(ours, other))
    await talk(ours, direct)
    for source, target in ((direct, other), (other, direct)):
        await source.publish(source.peer.encode())
        assert (await target.event("gossip", data=source.peer.encode()))["from"] == source.peer


@both_routers
async def test_go_starts_gossip_after_it_has_dialled(
    start_host: HostStart, start_oracle: OracleStart, router: str
) -> None:
    """A Go node's DHT dials the bootstrap peers while the node is still being built: gossip is refused at first."""
    ours = await start_host(router=router, psk=PSK)
    go = await start_oracle(router=router, psk=PSK, bootstrap=[ours.addr], gossip_after_ms=300)
    await know_each_other(ours, go)
    await talk(ours, go)


async def eventually_talk(ours: OurHost, go: Oracle) -> None:
    """Have both hear each other, again and again until it works."""
    for hearing, say in (
        (asyncio.create_task(ours.gossip(b"of go")), partial(go.publish, b"of go")),
        (asyncio.create_task(go.event("gossip", data=b"of ours")), partial(ours.host.publish, TOPIC, b"of ours")),
    ):
        while not hearing.done():
            await say()
            await asyncio.wait([hearing], timeout=0.5)
        await hearing


@both_routers
async def test_nearly_a_mebibyte(start_host: HostStart, start_oracle: OracleStart, router: str) -> None:
    """The limit of 1 MiB counts the envelope too."""
    ours, go = await start_host(router=router, psk=PSK), await start_oracle(router=router, psk=PSK)
    await meet(ours, go)
    await talk(ours, go, bytes(1_000_000))


async def test_more_than_a_mebibyte_from_go_harms_nothing(start_host: HostStart, start_oracle: OracleStart) -> None:
    """With floodsub it does, as between two Go nodes: the sender loses its stream and forgets who listens."""
    ours, go = await start_host(router="gossipsub", psk=PSK), await start_oracle(router="gossipsub", psk=PSK)
    await meet(ours, go)
    for _ in range(2):
        await go.publish(bytes(1_200_000))
        await eventually_talk(ours, go)
    assert len(await go.connections(ours.peer)) == 1


@both_routers
async def test_each_message_once_in_a_triangle(start_host: HostStart, start_oracle: OracleStart, router: str) -> None:
    ours = await start_host(router=router, psk=PSK)
    one, two = await start_oracle(router=router, psk=PSK), await start_oracle(router=router, psk=PSK)
    await one.connect(two.addr)
    await asyncio.gather(meet(ours, one), meet(ours, two), one.event("subscribed", peer=two.peer))
    words = [f"{number}".encode() for number in range(50)]
    for word in words:
        await one.publish(b"go " + word)
        await ours.host.publish(TOPIC, b"ours " + word)
    for word in words:
        await asyncio.gather(
            ours.gossip(b"go " + word),
            one.event("gossip", data=b"ours " + word),
            two.event("gossip", data=b"ours " + word),
            two.event("gossip", data=b"go " + word),
        )
    for go in (one, two):
        await talk(ours, go, go.peer.encode())
    # A second copy would have come before what was said last, for all that is known of it.
    every = {kind + word for kind in (b"go ", b"ours ") for word in words}
    assert not every & {event["data"] for go in (one, two) for event in go.heard("gossip")}
    assert [ours.copies(word) for word in every] == [0] * len(every)


@both_routers
async def test_after_a_new_connection(start_host: HostStart, start_oracle: OracleStart, router: str) -> None:
    """Gossip survives the loss of a connection, whoever ends it and whoever dials next."""
    ours, go = await start_host(router=router, psk=PSK), await start_oracle(router=router, psk=PSK)
    await meet(ours, go)
    await ours.host.disconnect(go.peer)
    await asyncio.gather(go.event("disconnected", peer=ours.peer), go.event("unsubscribed", peer=ours.peer))
    await go.connect(ours.addr)
    await know_each_other(ours, go)
    await talk(ours, go, b" again")
    await go.disconnect(ours.peer)
    await go.event("unsubscribed", peer=ours.peer)
    await ours.forgets(go.peer)
    await meet(ours, go)
    await talk(ours, go, b" and again")
