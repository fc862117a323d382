"""Hosts without sockets: many nodes in one process, for tests and simulation.

The rules are those of `native`, which the same test suite holds both to; what differs is that nothing is lost,
nothing is late and nothing is random. Addresses look like TCP addresses and lead nowhere outside the process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from itertools import count

from aicn import defaults
from aicn.errors import (
    AddressError,
    AicnError,
    DialFailed,
    HostClosed,
    ListenFailed,
    NotConnected,
    StreamRefused,
)
from aicn.identity import PrivateKey
from aicn.ids import Multiaddr, PeerId
from aicn.multiaddr import is_relayed, parse, peer_of, with_peer, without_peer
from aicn.p2p.host import (
    Connection,
    Direction,
    EventHandler,
    GossipHandler,
    HostConfig,
    HostEvent,
    ListenAddrsChanged,
    PeerAddrs,
    PeerConnected,
    PeerDisconnected,
    PeerIdentified,
    PeerIdentity,
    PeerSubscribed,
    ReachabilityChanged,
    Stream,
    StreamHandler,
)
from aicn.p2p.memory_gossip import MemoryGossip
from aicn.p2p.memory_listeners import MemoryListeners
from aicn.p2p.memory_network import MemoryLink, MemoryNetwork, relay_part
from aicn.p2p.pipe import PipeStream, stream_pair

__all__ = ["MemoryHost", "MemoryNetwork"]

_log = logging.getLogger("aicn.p2p")

_RTT_US = 100
"""A made-up round trip, the same everywhere, so that no choice depends on chance."""


class MemoryHost:
    """A `Host` of a `MemoryNetwork`."""

    def __init__(self, network: MemoryNetwork, config: HostConfig) -> None:
        """Prepare; nothing is reachable before `start`."""
        self._network = network
        self._config = config
        self._key = PrivateKey.from_protobuf(config.private_key)
        self._listeners = MemoryListeners(self, network, self._addrs_changed)
        self._links: dict[PeerId, MemoryLink] = {}
        self._book: dict[PeerId, dict[Multiaddr, None]] = {}
        self._stream_handlers: dict[str, StreamHandler] = {}
        self._gossip = MemoryGossip(
            self.peer_id, config.topics, lambda: ((peer, link.other.gossip) for peer, link in self._links.items())
        )
        self._event_handler: EventHandler | None = None
        self._handlers: set[asyncio.Task[None]] = set()
        self._conn_ids = count(1)
        self._running = False
        self._closing: asyncio.Task[None] | None = None

    # --- life ---------------------------------------------------------------------------------------------

    @property
    def peer_id(self) -> PeerId:
        """The identity of this host."""
        return self._key.public.peer_id

    @property
    def psk(self) -> bytes | None:
        """The pre-shared key, which both ends of a connection must hold."""
        return self._config.psk

    @property
    def pending(self) -> int:
        """Operations under way: none ever outlives its call."""
        return 0

    @property
    def protocols(self) -> Sequence[str]:
        """The protocols that this host speaks."""
        return sorted((*self._config.stream_protocols, "/floodsub/1.0.0", self._config.kad_protocol))

    def on_stream(self, protocol: str, handler: StreamHandler) -> None:
        """Set the handler of inbound streams of `protocol`."""
        self._stream_handlers[protocol] = handler

    def on_gossip(self, handler: GossipHandler) -> None:
        """Set the receiver of gossip."""
        self._gossip.handler = handler

    def on_event(self, handler: EventHandler) -> None:
        """Set the receiver of events."""
        self._event_handler = handler

    async def start(self) -> None:
        """Listen on the configured addresses and begin."""
        self._running = True
        try:
            self._listeners.begin(self._config.listen_addrs)
        except ListenFailed:
            self._running = False
            raise

    async def close(self) -> None:
        """Cancel handlers and close connections."""
        if self._running:
            self._running = False
            self._closing = asyncio.create_task(self._close())
        if self._closing is not None:
            await asyncio.shield(self._closing)  # goes on without a caller that is cancelled

    async def _close(self) -> None:
        tasks = list(self._handlers)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._listeners.end()
        self._gossip.end()
        self._network.remove(self)
        for peer in list(self._links):
            self.lose(peer)

    # --- snapshots ----------------------------------------------------------------------------------------

    def listen_addrs(self) -> tuple[Multiaddr, ...]:
        """Return the addresses listened on."""
        return self._listeners.addrs() if self._running else ()

    def connections(self) -> tuple[Connection, ...]:
        """Return the established connections."""
        return tuple(link.connection for link in self._links.values())

    def connection(self, peer: PeerId) -> Connection | None:
        """Return the connection to `peer`."""
        link = self._links.get(peer)
        return None if link is None else link.connection

    def identity(self, peer: PeerId) -> PeerIdentity | None:
        """Return what a connected peer says of itself."""
        link = self._links.get(peer)
        return None if link is None else link.other.own_identity()

    def own_identity(self) -> PeerIdentity:
        """Return what this host says of itself."""
        config = self._config
        return PeerIdentity(
            self.peer_id,
            config.protocol_version,
            config.agent_version,
            tuple(self.protocols),
            self._listeners.addrs(),
            self._key.public.protobuf,
        )

    def known_addrs(self) -> tuple[PeerAddrs, ...]:
        """Return the address book."""
        own = (PeerAddrs(self.peer_id, self.listen_addrs()),) if self.listen_addrs() else ()
        return (*own, *(PeerAddrs(peer, tuple(addrs)) for peer, addrs in self._book.items()))

    def topic_peers(self, topic: str) -> tuple[PeerId, ...]:
        """Return the connected peers subscribed to `topic`."""
        return tuple(peer for peer, link in self._links.items() if topic in link.other.gossip.topics)

    @property
    def gossip(self) -> MemoryGossip:
        """What this host publishes and hears."""
        return self._gossip

    @property
    def relay_service(self) -> bool:
        """Whether this host carries circuits for others."""
        return self._config.relay_service

    def relays(self) -> frozenset[PeerId]:
        """Return the relays through which this host can be called."""
        return self._listeners.relays()

    def linked(self, peer: PeerId | None) -> MemoryHost | None:
        """Return the host of a connected peer."""
        link = None if peer is None else self._links.get(peer)
        return None if link is None else link.other

    # --- addresses ----------------------------------------------------------------------------------------

    async def listen(self, addr: Multiaddr, *, timeout_s: float | None = None) -> None:  # noqa: ARG002
        """Listen on one more address, or be called through one more relay."""
        self._check_running()
        await self._listeners.listen(parse(addr))

    async def unlisten(self, addr: Multiaddr) -> None:
        """Listen on `addr` no more."""
        self._check_running()
        self._listeners.unlisten(parse(addr))

    def _addrs_changed(self) -> None:
        self._tell(ListenAddrsChanged(self._listeners.addrs()))
        for link in self._links.values():
            link.other._learn(self.peer_id)  # noqa: SLF001

    def tell_reachability(self, public: bool | None) -> None:  # noqa: FBT001
        """Tell what AutoNAT would find; nobody finds it out in memory."""
        self._tell(ReachabilityChanged(public))

    # --- connections --------------------------------------------------------------------------------------

    async def connect(self, addr: Multiaddr, *, timeout_s: float | None = None) -> PeerId:  # noqa: ARG002
        """Dial `addr`; return at once if that peer is connected. Nothing here takes long enough to time out."""
        self._check_running()
        peer = peer_of(parse(addr))
        if peer is None:
            raise AddressError(f"address {addr} does not end in /p2p/ID; add the peer id")
        if peer == self.peer_id:
            raise DialFailed(f"address {addr} is that of this host itself; dial another peer")
        if peer in self._links:
            return peer
        relay = None
        if is_relayed(addr):
            place, relay = relay_part(addr)
            await self.connect(Multiaddr(f"{place}/p2p/{relay}"))
        found = self._network.find(addr, self)
        if found is None:
            raise DialFailed(f"{peer} cannot be dialled ({addr}: connection refused); check its addresses")
        if found.peer_id != peer:
            raise DialFailed(f"{peer} cannot be dialled ({addr}: the peer there is {found.peer_id}); check the address")
        await asyncio.sleep(0)
        if peer in self._links:  # the other side dialled in the meantime, and one connection is enough
            return peer
        self._check_running()
        if not found.running:
            raise DialFailed(f"{peer} cannot be dialled ({addr}: connection refused); check its addresses")
        seen_at = Multiaddr(f"{relay_part(addr)[0]}/p2p/{relay}/p2p-circuit") if relay else self._seen_at()
        self._link(found, without_peer(addr), Direction.OUTBOUND, relay)
        found._link(self, seen_at, Direction.INBOUND, relay)  # noqa: SLF001
        self._greet(peer)
        found._greet(self.peer_id)  # noqa: SLF001
        return peer

    @property
    def running(self) -> bool:
        """Whether the host was started and not closed."""
        return self._running

    def _seen_at(self) -> Multiaddr:
        """Return where a host seems to be that dials."""
        return next((addr for addr in self._listeners.addrs() if not is_relayed(addr)), _NOWHERE)

    def _link(self, other: MemoryHost, addr: Multiaddr, direction: Direction, relay: PeerId | None) -> None:
        connection = Connection(
            other.peer_id, addr, direction, relay is not None, rtt_us=_RTT_US, conn_id=str(next(self._conn_ids))
        )
        self._links[other.peer_id] = MemoryLink(other, connection, relay)
        self._tell(PeerConnected(connection))

    def _greet(self, peer: PeerId) -> None:
        """Learn who the peer is and what it listens to."""
        link = self._learn(peer)
        for topic in link.other.gossip.topics if link is not None else ():
            self._tell(PeerSubscribed(peer, topic))

    def _learn(self, peer: PeerId) -> MemoryLink | None:
        link = self._links.get(peer)
        if link is not None:
            identity = link.other.own_identity()
            if identity.listen_addrs:
                self._book.setdefault(peer, {}).update(dict.fromkeys(identity.listen_addrs))
            self._tell(PeerIdentified(identity))
        return link

    async def disconnect(self, peer: PeerId) -> None:
        """Close the connection to `peer`."""
        self._check_running()
        if peer not in self._links:
            raise NotConnected(f"{peer} is not connected; nothing was closed")
        self.lose(peer)

    def lose(self, peer: PeerId) -> None:
        """Drop the connection to `peer` on both sides; its streams are reset."""
        link = self._links.pop(peer, None)
        if link is None:
            return
        link.other.lose(self.peer_id)
        for stream in list(link.streams):
            stream.reset()
        self._tell(PeerDisconnected(peer))
        for carried in [other for other, each in self._links.items() if each.relay == peer]:
            self.lose(carried)
        self._listeners.lose(peer)

    # --- streams ------------------------------------------------------------------------------------------

    async def open_stream(
        self,
        peer: PeerId,
        protocol: str,
        *,
        first: bytes = b"",
        timeout_s: float = 10.0,  # noqa: ARG002 - nothing here takes time
    ) -> Stream:
        """Open a stream; dial a known address if the peer is not connected."""
        self._check_running()
        if peer not in self._links:
            addrs = self._book.get(peer)
            if not addrs:
                raise NotConnected(f"{peer} is not connected and no address of it is known; connect first")
            await self.connect(with_peer(next(iter(addrs)), peer))
        await asyncio.sleep(0)
        link = self._links.get(peer)
        if link is None:
            raise NotConnected(f"{peer} went away; connect again")
        if not link.other.speaks(protocol):
            raise StreamRefused(f"{peer} does not speak {protocol}; try another peer")
        mine, theirs = stream_pair(self.peer_id, peer, protocol, relayed=link.relay is not None)
        link.keep(mine)
        link.other.accept(self.peer_id, theirs)
        if first:
            try:
                await mine.write(first)
            except BaseException:
                mine.reset()
                raise
        return mine

    def speaks(self, protocol: str) -> bool:
        """Tell whether streams of `protocol` are accepted."""
        return protocol in self._config.stream_protocols and protocol in self._stream_handlers

    def accept(self, peer: PeerId, stream: PipeStream) -> None:
        """Serve an inbound stream in a task of its own."""
        link = self._links.get(peer)
        if link is None or not self._running or len(self._handlers) >= defaults.INBOUND_STREAMS_MAX:
            stream.reset()
            return
        link.keep(stream)
        task = asyncio.create_task(self._serve(self._stream_handlers[stream.protocol], stream))
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)

    async def _serve(self, handler: StreamHandler, stream: PipeStream) -> None:
        try:
            await handler(stream)
            await stream.close()
        except AicnError as error:
            _log.info("a stream of peer %s failed: %s", stream.peer, error)
        except Exception:  # noqa: BLE001 - as in `native`: one handler's bug is not everybody's
            _log.exception("the handler of %s failed on a stream of peer %s", stream.protocol, stream.peer)
        finally:
            stream.reset()

    # --- gossip -------------------------------------------------------------------------------------------

    async def publish(self, topic: str, data: bytes) -> int:
        """Send `data` to the subscribers of `topic`, who send it on."""
        self._check_running()
        return await self._gossip.publish(topic, data)

    def _tell(self, event: HostEvent) -> None:
        if self._event_handler is not None:
            asyncio.get_running_loop().call_soon(self._tell_now, event)

    def _tell_now(self, event: HostEvent) -> None:
        if self._event_handler is not None and self._running:
            try:
                self._event_handler(event)
            except Exception:  # noqa: BLE001 - told in the log; the next one is delivered
                _log.exception("the receiver of events failed on %s", type(event).__name__)

    # --- discovery ----------------------------------------------------------------------------------------

    async def provide(self, key: bytes) -> None:
        """Announce `key`."""
        self._check_running()
        self._network.provide(key, self)

    async def find_providers(
        self,
        key: bytes,
        *,
        limit: int = 100,
        timeout_s: float = 30.0,  # noqa: ARG002 - nothing here takes time
    ) -> tuple[PeerAddrs, ...]:
        """Return who provides `key`."""
        self._check_running()
        found = [PeerAddrs(host.peer_id, host.listen_addrs()) for host in self._network.providers(key)]
        return tuple(found[:limit])

    async def find_peer(self, peer: PeerId, *, timeout_s: float = 30.0) -> PeerAddrs:  # noqa: ARG002
        """Return where `peer` is."""
        self._check_running()
        for host in self._network.hosts():
            if host.peer_id == peer:
                return PeerAddrs(peer, host.listen_addrs())
        raise NotConnected(f"nobody knows where {peer} is; check the id")

    def _check_running(self) -> None:
        if not self._running:
            raise HostClosed("the host is not running; start it, or a new one")


_NOWHERE = Multiaddr("/ip4/127.0.0.1/tcp/1")
"""Where a host seems to be that listens nowhere."""
