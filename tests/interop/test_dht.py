"""The DHT across our hosts and Go peers: announced by one, found by the other, in every pair of parts."""

from __future__ import annotations

import asyncio

import pytest

from aicn.errors import NotConnected
from aicn.identity import PrivateKey
from aicn.ids import PeerId
from aicn.p2p.rendezvous import rendezvous_key
from interop.conftest import HostStart, OracleStart
from interop.oracle import Oracle
from interop.oracle_build import OracleFailed
from interop.oracle_process import PATIENCE_S
from interop.our_host import TOPIC, OurHost

PSK = bytes(range(32))
KEY = rendezvous_key(TOPIC)


async def found_by_us(ours: OurHost, wanted: PeerId) -> tuple[str, ...]:
    """Ask until `wanted` is found to provide the topic: a record needs a moment to arrive."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            for provider in await ours.host.find_providers(KEY, timeout_s=10):
                if provider.peer == wanted:
                    return provider.addrs


async def found_by_go(go: Oracle, wanted: PeerId) -> list[str]:
    """Ask until `wanted` is found, and return its addresses without /p2p, which some answers carry."""
    async with asyncio.timeout(PATIENCE_S):
        while wanted not in (found := await go.find(TOPIC)):
            pass
    return [addr.removesuffix(f"/p2p/{wanted}") for addr in found[wanted]]


async def located_by_go(go: Oracle, wanted: PeerId) -> list[str]:
    """Ask until addresses are told: Go tells none of a peer that has dialled it and is not identified yet."""
    async with asyncio.timeout(PATIENCE_S):
        while not (addrs := await go.find_peer(wanted)):
            pass
    return addrs


def without_id(go: Oracle) -> str:
    return go.addr.removesuffix(f"/p2p/{go.peer}")


async def joined(ours: OurHost, go: Oracle) -> None:
    """Connect, and wait until identify has told each what the other speaks."""
    await ours.host.connect(go.addr)
    await asyncio.gather(ours.identified(go.peer), go.identify(ours.peer))


@pytest.mark.parametrize("psk", [PSK, None], ids=["psk", "public"])
async def test_we_serve_and_go_asks(start_host: HostStart, start_oracle: OracleStart, psk: bytes | None) -> None:
    ours, go = await start_host(psk=psk, dht="server"), await start_oracle(psk=psk, dht="client")
    await joined(ours, go)
    await go.routing_peer(ours.peer)
    await go.provide(TOPIC)
    assert without_id(go) in await found_by_us(ours, go.peer)
    await ours.host.provide(KEY)
    assert str(ours.host.listen_addrs()[0]) in await found_by_go(go, ours.peer)


@pytest.mark.parametrize("psk", [PSK, None], ids=["psk", "public"])
async def test_go_serves_and_we_ask(start_host: HostStart, start_oracle: OracleStart, psk: bytes | None) -> None:
    ours, go = await start_host(psk=psk, dht="client"), await start_oracle(psk=psk, dht="server")
    await joined(ours, go)
    await ours.host.provide(KEY)
    assert str(ours.host.listen_addrs()[0]) in await found_by_go(go, ours.peer)
    # It finds no other server to tell and says so, but keeps the record itself: the first Input of a network.
    with pytest.raises(OracleFailed, match="failed to find any peer in table"):
        await go.provide(TOPIC)
    assert without_id(go) in await found_by_us(ours, go.peer)


async def test_clients_meet_through_our_server(start_host: HostStart, start_oracle: OracleStart) -> None:
    server = await start_host(psk=PSK, dht="server")
    ours, go = await start_host(psk=PSK, dht="client"), await start_oracle(psk=PSK, dht="client")
    await asyncio.gather(ours.host.connect(server.addr), go.connect(server.addr))
    await asyncio.gather(ours.identified(server.peer), go.routing_peer(server.peer))
    await meet_as_clients(ours, go)


async def test_clients_meet_through_a_go_server(start_host: HostStart, start_oracle: OracleStart) -> None:
    server = await start_oracle(psk=PSK, dht="server")
    ours, go = await start_host(psk=PSK, dht="client"), await start_oracle(psk=PSK, dht="client")
    await asyncio.gather(ours.host.connect(server.addr), go.connect(server.addr))
    await asyncio.gather(ours.identified(server.peer), go.routing_peer(server.peer))
    await meet_as_clients(ours, go)


async def meet_as_clients(ours: OurHost, go: Oracle) -> None:
    """Two clients that know a common server only: each finds the other, with an address that answers."""
    assert ours.host.connection(go.peer) is None
    await asyncio.gather(ours.host.provide(KEY), go.provide(TOPIC))
    our_addr = str(ours.host.listen_addrs()[0])
    assert without_id(go) in await found_by_us(ours, go.peer)
    assert our_addr in await found_by_go(go, ours.peer)
    assert await go.connect(f"{our_addr}/p2p/{ours.peer}") == ours.peer


async def test_find_peer_through_our_server(start_host: HostStart, start_oracle: OracleStart) -> None:
    """A server tells where its own connections are, were they only clients."""
    server = await start_host(psk=PSK, dht="server")
    one, two = await start_oracle(psk=PSK, dht="server"), await start_oracle(psk=PSK, dht="server")
    for go in (one, two):
        await go.connect(server.addr)
        await asyncio.gather(go.routing_peer(server.peer), server.identified(go.peer))
    assert without_id(two) in await located_by_go(one, two.peer)
    assert without_id(one) in await located_by_go(two, one.peer)


async def test_find_peer_through_a_go_server(start_host: HostStart, start_oracle: OracleStart) -> None:
    server = await start_oracle(psk=PSK, dht="server")
    ours, other = await start_host(psk=PSK, dht="client"), await start_oracle(psk=PSK, dht="client")
    await asyncio.gather(joined(ours, server), other.connect(server.addr))
    await other.routing_peer(server.peer)
    assert without_id(other) in (await ours.host.find_peer(other.peer, timeout_s=20)).addrs
    assert str(ours.host.listen_addrs()[0]) in await located_by_go(other, ours.peer)
    with pytest.raises(NotConnected):
        await ours.host.find_peer(PrivateKey.generate().public.peer_id, timeout_s=5)


async def test_more_than_twenty_providers(start_host: HostStart, start_oracle: OracleStart) -> None:
    """The twenty-first worker of a network is found too: our answers hold twenty, not always the same."""
    server, seeker = await start_host(psk=PSK, dht="server"), await start_oracle(psk=PSK, dht="client")
    hosts = [await start_host(psk=PSK, dht="client") for _ in range(24)]
    await seeker.connect(server.addr)
    await seeker.routing_peer(server.peer)
    for host in hosts:
        await host.host.connect(server.addr)
        await host.identified(server.peer)
        await host.host.provide(KEY)
    missing = {host.peer for host in hosts}
    async with asyncio.timeout(PATIENCE_S):
        while missing:
            missing -= set(await seeker.find(TOPIC))
