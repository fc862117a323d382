"""Hosts for tests, native or in memory, behind one face."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aicn.identity import PrivateKey
from aicn.ids import Multiaddr, PeerId
from aicn.multiaddr import with_peer
from aicn.p2p.host import (
    GossipMessage,
    Host,
    HostConfig,
    HostEvent,
    PeerSubscribed,
    RoutingMode,
    Stream,
)
from aicn.p2p.memory import MemoryHost, MemoryNetwork
from aicn.p2p.native import NativeHost

PROTOCOL = "/test/1.0.0"
TOPIC = "test"
ANY_PORT = Multiaddr("/ip4/127.0.0.1/tcp/0")
DEADLINE_S = 10.0


class AnyHost(Host, Protocol):
    """A host that tells how much it has under way."""

    @property
    def pending(self) -> int:
        """Operations under way."""
        ...


class Witness:
    """A host and everything it was told."""

    def __init__(self, host: AnyHost) -> None:
        self.host = host
        self.events: list[HostEvent] = []
        self.gossip: asyncio.Queue[GossipMessage] = asyncio.Queue()
        self._changed = asyncio.Event()
        host.on_event(self._event)
        host.on_gossip(self.gossip.put_nowait)

    @property
    def peer(self) -> PeerId:
        return self.host.peer_id

    @property
    def addr(self) -> Multiaddr:
        """Where it can be dialled."""
        return with_peer(self.host.listen_addrs()[0], self.host.peer_id)

    def _event(self, event: HostEvent) -> None:
        self.events.append(event)
        self._changed.set()

    async def until(self, met: Callable[[], bool]) -> None:
        """Wait until `met()`, looking again at each event."""
        async with asyncio.timeout(DEADLINE_S):
            while not met():
                self._changed.clear()
                await self._changed.wait()

    async def until_told(self, kind: type[HostEvent], peer: PeerId) -> None:
        """Wait for an event of that kind about `peer`."""
        await self.until(lambda: any(isinstance(event, kind) and _about(event) == peer for event in self.events))

    async def until_subscribed(self, peer: PeerId) -> None:
        """Wait until what is published here reaches `peer`."""
        await self.until_told(PeerSubscribed, peer)


def _about(event: Any) -> PeerId | None:
    for path in (("peer",), ("connection", "peer"), ("identity", "peer")):
        value = event
        for name in path:
            value = getattr(value, name, None)
        if value is not None:
            found: PeerId = value
            return found
    return None


class HostMaker:
    """Makes hosts of one kind and closes them all."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._network = MemoryNetwork()
        self._made: list[Witness] = []

    def make(self, **changes: Any) -> Witness:
        """Make a host, not started."""
        settings: dict[str, Any] = {
            "private_key": PrivateKey.generate().protobuf,
            "listen_addrs": (ANY_PORT,),
            "stream_protocols": (PROTOCOL,),
            "topics": (TOPIC,),
            "routing_mode": RoutingMode.SERVER,
            "ping_interval_s": 0.2,
            **changes,
        }
        config = HostConfig(**settings)
        host: AnyHost = NativeHost(config) if self.kind == "native" else MemoryHost(self._network, config)
        witness = Witness(host)
        self._made.append(witness)
        return witness

    async def start(self, handler: Callable[[Stream], Awaitable[None]] | None = None, **changes: Any) -> Witness:
        """Make a host and start it."""
        witness = self.make(**changes)
        witness.host.on_stream(PROTOCOL, handler or echo)
        await witness.host.start()
        return witness

    async def pair(self, handler: Callable[[Stream], Awaitable[None]] | None = None) -> tuple[Witness, Witness]:
        """Return two hosts, the first connected to the second, which serves with `handler`."""
        one, other = await self.start(), await self.start(handler)
        await one.host.connect(other.addr)
        await other.until(lambda: other.host.connection(one.peer) is not None)
        return one, other

    async def close(self) -> None:
        """Close every host that was made."""
        for witness in reversed(self._made):
            await witness.host.close()

    def forget(self) -> None:
        """Hold no host any more."""
        self._made.clear()


async def until(met: Callable[[], bool]) -> None:
    """Wait for what no event tells, by looking again and again."""
    async with asyncio.timeout(DEADLINE_S):
        while not met():  # noqa: ASYNC110 - there is nothing to wait on
            await asyncio.sleep(0.01)


async def echo(stream: Stream) -> None:
    """Send back what comes until the other side ends, then end."""
    while data := await stream.read():
        await stream.write(data)


async def read_all(stream: Stream) -> bytes:
    """Read to the end."""
    parts = []
    while data := await stream.read():
        parts.append(data)
    return b"".join(parts)
