from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest

from aicn import defaults
from aicn.clock import ManualClock, SystemClock
from aicn.ids import Multiaddr
from aicn.multiaddr import with_peer
from aicn.p2p.dialer import Dialer
from aicn.p2p.host import PeerAddrs, PeerDisconnected
from aicn.p2p.memory import MemoryHost
from support.hosts import TOPIC, HostMaker, Witness, until


@pytest.fixture
async def hosts(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HostMaker]:
    for name in ("REDIAL_FIRST_S", "REDIAL_LAST_S", "RENDEZVOUS_FIRST_S", "RENDEZVOUS_LAST_S"):
        monkeypatch.setattr(defaults, name, 0.02)
    maker = HostMaker("memory")
    yield maker
    await maker.close()


class _Dialling:
    """A host whose dialer runs for the length of the block."""

    def __init__(
        self, who: Witness, *, bootstrap: Iterable[Multiaddr] = (), remembered: Iterable[PeerAddrs] = ()
    ) -> None:
        self._who = who
        self._dialer = Dialer(
            who.host, bootstrap=bootstrap, remembered=remembered, topic=TOPIC, clock=SystemClock(), jitter=lambda: 0.0
        )
        self._task: asyncio.Task[None] | None = None
        who.host.on_event(self._dialer.on_event)

    async def __aenter__(self) -> Dialer:
        self._task = asyncio.create_task(self._dialer.run())
        return self._dialer

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        assert not self._task.done(), "the dialer ended by itself"
        self._task.cancel()
        await asyncio.wait([self._task])


async def test_bootstrap_peer_is_dialled_and_dialled_again_when_it_goes(hosts: HostMaker) -> None:
    entry, worker = await hosts.start(), await hosts.start()
    async with _Dialling(worker, bootstrap=[entry.addr]):
        for _ in range(3):
            await until(lambda: worker.host.connection(entry.peer) is not None)
            await entry.host.disconnect(worker.peer)
            assert worker.host.connection(entry.peer) is None


async def test_bootstrap_peer_that_comes_late_is_found(hosts: HostMaker) -> None:
    worker = await hosts.start()
    late = hosts.make(listen_addrs=(Multiaddr("/ip4/127.0.0.1/tcp/7001"),))
    late.host.on_stream("/test/1.0.0", lambda _: asyncio.sleep(0))
    addr = with_peer(Multiaddr("/ip4/127.0.0.1/tcp/7001"), late.peer)
    async with _Dialling(worker, bootstrap=[addr]):
        await asyncio.sleep(0.05)
        assert worker.host.connections() == ()
        await late.host.start()
        await until(lambda: worker.host.connection(late.peer) is not None)


async def test_second_address_of_a_bootstrap_peer_is_tried(hosts: HostMaker) -> None:
    entry, worker = await hosts.start(), await hosts.start()
    dead = with_peer(Multiaddr("/ip4/127.0.0.1/tcp/1"), entry.peer)
    async with _Dialling(worker, bootstrap=[dead, entry.addr]):
        await until(lambda: worker.host.connection(entry.peer) is not None)


async def test_own_and_nameless_addresses_are_passed_over(hosts: HostMaker) -> None:
    worker = await hosts.start()
    async with _Dialling(worker, bootstrap=[worker.addr, Multiaddr("/ip4/127.0.0.1/tcp/1")]):
        await asyncio.sleep(0.05)
    assert worker.host.connections() == ()


async def test_remembered_peers_are_dialled(hosts: HostMaker) -> None:
    others = [await hosts.start() for _ in range(20)]
    worker = await hosts.start()
    remembered = [PeerAddrs(other.peer, other.host.listen_addrs()) for other in others]
    async with _Dialling(worker, remembered=remembered):
        await until(lambda: len(worker.host.connections()) == len(others))


async def test_members_of_the_network_find_each_other(hosts: HostMaker) -> None:
    entry, one, two = await hosts.start(), await hosts.start(), await hosts.start()
    async with _Dialling(one, bootstrap=[entry.addr]), _Dialling(two, bootstrap=[entry.addr]):
        await until(lambda: one.host.connection(two.peer) is not None)


def test_waits_grow_and_shrink_again_only_for_a_peer_that_stayed() -> None:
    clock = ManualClock()
    maker = HostMaker("memory")
    me, entry = maker.make(), maker.make()
    assert isinstance(me.host, MemoryHost)
    addr = with_peer(Multiaddr("/ip4/127.0.0.1/tcp/1"), entry.peer)
    dialer = Dialer(me.host, bootstrap=[addr], remembered=(), topic=TOPIC, clock=clock, jitter=lambda: 1.0)
    (state,) = dialer._bootstrap.values()

    def wait_after_loss() -> float:
        dialer.on_event(PeerDisconnected(entry.peer))
        return state.due_s - clock.monotonic()

    state.reached_s = clock.monotonic()
    waits = [wait_after_loss() for _ in range(9)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    state.reached_s = clock.monotonic()
    clock.advance(defaults.REDIAL_LAST_S)
    assert wait_after_loss() == 1


async def test_bootstrap_peer_that_is_added_is_dialled_at_once(hosts: HostMaker) -> None:
    entry, worker = await hosts.start(), await hosts.start()
    async with _Dialling(worker) as dialer:
        dialer.add_bootstrap(entry.addr)
        dialer.add_bootstrap(entry.addr)
        dialer.add_bootstrap(worker.addr)
        assert dialer.bootstrap() == (entry.addr,)
        await until(lambda: worker.host.connection(entry.peer) is not None)
        assert dialer.dials["ok"] == 1


async def test_bootstrap_peer_that_is_removed_is_not_dialled_again(hosts: HostMaker) -> None:
    entry, other, worker = await hosts.start(), await hosts.start(), await hosts.start()
    async with _Dialling(worker, bootstrap=[entry.addr, other.addr]) as dialer:
        await until(lambda: len(worker.host.connections()) == 2)
        dialer.remove_bootstrap(entry.addr)
        dialer.remove_bootstrap(entry.addr)
        dialer.remove_bootstrap(Multiaddr("/ip4/127.0.0.1/tcp/1"))
        assert dialer.bootstrap() == (other.addr,)
        await worker.host.disconnect(entry.peer)
        for _ in range(3):  # time enough: the other one is dialled again and again meanwhile
            await other.host.disconnect(worker.peer)
            await until(lambda: worker.host.connection(other.peer) is not None)
        assert worker.host.connection(entry.peer) is None
