"""Peers once connected are there at the next start, the best first, within bounds."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import msgspec
import pytest

from aicn import defaults
from aicn.clock import ManualClock
from aicn.errors import StoreClosed
from aicn.ids import Multiaddr, PeerId
from aicn.p2p.host import Connection, Direction, PeerAddrs
from aicn.peers import KnownPeer, KnownPeers
from aicn.peers.persist import NAMESPACE, connected_again, worth_keeping
from aicn.store import Store

_A, _B, _C = PeerId("a"), PeerId("b"), PeerId("c")


def _addr(port: int) -> Multiaddr:
    return Multiaddr(f"/ip4/127.0.0.1/tcp/{port}")


def _dialled(peer: PeerId, port: int, direction: Direction = Direction.OUTBOUND) -> Connection:
    return Connection(peer, _addr(port), direction, relayed=False, rtt_us=None, conn_id="1")


class _Store:
    """What a store does, in memory, with its failures at hand."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.writes = 0
        self.error: Exception | None = None
        self.written = asyncio.Event()

    async def put(self, namespace: str, key: str, value: bytes) -> None:
        await self._write(namespace)
        self.rows[key] = value
        self.written.set()

    async def delete(self, namespace: str, key: str) -> None:
        await self._write(namespace)
        self.rows.pop(key, None)

    async def items(self, namespace: str) -> list[tuple[str, bytes]]:
        assert namespace == NAMESPACE
        return list(self.rows.items())

    async def _write(self, namespace: str) -> None:
        assert namespace == NAMESPACE
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.writes += 1


def test_a_connection_puts_its_addresses_first() -> None:
    first = connected_again(None, _A, [_addr(1), _addr(2)], 100.9)
    assert first == KnownPeer(_A, (_addr(1), _addr(2)), 100, 1)
    second = connected_again(first, _A, [_addr(3), _addr(2)], 200.0)
    assert second == KnownPeer(_A, (_addr(3), _addr(2), _addr(1)), 200, 2)
    assert connected_again(second, _A, [], 300.0) == KnownPeer(_A, second.addrs, 300, 3)


def test_addresses_are_bounded_in_number_and_length() -> None:
    longest = Multiaddr("/dns/".ljust(defaults.KNOWN_ADDR_MAX_BYTES, "x"))
    known = connected_again(None, _A, [Multiaddr(longest + "x"), Multiaddr(""), longest], 0.0)
    assert known.addrs == (longest,)
    many = connected_again(known, _A, [_addr(port) for port in range(1, 100)], 0.0)
    assert many.addrs == tuple(_addr(port) for port in range(1, defaults.KNOWN_PEER_MAX_ADDRS + 1))


def test_the_latest_are_worth_keeping() -> None:
    now_s = 10_000_000.0
    old_s = int(now_s - defaults.KNOWN_PEER_MAX_AGE_S)
    peers = [
        KnownPeer(PeerId("too old"), (_addr(1),), old_s - 1, 99),
        KnownPeer(PeerId("just young enough"), (_addr(1),), old_s, 1),
        KnownPeer(PeerId("no address"), (), int(now_s), 99),
        KnownPeer(PeerId("z"), (_addr(1),), 9_000_000, 1),
        KnownPeer(PeerId("y"), (_addr(1),), 9_000_000, 1),
        KnownPeer(PeerId("proven"), (_addr(1),), 9_000_000, 5),
        KnownPeer(PeerId("latest"), (_addr(1),), 9_999_999, 1),
    ]
    expected = ["latest", "proven", "y", "z", "just young enough"]
    assert [each.peer for each in worth_keeping(peers, now_s, 100)] == expected
    assert [each.peer for each in worth_keeping(reversed(peers), now_s, 3)] == expected[:3]


async def test_what_was_connected_is_there_after_a_restart() -> None:
    store, clock = _Store(), ManualClock()
    before = KnownPeers(store, clock)
    before.connected(_dialled(_A, 1))
    clock.advance(10)
    before.connected(_dialled(_B, 2))
    before.connected(_dialled(_B, 3))
    await before.flush()
    after = await KnownPeers.load(store, clock)
    assert after.peers() == before.peers()
    assert after.to_dial() == (PeerAddrs(_B, (_addr(3), _addr(2))), PeerAddrs(_A, (_addr(1),)))
    assert [each.peer for each in after.peers()] == [_B, _A]
    assert after.peers()[0] == KnownPeer(_B, (_addr(3), _addr(2)), int(clock.unix()), 2)


async def test_only_addresses_that_were_dialled_are_kept() -> None:
    store, clock = _Store(), ManualClock()
    known_peers = KnownPeers(store, clock)
    known_peers.connected(_dialled(_A, 1, Direction.INBOUND))
    known_peers.connected(_dialled(_B, 2))
    clock.advance(5)
    known_peers.connected(_dialled(_B, 3, Direction.INBOUND))
    assert known_peers.peers() == (KnownPeer(_B, (_addr(2),), int(clock.unix()), 2),)
    await known_peers.flush()
    assert set(store.rows) == {_B}


async def test_a_flush_writes_each_change_once() -> None:
    store = _Store()
    known_peers = KnownPeers(store, ManualClock())
    for _ in range(10):
        known_peers.connected(_dialled(_A, 1))
    await known_peers.flush()
    await known_peers.flush()
    assert store.writes == 1


async def test_the_oldest_go_first_from_memory_and_store() -> None:
    store, clock = _Store(), ManualClock()
    known_peers = KnownPeers(store, clock, max_peers=2)
    for peer in (_A, _B, _A, _C):
        known_peers.connected(_dialled(peer, 1))
        clock.advance(1)
        await known_peers.flush()
    assert {each.peer for each in known_peers.peers()} == {_A, _C}
    assert set(store.rows) == {_A, _C}


async def test_a_store_with_too_many_or_too_old_peers_is_cut_at_the_next_write() -> None:
    store, clock = _Store(), ManualClock()
    for number in range(5):
        known = KnownPeer(PeerId(str(number)), (_addr(1),), int(clock.unix()) - number, 1)
        store.rows[str(number)] = msgspec.json.encode(known)
    known_peers = await KnownPeers.load(store, clock, max_peers=3)
    assert [each.peer for each in known_peers.peers()] == ["0", "1", "2"]
    await known_peers.flush()
    assert set(store.rows) == {"0", "1", "2"}


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b"\xff", b'{"peer": 1}', b'{"nonsense": true}'])
async def test_a_row_that_cannot_be_read_is_dropped(value: bytes, caplog: pytest.LogCaptureFixture) -> None:
    store, clock = _Store(), ManualClock()
    good = KnownPeer(_B, (_addr(1),), int(clock.unix()), 1)
    store.rows = {_A: value, _B: msgspec.json.encode(good)}
    with caplog.at_level(logging.WARNING, "aicn.peers"):
        known_peers = await KnownPeers.load(store, clock)
    assert known_peers.peers() == (good,)
    assert "what was kept of peer a cannot be read and is dropped" in caplog.text
    await known_peers.flush()
    assert set(store.rows) == {_B}


async def test_a_failed_write_is_tried_again() -> None:
    store = _Store()
    known_peers = KnownPeers(store, ManualClock())
    known_peers.connected(_dialled(_A, 1))
    store.error = StoreClosed("closed")
    with pytest.raises(StoreClosed):
        await known_peers.flush()
    store.error = None
    await known_peers.flush()
    assert set(store.rows) == {_A}


async def test_a_change_during_a_write_is_written_too() -> None:
    store = _Store()
    known_peers = KnownPeers(store, ManualClock())
    known_peers.connected(_dialled(_A, 1))
    flushing = asyncio.create_task(known_peers.flush())
    await asyncio.sleep(0)
    known_peers.connected(_dialled(_A, 2))
    await flushing
    assert msgspec.json.decode(store.rows[_A], type=KnownPeer) == known_peers.peers()[0]


async def test_it_writes_behind_and_once_more_at_the_end() -> None:
    store, delays = _Store(), list[float]()
    delay_over = asyncio.Event()

    async def wait(event: asyncio.Event, seconds: float) -> None:
        delays.append(seconds)
        waiters = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(delay_over.wait())]
        await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        for waiter in waiters:
            waiter.cancel()
        await asyncio.wait(waiters)

    known_peers = KnownPeers(store, ManualClock(), wait=wait)
    task = asyncio.create_task(known_peers.run())
    known_peers.connected(_dialled(_A, 1))
    known_peers.connected(_dialled(_B, 1))
    for _ in range(10):
        await asyncio.sleep(0)
    assert store.rows == {}
    delay_over.set()
    await store.written.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    assert set(store.rows) == {_A, _B}
    delay_over.clear()
    known_peers.connected(_dialled(_C, 1))
    known_peers.stop()
    await task
    assert set(store.rows) == {_A, _B, _C}
    assert delays == [defaults.KNOWN_PEERS_WRITE_DELAY_S] * 2


async def test_a_store_that_fails_is_tried_again_with_the_next_change(caplog: pytest.LogCaptureFixture) -> None:
    store = _Store()
    store.error = StoreClosed("disk full")
    waits = asyncio.Queue[None]()

    async def wait(_event: asyncio.Event, _seconds: float) -> None:
        await waits.put(None)

    known_peers = KnownPeers(store, ManualClock(), wait=wait)
    with caplog.at_level(logging.WARNING, "aicn.peers"):
        task = asyncio.create_task(known_peers.run())
        known_peers.connected(_dialled(_A, 1))
        await waits.get()
        for _ in range(10):
            await asyncio.sleep(0)
    assert "peers could not be remembered for the next start: disk full" in caplog.text
    store.error = None
    known_peers.connected(_dialled(_B, 1))
    await waits.get()
    known_peers.stop()
    await task
    assert set(store.rows) == {_A, _B}


async def test_it_can_be_stopped_when_nothing_ever_happened() -> None:
    known_peers = KnownPeers(_Store(), ManualClock())
    task = asyncio.create_task(known_peers.run())
    await asyncio.sleep(0)
    known_peers.stop()
    await task


async def test_the_real_store_keeps_them(tmp_path: Path) -> None:
    clock = ManualClock()
    store = await Store.open(tmp_path)
    try:
        known_peers = await KnownPeers.load(store, clock, max_peers=2)
        for peer in (_A, _B, _C):
            known_peers.connected(_dialled(peer, 1))
            clock.advance(1)
        await known_peers.flush()
    finally:
        await store.close()
    reopened = await Store.open(tmp_path)
    try:
        assert (await KnownPeers.load(reopened, clock)).peers() == known_peers.peers()
        assert [key for key, _ in await reopened.items(NAMESPACE)] == [_B, _C]
    finally:
        await reopened.close()
