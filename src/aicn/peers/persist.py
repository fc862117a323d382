"""Peers that were once connected, kept for the next start: where to dial before anybody was asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Final, Protocol, Self

import msgspec

from aicn import defaults
from aicn.clock import Clock
from aicn.errors import StoreError
from aicn.ids import Multiaddr, PeerId
from aicn.p2p.host import Connection, Direction, PeerAddrs
from aicn.peers.heartbeater import Wait, wait_for

_log = logging.getLogger("aicn.peers")

NAMESPACE: Final = "known-peers"
"""Where in the store they are kept."""


class KeyValues(Protocol):
    """What is needed of the store."""

    async def put(self, namespace: str, key: str, value: bytes) -> None:
        """Keep `value` durably."""
        ...

    async def delete(self, namespace: str, key: str) -> None:
        """Keep nothing under `key`."""
        ...

    async def items(self, namespace: str) -> Iterable[tuple[str, bytes]]:
        """Return all keys and values."""
        ...


class KnownPeer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A peer that was connected once."""

    peer: PeerId
    addrs: tuple[Multiaddr, ...]
    """Where it can be dialled, without /p2p; the latest that worked first."""
    last_connected_unix_s: int
    successes: int
    """How many times it was connected."""


def connected_again(old: KnownPeer | None, peer: PeerId, addrs: Iterable[Multiaddr], now_unix_s: float) -> KnownPeer:
    """Return what to keep of a peer that is connected now: `addrs` before those known already, within limits."""
    known = () if old is None else old.addrs
    usable = (addr for addr in (*addrs, *known) if 0 < len(addr.encode()) <= defaults.KNOWN_ADDR_MAX_BYTES)
    latest = tuple(dict.fromkeys(usable))[: defaults.KNOWN_PEER_MAX_ADDRS]
    return KnownPeer(peer, latest, int(now_unix_s), 1 if old is None else old.successes + 1)


def worth_keeping(peers: Iterable[KnownPeer], now_unix_s: float, limit: int) -> tuple[KnownPeer, ...]:
    """Return the `limit` latest of `peers` that have an address and are not too old, the best to dial first.

    Sort key: last connected, latest first; then successes, most first; then the id, so that the order is stable.
    """
    oldest_unix_s = now_unix_s - defaults.KNOWN_PEER_MAX_AGE_S
    fit = (each for each in peers if each.addrs and each.last_connected_unix_s >= oldest_unix_s)
    return tuple(sorted(fit, key=lambda each: (-each.last_connected_unix_s, -each.successes, each.peer))[:limit])


class KnownPeers:
    """Owns the known peers: in memory for everyone, written behind by `run`. Use from one event loop."""

    def __init__(
        self,
        store: KeyValues,
        clock: Clock,
        *,
        max_peers: int = defaults.KNOWN_PEERS_MAX,
        wait: Wait = wait_for,
    ) -> None:
        """Start with nobody; `load` starts with those in the store.

        Args:
            store: where they are kept.
            clock: tells the time that is kept with each.
            max_peers: how many are kept.
            wait: waits for an event or a time; tests bring their own.
        """
        self._store = store
        self._clock = clock
        self._max_peers = max_peers
        self._wait = wait
        self._peers: dict[PeerId, KnownPeer] = {}
        self._unwritten: dict[PeerId, KnownPeer | None] = {}
        """What the store does not have yet; None: to be deleted there."""
        self._changed = asyncio.Event()
        self._stop = asyncio.Event()

    @classmethod
    async def load(cls, store: KeyValues, clock: Clock, *, max_peers: int = defaults.KNOWN_PEERS_MAX) -> Self:
        """Start with those in the store.

        Rows that cannot be read, and those beyond the limits, are deleted with the first write.

        Raises:
            StoreError: the store cannot be read.
        """
        known_peers = cls(store, clock, max_peers=max_peers)
        for key, value in await store.items(NAMESPACE):
            known_peers._take(PeerId(key), value)
        known_peers._trim()
        return known_peers

    def peers(self) -> tuple[KnownPeer, ...]:
        """Return the known peers, the best to dial first."""
        return worth_keeping(self._peers.values(), self._clock.unix(), self._max_peers)

    def to_dial(self) -> tuple[PeerAddrs, ...]:
        """Return where the known peers may be dialled, the best first."""
        return tuple(PeerAddrs(each.peer, each.addrs) for each in self.peers())

    def connected(self, connection: Connection) -> None:
        """Remember that a peer is connected now. Never waits.

        The address counts if this node dialled it. That of an inbound connection has a port which the peer
        listens on only by chance; a peer that never was dialled is not remembered.
        """
        peer = connection.peer
        addrs = (connection.addr,) if connection.direction is Direction.OUTBOUND else ()
        known = connected_again(self._peers.get(peer), peer, addrs, self._clock.unix())
        if not known.addrs:
            return
        self._peers[peer] = known
        self._write_later(peer, known)
        if len(self._peers) > self._max_peers:
            self._trim()

    def stop(self) -> None:
        """Let `run` write what is left and return. Idempotent."""
        self._stop.set()
        self._changed.set()

    async def run(self) -> None:
        """Write changes to the store, gathered for some seconds, until `stop`.

        A node does without this memory better than it does without itself: if the store does not take a
        change that is logged, and tried again with the next one.
        """
        while not self._stop.is_set():
            await self._changed.wait()
            await self._wait(self._stop, defaults.KNOWN_PEERS_WRITE_DELAY_S)
            try:
                await self.flush()
            except StoreError as error:
                _log.warning("peers could not be remembered for the next start: %s", error)

    async def flush(self) -> None:
        """Write what the store does not have yet.

        Raises:
            StoreError: the store does not take it; nothing is lost, the next flush tries again.
        """
        self._changed.clear()
        while self._unwritten:
            peer, known = next(iter(self._unwritten.items()))
            if known is None:
                await self._store.delete(NAMESPACE, peer)
            else:
                await self._store.put(NAMESPACE, peer, msgspec.json.encode(known))
            if self._unwritten.get(peer) is known:  # else it changed while it was written
                del self._unwritten[peer]

    def _take(self, peer: PeerId, value: bytes) -> None:
        try:
            self._peers[peer] = msgspec.json.decode(value, type=KnownPeer)
        except msgspec.DecodeError as error:
            _log.warning("what was kept of peer %s cannot be read and is dropped: %s", peer, error)
            self._write_later(peer, None)

    def _trim(self) -> None:
        kept = {each.peer for each in self.peers()}
        for peer in [each for each in self._peers if each not in kept]:
            del self._peers[peer]
            self._write_later(peer, None)

    def _write_later(self, peer: PeerId, known: KnownPeer | None) -> None:
        self._unwritten[peer] = known
        self._changed.set()
