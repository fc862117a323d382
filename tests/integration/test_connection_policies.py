"""Who stays connected: the connection manager, the gate and the relay client on real hosts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from aicn import defaults
from aicn.clock import SystemClock
from aicn.ids import PeerId
from aicn.p2p.connmgr import ConnectionManager
from aicn.p2p.gating import Gate
from aicn.p2p.host import HostEvent, PeerConnected, PeerDisconnected, ReachabilityChanged, Stream, StreamHandler
from aicn.p2p.relays import RelayClient, circuit
from support.hosts import DEADLINE_S, PROTOCOL, HostMaker, Witness, echo, until


@pytest.fixture(params=["native", "memory"])
async def hosts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HostMaker]:
    for name in ("CONNECTIONS_CHECK_S", "RELAY_RETRY_FIRST_S", "RELAY_RETRY_LAST_S"):
        monkeypatch.setattr(defaults, name, 0.02)
    maker = HostMaker(request.param)
    yield maker
    await maker.close()


@contextlib.asynccontextmanager
async def _running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        assert not task.done(), "the policy ended by itself"
        task.cancel()
        await asyncio.wait([task])


def _also(witness: Witness, *eyes: Callable[[HostEvent], None]) -> None:
    """Have `eyes` see what the witness sees. Before anything happens."""

    def see(event: HostEvent) -> None:
        witness._event(event)
        for eye in eyes:
            eye(event)

    witness.host.on_event(see)


class _Managed:
    """A host with a connection manager: two connections remain when there are more than three."""

    def __init__(self, maker: HostMaker, *, grace_s: float = 0.0) -> None:
        self.who = maker.make()
        self.worth: dict[PeerId, int] = {}
        self.keep: set[PeerId] = set()
        self.manager = ConnectionManager(
            self.who.host,
            low_water=2,
            high_water=3,
            grace_s=grace_s,
            worth=lambda peer: self.worth.get(peer, 0),
            keep=lambda: self.keep,
            clock=SystemClock(),
        )
        _also(self.who, self.manager.on_event)

    @contextlib.asynccontextmanager
    async def run(self, handler: StreamHandler = echo) -> AsyncIterator[None]:
        self.who.host.on_stream(PROTOCOL, self.manager.counting(handler))
        await self.who.host.start()
        async with _running(self.manager.run()):
            yield

    @property
    def connected(self) -> set[PeerId]:
        return {connection.peer for connection in self.who.host.connections()}

    def closed(self) -> int:
        return sum(isinstance(event, PeerDisconnected) for event in self.who.events)


async def _dial(managed: _Managed, others: list[Witness]) -> None:
    for other in others:
        await other.host.connect(managed.who.addr)


async def test_three_connections_are_not_too_many_and_four_are(hosts: HostMaker) -> None:
    managed = _Managed(hosts)
    async with managed.run():
        others = [await hosts.start() for _ in range(4)]
        managed.keep = {others[0].peer}
        managed.worth = {others[2].peer: 1}
        await _dial(managed, others[:3])
        await until(lambda: len(managed.connected) == 3)
        assert managed.closed() == 0
        await _dial(managed, others[3:])
        await until(lambda: managed.closed() == 2)
        assert managed.connected == {others[0].peer, others[2].peer}


async def test_young_connections_are_closed_when_they_are_old_enough(hosts: HostMaker) -> None:
    managed = _Managed(hosts, grace_s=0.3)
    async with managed.run():
        began_s = asyncio.get_running_loop().time()
        await _dial(managed, [await hosts.start() for _ in range(4)])
        await until(lambda: managed.closed() >= 1)
        assert asyncio.get_running_loop().time() - began_s >= 0.3
        await until(lambda: len(managed.connected) <= 3)


async def test_connection_that_carries_a_request_stays(hosts: HostMaker) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def wait(stream: Stream) -> None:
        entered.set()
        await leave.wait()
        await stream.finish(b"done")

    managed = _Managed(hosts)
    async with managed.run(wait):
        asking, asked, *others = [await hosts.start() for _ in range(5)]
        await asking.host.connect(managed.who.addr)
        stream = await asking.host.open_stream(managed.who.peer, PROTOCOL, first=b"x")
        await entered.wait()
        await managed.who.host.connect(asked.addr)
        with managed.manager.using(asked.peer):
            await _dial(managed, others)
            await until(lambda: managed.closed() >= 2)
            assert {asking.peer, asked.peer} <= managed.connected
        leave.set()
        async with asyncio.timeout(DEADLINE_S):
            assert await stream.read() == b"done"


async def test_gate_closes_who_is_not_welcome_and_judges_no_dial_of_ours(hosts: HostMaker) -> None:
    who = hosts.make()
    unwelcome: set[PeerId] = set()
    gate = Gate(who.host, lambda peer: peer not in unwelcome)
    _also(who, gate.on_event)
    who.host.on_stream(PROTOCOL, echo)
    await who.host.start()
    async with _running(gate.run()):
        stranger, guest = await hosts.start(), await hosts.start()
        unwelcome.add(stranger.peer)
        await stranger.host.connect(who.addr)
        await guest.host.connect(who.addr)
        await stranger.until_told(PeerDisconnected, who.peer)
        await who.until_told(PeerConnected, guest.peer)
        assert who.host.connection(guest.peer) is not None
        await until(lambda: who.host.connection(stranger.peer) is None)
        await who.host.connect(stranger.addr)
        stream = await who.host.open_stream(stranger.peer, PROTOCOL, first=b"x")
        assert await stream.read() == b"x"


async def test_host_is_called_through_relays_until_it_is_public(hosts: HostMaker) -> None:
    relay, late = await hosts.start(relay_service=True), await hosts.start(relay_service=True)
    who, caller = hosts.make(listen_addrs=()), await hosts.start()
    client = RelayClient(who.host, [relay.addr, late.addr])
    assert client.peers == {relay.peer, late.peer}
    who.host.on_stream(PROTOCOL, echo)
    await who.host.start()
    async with _running(client.run()):
        await until(lambda: len(who.host.listen_addrs()) == 2)
        await caller.host.connect(f"{circuit(relay.addr)}/p2p/{who.peer}")  # type: ignore[arg-type]
        stream = await caller.host.open_stream(who.peer, PROTOCOL, first=b"x")
        assert stream.relayed
        assert await stream.read() == b"x"
        client.on_event(ReachabilityChanged(public=True))
        await until(lambda: who.host.listen_addrs() == ())
        client.on_event(ReachabilityChanged(public=None))
        await until(lambda: len(who.host.listen_addrs()) == 2)


async def test_relay_that_refuses_is_asked_again(hosts: HostMaker) -> None:
    none, relay = await hosts.start(), await hosts.start(relay_service=True)
    who = hosts.make(listen_addrs=())
    waits: list[float] = []
    asked_often = asyncio.Event()

    def wait(wait_s: float) -> float:
        waits.append(wait_s)
        if len(waits) == 3:
            asked_often.set()
        return 0.0

    client = RelayClient(who.host, [none.addr, relay.addr, none.addr], wait=wait)
    await who.host.start()
    async with _running(client.run()), asyncio.timeout(DEADLINE_S):
        await asked_often.wait()
        await until(lambda: [circuit(relay.addr)] == [*who.host.listen_addrs()])
