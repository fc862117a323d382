"""Connection manager: when there are too many connections, the least useful ones are closed.

Every connection costs memory, and gossip is sent over each. Above the high water mark connections are closed until
the low water mark is reached; never one that is young, that carries a request, or that must stay (a bootstrap peer,
a relay this host is called through).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from logging import getLogger

from aicn import defaults
from aicn.clock import Clock
from aicn.errors import NotConnected
from aicn.ids import PeerId
from aicn.p2p.host import (
    Connection,
    EventsLost,
    Host,
    HostEvent,
    PeerConnected,
    PeerDisconnected,
    Stream,
    StreamHandler,
)
from aicn.tally import Tally

_log = getLogger("aicn.p2p")

Worth = Callable[[PeerId], int]
"""How much a connection to a peer is worth to this node: 0 for a stranger, more for who is asked or asks."""


@dataclass(frozen=True, slots=True)
class Held:
    """A connection as the choice sees it."""

    peer: PeerId
    age_s: float
    idle_s: float
    """Time since it carried a request; its age, if it never did."""
    worth: int
    relayed: bool
    protected: bool
    """Whether it must not be closed now."""


def excess(held: Collection[Held], *, low_water: int, high_water: int, grace_s: float) -> list[PeerId]:
    """Return the peers whose connections are to be closed, in that order: a pure function.

    None up to `high_water` connections. Beyond, as many as it takes to have `low_water` left, from those that are
    neither protected nor younger than `grace_s`. Sort key, first to go first:

    1. less worth;
    2. relayed before direct: a relay is shared;
    3. longer without a request.
    """
    if len(held) <= high_water:
        return []
    closable = [one for one in held if not one.protected and one.age_s >= grace_s]
    closable.sort(key=lambda one: (one.worth, not one.relayed, -one.idle_s))
    return [one.peer for one in closable[: len(held) - low_water]]


class ConnectionManager:
    """Keeps the number of connections between the marks. `run` is its one task, `on_event` its eyes."""

    def __init__(
        self,
        host: Host,
        *,
        low_water: int,
        high_water: int,
        grace_s: float,
        worth: Worth,
        keep: Callable[[], Collection[PeerId]],
        clock: Clock,
    ) -> None:
        """Manage the connections of `host`.

        Args:
            host: whose connections are counted and closed.
            low_water: connections that remain.
            high_water: connections above which some are closed.
            grace_s: age below which a connection is never closed, in seconds.
            worth: what a connection is worth.
            keep: peers that are never closed.
            clock: measures ages.
        """
        self._host = host
        self._low_water = low_water
        self._high_water = high_water
        self._grace_s = grace_s
        self._worth = worth
        self._keep = keep
        self._clock = clock
        self._since_s: dict[PeerId, float] = {}
        self._used_s: dict[PeerId, float] = {}
        self._in_use: Tally[PeerId] = Tally()
        self._grown = asyncio.Event()

    def on_event(self, event: HostEvent) -> None:
        """Notice connections that come and go."""
        match event:
            case PeerConnected(connection=connection):
                self._since_s[connection.peer] = self._clock.monotonic()
                self._grown.set()
            case PeerDisconnected(peer=peer):
                self._since_s.pop(peer, None)
                self._used_s.pop(peer, None)
            case EventsLost():
                self._recover()
            case _:
                pass

    def counting(self, handler: StreamHandler) -> StreamHandler:
        """Return `handler`, with the connection of each stream in use as long as it runs."""

        async def handle(stream: Stream) -> None:
            with self.using(stream.peer):
                await handler(stream)

        return handle

    def using(self, peer: PeerId) -> AbstractContextManager[None]:
        """Keep the connection to `peer` for the length of the block."""
        return _InUse(self, peer)

    def _begin(self, peer: PeerId) -> None:
        self._in_use[peer] += 1

    def _end(self, peer: PeerId) -> None:
        self._in_use.take(peer)
        if peer in self._since_s:
            self._used_s[peer] = self._clock.monotonic()

    def room(self) -> int:
        """Return how many connections may still be sought: a node does not dial what it would close again."""
        return max(0, self._high_water - len(self._host.connections()))

    async def run(self) -> None:
        """Close what is too much until cancelled."""
        while True:
            await self._grown.wait()
            self._grown.clear()
            while len(connections := self._host.connections()) > self._high_water:
                await self._close(self._excess(connections))
                # What was too young, or in use, may be closed later; until then nothing can be done.
                await asyncio.sleep(defaults.CONNECTIONS_CHECK_S)

    def _excess(self, connections: Iterable[Connection]) -> list[PeerId]:
        now_s = self._clock.monotonic()
        keep = frozenset(self._keep())
        held = [self._held(connection, now_s, keep) for connection in connections]
        return excess(held, low_water=self._low_water, high_water=self._high_water, grace_s=self._grace_s)

    def _held(self, connection: Connection, now_s: float, keep: Collection[PeerId]) -> Held:
        peer = connection.peer
        since_s = self._since_s.setdefault(peer, now_s)
        return Held(
            peer=peer,
            age_s=now_s - since_s,
            idle_s=now_s - self._used_s.get(peer, since_s),
            worth=self._worth(peer),
            relayed=connection.relayed,
            protected=peer in keep or peer in self._in_use,
        )

    async def _close(self, peers: Iterable[PeerId]) -> None:
        closed = 0
        for peer in peers:
            if peer in self._in_use:
                continue  # came into use while others were closed
            try:
                await self._host.disconnect(peer)
            except NotConnected:
                continue  # went by itself
            closed += 1
        if closed:
            _log.info(
                "closed %d connections: there were more than %d (Swarm.ConnMgr.HighWater)", closed, self._high_water
            )

    def _recover(self) -> None:
        """Forget what has gone unseen."""
        connected = {connection.peer for connection in self._host.connections()}
        for table in (self._since_s, self._used_s):
            for peer in table.keys() - connected:
                del table[peer]
        self._grown.set()


class _InUse(AbstractContextManager[None]):
    """What `using` returns. Every request passes through here twice; a generator would cost it more."""

    __slots__ = ("_manager", "_peer")

    def __init__(self, manager: ConnectionManager, peer: PeerId) -> None:
        self._manager = manager
        self._peer = peer

    def __enter__(self) -> None:
        self._manager._begin(self._peer)  # noqa: SLF001 - one thing in two classes

    def __exit__(self, *_: object) -> None:
        self._manager._end(self._peer)  # noqa: SLF001
