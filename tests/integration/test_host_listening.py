"""What every host promises of the addresses it listens on, relays included: the native one and its twin in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from aicn.errors import AddressError, DialFailed, HostClosed, ListenFailed
from aicn.identity import PrivateKey
from aicn.ids import Multiaddr
from aicn.multiaddr import with_peer
from aicn.p2p.host import ListenAddrsChanged, PeerDisconnected, PeerIdentified
from support.hosts import ANY_PORT, DEADLINE_S, PROTOCOL, HostMaker, Witness, until


@pytest.fixture(params=["memory", "native"])
async def hosts(request: pytest.FixtureRequest) -> AsyncIterator[HostMaker]:
    maker = HostMaker(request.param)
    yield maker
    async with asyncio.timeout(DEADLINE_S):
        await maker.close()


def circuit(relay: Witness) -> Multiaddr:
    """Where a host can be called through `relay`."""
    return Multiaddr(f"{relay.addr}/p2p-circuit")


def told(witness: Witness) -> list[tuple[Multiaddr, ...]]:
    """Return every list of addresses that the host told."""
    return [event.addrs for event in witness.events if isinstance(event, ListenAddrsChanged)]


async def test_host_that_listens_on_nothing_can_begin_to_and_end(hosts: HostMaker) -> None:
    one, other = await hosts.start(listen_addrs=()), await hosts.start()
    assert one.host.listen_addrs() == ()
    await one.host.listen(ANY_PORT)
    (addr,) = one.host.listen_addrs()
    await other.host.connect(with_peer(addr, one.peer))
    await one.until(lambda: told(one) == [(addr,)])

    await one.host.unlisten(addr)
    assert one.host.listen_addrs() == ()
    await one.until(lambda: told(one) == [(addr,), ()])
    await one.until(lambda: one.host.connection(other.peer) is not None)
    await one.host.unlisten(addr)
    await other.host.disconnect(one.peer)
    with pytest.raises(DialFailed):
        await other.host.connect(with_peer(addr, one.peer))


async def test_address_goes_by_the_name_it_was_asked_for_too(hosts: HostMaker) -> None:
    one = await hosts.start()
    await one.host.unlisten(ANY_PORT)
    assert one.host.listen_addrs() == ()


async def test_address_that_is_taken_is_refused_and_the_others_stay(hosts: HostMaker) -> None:
    one, other = await hosts.start(), await hosts.start()
    (taken,) = other.host.listen_addrs()
    before = one.host.listen_addrs()
    with pytest.raises(ListenFailed, match=taken):
        await one.host.listen(taken)
    with pytest.raises(AddressError):
        await one.host.listen(Multiaddr("nonsense"))
    assert one.host.listen_addrs() == before


async def test_connected_peers_learn_of_a_new_address(hosts: HostMaker) -> None:
    one, other = await hosts.pair()
    await other.until_told(PeerIdentified, one.peer)
    await one.host.listen(ANY_PORT)
    fresh = set(one.host.listen_addrs())
    assert len(fresh) == 2

    def known() -> bool:
        identity = other.host.identity(one.peer)
        return identity is not None and fresh <= set(identity.listen_addrs)

    await until(known)


async def test_host_is_called_through_a_relay(hosts: HostMaker) -> None:
    relay, hidden, caller = await hosts.start(relay_service=True), await hosts.start(listen_addrs=()), None
    await hidden.host.listen(circuit(relay))
    await hidden.host.listen(circuit(relay))
    assert hidden.host.listen_addrs() == (circuit(relay),)
    caller = await hosts.start()
    await caller.host.connect(with_peer(circuit(relay), hidden.peer))
    connection = caller.host.connection(hidden.peer)
    assert connection is not None
    assert connection.relayed
    stream = await caller.host.open_stream(hidden.peer, PROTOCOL, first=b"through")
    assert stream.relayed
    assert await stream.read() == b"through"
    await stream.close()

    await relay.host.close()
    for witness, peer in ((caller, hidden.peer), (hidden, caller.peer), (hidden, relay.peer)):
        await witness.until_told(PeerDisconnected, peer)
    await hidden.until(lambda: hidden.host.listen_addrs() == ())


async def test_direct_address_is_taken_before_a_relayed_one(hosts: HostMaker) -> None:
    relay, both, caller = await hosts.start(relay_service=True), await hosts.start(), await hosts.start()
    await both.host.listen(circuit(relay))
    assert set(both.host.listen_addrs()) == {both.addr.removesuffix(f"/p2p/{both.peer}"), circuit(relay)}
    await caller.host.connect(both.addr)
    connection = caller.host.connection(both.peer)
    assert connection is not None
    assert not connection.relayed


async def test_relay_that_is_none_is_refused_and_nothing_is_kept(hosts: HostMaker) -> None:
    plain, one = await hosts.start(), await hosts.start()
    before = one.host.listen_addrs()
    with pytest.raises(ListenFailed):
        await one.host.listen(circuit(plain))
    nobody = PrivateKey.generate().public.peer_id
    with pytest.raises(ListenFailed):
        await one.host.listen(Multiaddr(f"/ip4/127.0.0.1/tcp/1/p2p/{nobody}/p2p-circuit"))
    assert one.host.listen_addrs() == before


async def test_lost_relay_is_asked_again_until_it_is_given_up(hosts: HostMaker) -> None:
    relay, hidden = await hosts.start(relay_service=True), await hosts.start(listen_addrs=())
    await hidden.host.listen(circuit(relay))
    await relay.host.disconnect(hidden.peer)
    await hidden.until(lambda: told(hidden) == [(circuit(relay),), (), (circuit(relay),)])
    await hidden.host.unlisten(circuit(relay))
    assert hidden.host.listen_addrs() == ()


async def test_relay_of_the_configuration_is_asked_until_it_is_there(hosts: HostMaker) -> None:
    key = PrivateKey.generate().protobuf
    relay = await hosts.start(relay_service=True, private_key=key)
    place = relay.addr
    await relay.host.close()
    hidden = await hosts.start(listen_addrs=(Multiaddr(f"{place}/p2p-circuit"),))
    assert hidden.host.listen_addrs() == ()
    again = await hosts.start(
        relay_service=True, private_key=key, listen_addrs=(Multiaddr(place.removesuffix(f"/p2p/{relay.peer}")),)
    )
    assert again.addr == place
    await hidden.until(lambda: hidden.host.listen_addrs() == (Multiaddr(f"{place}/p2p-circuit"),))


async def test_closed_host_listens_on_nothing_more(hosts: HostMaker) -> None:
    one = await hosts.start()
    await one.host.close()
    for call in (one.host.listen(ANY_PORT), one.host.unlisten(ANY_PORT)):
        with pytest.raises(HostClosed):
            await call
