"""Keeps this node connected: to its bootstrap peers always, to the peers it remembers and finds when it can.

Workers dial out to every Input they find and keep those connections; an Input then opens streams back over
them. That is why a Worker behind any NAT serves without an open port.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aicn import defaults
from aicn.clock import Clock
from aicn.errors import AddressError, NetworkError
from aicn.ids import Multiaddr, PeerId
from aicn.multiaddr import peer_of, with_peer
from aicn.p2p.host import Host, HostEvent, PeerAddrs, PeerDisconnected, PeerIdentified
from aicn.p2p.rendezvous import rendezvous_key

_log = logging.getLogger("aicn.p2p")


@dataclass(slots=True)
class _Bootstrap:
    """One bootstrap peer: when it is dialled next and how long to wait after that."""

    addrs: list[Multiaddr]
    due_s: float = 0.0
    backoff_s: float = defaults.REDIAL_FIRST_S
    reached_s: float = 0.0


class Dialer:
    """Dials; owns no connection. `run` is its one task, `on_event` its eyes.

    Attributes:
        dials: how many dials ended `ok` or `failed`, for metrics.
    """

    def __init__(
        self,
        host: Host,
        *,
        bootstrap: Iterable[Multiaddr],
        remembered: Iterable[PeerAddrs],
        topic: str,
        clock: Clock,
        room: Callable[[], int] = lambda: defaults.RENDEZVOUS_MAX_PEERS,
        worth: Callable[[PeerId], int] = lambda _: 0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Prepare to dial.

        Args:
            host: what dials.
            bootstrap: addresses with /p2p that are dialled again whenever the peer is not connected.
            remembered: peers of earlier runs, dialled once.
            topic: the network whose members are looked for in the DHT.
            clock: for the times of the next dials.
            room: how many more connections are sought; bootstrap peers are dialled whatever it says.
            worth: what a connection to a peer is worth; where there is not room for all, the best are dialled.
            jitter: returns a number in [0, 1) that spreads the dials of many nodes.
        """
        self._host = host
        self.dials = Counter(ok=0, failed=0)
        self._changed = asyncio.Event()
        self._bootstrap: dict[PeerId, _Bootstrap] = {}
        for addr in bootstrap:
            self.add_bootstrap(addr)
        self._remembered = tuple(remembered)[: defaults.DIAL_REMEMBERED_MAX]
        self._key = rendezvous_key(topic)
        self._clock = clock
        self._room = room
        self._worth = worth
        self._jitter = jitter
        self._identified = asyncio.Event()

    def add_bootstrap(self, addr: Multiaddr) -> None:
        """Keep a connection to the peer at `addr` from now on; an address without /p2p is ignored."""
        peer = peer_of(addr)
        if peer is None or peer == self._host.peer_id:
            return
        entry = self._bootstrap.setdefault(peer, _Bootstrap([]))
        if addr not in entry.addrs:
            entry.addrs.append(addr)
            self._changed.set()

    def remove_bootstrap(self, addr: Multiaddr) -> None:
        """Dial `addr` no more; a connection that stands is left to the caller. An unknown address is ignored."""
        peer = peer_of(addr)
        entry = None if peer is None else self._bootstrap.get(peer)
        if peer is None or entry is None or addr not in entry.addrs:
            return
        entry.addrs.remove(addr)
        if not entry.addrs:
            del self._bootstrap[peer]
        self._changed.set()

    def bootstrap(self) -> tuple[Multiaddr, ...]:
        """Return the addresses that are dialled again whenever their peer is not connected."""
        return tuple(addr for entry in self._bootstrap.values() for addr in entry.addrs)

    def on_event(self, event: HostEvent) -> None:
        """Notice a bootstrap peer that went away, and the first peer that came."""
        match event:
            case PeerIdentified():
                self._identified.set()
            case PeerDisconnected(peer=peer) if (entry := self._bootstrap.get(peer)) is not None:
                now = self._clock.monotonic()
                # A peer that takes connections only to drop them is not dialled ever faster.
                if now - entry.reached_s >= defaults.REDIAL_LAST_S:
                    entry.backoff_s = defaults.REDIAL_FIRST_S
                self._postpone(entry)
                self._changed.set()

    async def run(self) -> None:
        """Dial until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_bootstrap(), name="dial bootstrap peers")
            tasks.create_task(self._dial_all(self._remembered), name="dial remembered peers")
            tasks.create_task(self._rendezvous(), name="rendezvous")

    async def _keep_bootstrap(self) -> None:
        while True:
            now = self._clock.monotonic()
            due = [
                (peer, entry)
                for peer, entry in self._bootstrap.items()
                if entry.due_s <= now and self._host.connection(peer) is None
            ]
            await asyncio.gather(*(self._dial_bootstrap(peer, entry) for peer, entry in due))
            self._changed.clear()
            waiting = [entry.due_s for peer, entry in self._bootstrap.items() if self._host.connection(peer) is None]
            wait_s = max(0.0, min(waiting) - self._clock.monotonic()) if waiting else defaults.REDIAL_LAST_S
            await _wait(self._changed, wait_s)

    async def _dial_bootstrap(self, peer: PeerId, entry: _Bootstrap) -> None:
        reasons: list[str] = []
        for addr in tuple(entry.addrs):
            if (reason := await self._dial(addr)) is None:
                entry.reached_s = self._clock.monotonic()
                if not entry.addrs:  # removed while it was dialled
                    with contextlib.suppress(NetworkError):
                        await self._host.disconnect(peer)
                return
            reasons.append(reason)
        if not entry.addrs:
            return
        wait_s = self._postpone(entry)
        _log.warning("bootstrap peer not reached, next try in %.1f s: %s", wait_s, "; ".join(reasons))

    def _postpone(self, entry: _Bootstrap) -> float:
        """Set the time of the next dial, later each time; return the wait in seconds."""
        wait_s = self._spread(entry.backoff_s)
        entry.due_s = self._clock.monotonic() + wait_s
        entry.backoff_s = min(entry.backoff_s * 2, defaults.REDIAL_LAST_S)
        return wait_s

    async def _rendezvous(self) -> None:
        """Announce this node under the topic's key, look who else did, and dial them; again and again."""
        await self._identified.wait()
        interval_s = defaults.RENDEZVOUS_FIRST_S
        announced = False
        while True:
            try:
                if not announced:
                    await self._host.provide(self._key)
                    announced = True
                found = await self._host.find_providers(self._key, limit=defaults.RENDEZVOUS_MAX_PEERS)
            except NetworkError as error:
                _log.info("rendezvous failed, next try in %.0f s: %s", interval_s, error)
            else:
                await self._dial_all(found)
            await asyncio.sleep(self._spread(interval_s))
            interval_s = min(interval_s * 2, defaults.RENDEZVOUS_LAST_S)

    async def _dial_all(self, peers: Iterable[PeerAddrs]) -> None:
        slots = asyncio.Semaphore(defaults.DIAL_PARALLEL_MAX)

        async def dial(known: PeerAddrs) -> None:
            async with slots:
                for addr in known.addrs[: defaults.DIAL_ADDRS_MAX]:
                    reason = await self._dial(with_peer(addr, known.peer))
                    if reason is None:
                        return
                    _log.debug("peer %s not reached: %s", known.peer, reason)

        new = [
            known for known in peers if known.peer != self._host.peer_id and self._host.connection(known.peer) is None
        ]
        new.sort(key=lambda known: -self._worth(known.peer))
        await asyncio.gather(*(dial(known) for known in new[: self._room()]))

    async def _dial(self, addr: Multiaddr) -> str | None:
        """Dial one address; return why it failed, None if it did not."""
        try:
            await self._host.connect(addr)
        except (NetworkError, AddressError) as error:
            self.dials["failed"] += 1
            return str(error)
        self.dials["ok"] += 1
        return None

    def _spread(self, seconds: float) -> float:
        """Return a wait between half and all of `seconds`, so that nodes do not dial in step."""
        return seconds * (0.5 + self._jitter() / 2)


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
