"""What only the in-memory hosts can do: lose a link on command."""

from __future__ import annotations

import asyncio

import pytest

from aicn.errors import DialFailed, StreamReset
from aicn.identity import PrivateKey
from aicn.ids import Multiaddr
from aicn.multiaddr import with_peer
from aicn.p2p.host import HostConfig, PeerDisconnected, ReachabilityChanged
from aicn.p2p.memory import MemoryHost, MemoryNetwork
from support.hosts import ANY_PORT, DEADLINE_S, PROTOCOL, Witness, echo


async def _start(network: MemoryNetwork, *listen_addrs: Multiaddr) -> Witness:
    key = PrivateKey.generate().protobuf
    host = MemoryHost(network, HostConfig(key, listen_addrs=listen_addrs, stream_protocols=(PROTOCOL,)))
    host.on_stream(PROTOCOL, echo)
    witness = Witness(host)
    await host.start()
    return witness


@pytest.mark.parametrize("server_first", [True, False])
async def test_cut_link_is_lost_until_it_is_mended(*, server_first: bool) -> None:
    """Also where only one of the two listens, and whichever is named first."""
    network = MemoryNetwork()
    server, client = await _start(network, ANY_PORT), await _start(network)
    addr = with_peer(server.host.listen_addrs()[0], server.peer)
    await client.host.connect(addr)
    stream = await client.host.open_stream(server.peer, PROTOCOL)
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0)

    pair = (server.peer, client.peer) if server_first else (client.peer, server.peer)
    network.cut(*pair)
    assert server.host.connections() == client.host.connections() == ()
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(StreamReset):
            await reading
    await server.until_told(PeerDisconnected, client.peer)
    await client.until_told(PeerDisconnected, server.peer)
    with pytest.raises(DialFailed):
        await client.host.connect(addr)

    network.mend(*reversed(pair))
    assert await client.host.connect(addr) == server.peer
    await client.host.close()
    await server.host.close()


async def test_reachability_is_told_as_a_simulation_wants_it() -> None:
    host = MemoryHost(MemoryNetwork(), HostConfig(PrivateKey.generate().protobuf))
    witness = Witness(host)
    await host.start()
    for public in (True, False, None):
        host.tell_reachability(public)
    told = [ReachabilityChanged(public=public) for public in (True, False, None)]
    await witness.until(lambda: witness.events == told)
    await host.close()


@pytest.mark.parametrize("cut_relay", [True, False])
async def test_circuit_breaks_with_its_relay_and_not_with_the_direct_link(*, cut_relay: bool) -> None:
    network = MemoryNetwork()
    config = HostConfig(PrivateKey.generate().protobuf, listen_addrs=(ANY_PORT,), relay_service=True)
    relay = Witness(MemoryHost(network, config))
    await relay.host.start()
    hidden, caller = await _start(network), await _start(network, ANY_PORT)
    circuit = Multiaddr(f"{relay.addr}/p2p-circuit")
    await hidden.host.listen(circuit)
    await caller.host.connect(with_peer(circuit, hidden.peer))
    network.cut(caller.peer, relay.peer if cut_relay else hidden.peer)
    assert (caller.host.connection(hidden.peer) is None) is cut_relay
    assert (hidden.host.connection(caller.peer) is None) is cut_relay
    for host in (caller.host, hidden.host, relay.host):
        await host.close()
