"""The host over the Rust core. With `native_stream` the only module that imports `aicn._native`.

Python starts an operation under a number and awaits a future; the core queues what becomes of it and wakes the loop
once for a batch.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from aicn import _native, defaults
from aicn.errors import AicnError, CorePanicked, HostClosed, NetworkTimeout
from aicn.identity import PrivateKey
from aicn.ids import Multiaddr, PeerId
from aicn.multiaddr import parse, parse_peer_id, peer_of
from aicn.p2p import native_values
from aicn.p2p.host import (
    Connection,
    EventHandler,
    EventsLost,
    GossipHandler,
    GossipMessage,
    HostConfig,
    HostEnded,
    HostEvent,
    ListenAddrsChanged,
    PeerAddrs,
    PeerConnected,
    PeerDisconnected,
    PeerIdentified,
    PeerIdentity,
    PeerSubscribed,
    PubsubRouter,
    ReachabilityChanged,
    Stream,
    StreamHandler,
)
from aicn.p2p.native_stream import NativeStream

_log = logging.getLogger("aicn.p2p")

_EVENTS: Final[dict[int, Callable[[Any], HostEvent]]] = {
    _native.CONNECTED: lambda value: PeerConnected(native_values.connection(value)),
    _native.DISCONNECTED: lambda value: PeerDisconnected(PeerId(value)),
    _native.IDENTIFIED: lambda value: PeerIdentified(native_values.identity(value)),
    _native.SUBSCRIBED: lambda value: PeerSubscribed(PeerId(value[0]), value[1]),
    _native.REACHABILITY: ReachabilityChanged,
    _native.LISTEN_ADDRS: lambda value: ListenAddrsChanged(native_values.addrs(value)),
    _native.LOST: EventsLost,
    _native.ENDED: lambda value: HostEnded(native_values.error(*value)),
}
"""What the core tells unasked, as the events of the seam."""


class NativeHost:
    """A `Host` over the Rust core."""

    def __init__(self, config: HostConfig) -> None:
        """Prepare; nothing runs before `start`.

        Raises:
            AddressError: a listen address cannot be parsed.
            IdentityError: the private key cannot be used.
        """
        self._peer_id = PrivateKey.from_protobuf(config.private_key).public.peer_id
        self._config = config
        self._node: _native.Node | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._last_op = 0
        self._closed = False
        self._closing: asyncio.Task[None] | None = None
        self._stream_handlers: dict[str, StreamHandler] = {}
        self._gossip_handler: GossipHandler | None = None
        self._event_handler: EventHandler | None = None
        self._handlers: set[asyncio.Task[None]] = set()
        self.streams_refused = 0
        """Inbound streams reset because too many were being served."""
        self.events_lost = 0
        """Events that the core dropped because this process was too slow."""

    # --- life ---------------------------------------------------------------------------------------------

    @property
    def peer_id(self) -> PeerId:
        """The identity of this host."""
        return self._peer_id

    @property
    def pending(self) -> int:
        """Operations under way."""
        return len(self._pending)

    def on_stream(self, protocol: str, handler: StreamHandler) -> None:
        """Set the handler of inbound streams of `protocol`."""
        self._stream_handlers[protocol] = handler

    def on_gossip(self, handler: GossipHandler) -> None:
        """Set the receiver of gossip."""
        self._gossip_handler = handler

    def on_event(self, handler: EventHandler) -> None:
        """Set the receiver of events."""
        self._event_handler = handler

    async def start(self) -> None:
        """Listen on the configured addresses and begin."""
        config = self._config
        loop = self._loop = asyncio.get_running_loop()
        _native.set_log_level(native_values.core_log.getEffectiveLevel())
        watches = sys.platform != "win32"
        try:
            node = _native.Node(
                private_key=config.private_key,
                listen_addrs=list(config.listen_addrs),
                psk=config.psk,
                protocol_version=config.protocol_version,
                agent_version=config.agent_version,
                stream_protocols=list(config.stream_protocols),
                topics=list(config.topics),
                gossipsub=config.pubsub_router is PubsubRouter.GOSSIPSUB,
                flood_publish=config.flood_publish,
                kad_protocol=config.kad_protocol,
                routing_mode=str(config.routing_mode),
                relay_service=config.relay_service,
                autonat_service=config.autonat_service,
                hole_punching=config.hole_punching,
                port_mapping=config.port_mapping,
                dial_timeout_s=config.dial_timeout_s,
                ping_interval_s=config.ping_interval_s,
                # A Windows loop watches no descriptors.
                notify=None if watches else partial(loop.call_soon_threadsafe, self._drain),
            )
        except _native.CoreError as error:
            raise native_values.error(*error.args) from None
        self._node = node
        if watches:
            loop.add_reader(node.fd(), self._drain)
        try:
            await self.operation(node.start)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Cancel handlers, close connections, end every pending call with `HostClosed`."""
        self._closed = True
        self._closing = self._closing or asyncio.create_task(self._close())
        await asyncio.shield(self._closing)  # goes on without a caller that is cancelled

    async def _close(self) -> None:
        handlers = list(self._handlers)
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        node, loop = self._node, self._loop
        if node is None or loop is None:
            return
        try:
            await self._operation(node, node.close)
        except CorePanicked as error:
            _log.error("the core had ended by itself before it was closed: %s", error)
        finally:
            if node.fd() >= 0:
                loop.remove_reader(node.fd())
            self._drain()  # what the core said last, its log records above all
            for future in self._pending.values():
                if not future.done():
                    future.set_exception(HostClosed("the host was closed"))
            self._pending.clear()

    # --- operations ---------------------------------------------------------------------------------------

    async def operation(self, start: Callable[[int], None]) -> Any:
        """Start an operation and wait for what becomes of it; a cancellation drops it in the core."""
        if self._node is None or self._closed:
            raise HostClosed("the host is not running; start it, or a new one")
        return await self._operation(self._node, start)

    async def _operation(self, node: _native.Node, start: Callable[[int], None]) -> Any:
        self._last_op = op = self._last_op + 1
        future = asyncio.get_running_loop().create_future()
        self._pending[op] = future
        start(op)
        try:
            return await future
        except asyncio.CancelledError:
            node.cancel(op)
            raise
        finally:
            self._pending.pop(op, None)

    def _drain(self) -> None:
        """Take everything the core has done since the last call. Called by the loop."""
        if self._node is None:
            return
        for op, kind, value in self._node.drain():
            if op:
                # An operation that was cancelled is not there any more; a stream it brought is reset by being dropped.
                future = self._pending.pop(op, None)
                if future is None or future.done():
                    continue
                if kind == _native.FAILED:
                    future.set_exception(native_values.error(*value))
                else:
                    future.set_result(value)
            elif kind == _native.INBOUND:
                self._accept(value)
            elif kind == _native.LOGS:
                native_values.log(value)
            elif kind == _native.GOSSIP:
                self._tell_gossip(GossipMessage(value[0], PeerId(value[1]), value[2], value[3]))
            else:
                self._tell_event(self._event(kind, value))

    def _event(self, kind: int, value: Any) -> HostEvent:
        if kind == _native.LOST:
            self.events_lost += value
        return _EVENTS[kind](value)

    def _tell_gossip(self, message: GossipMessage) -> None:
        if self._gossip_handler is not None and not self._closed:
            try:
                self._gossip_handler(message)
            except Exception:  # noqa: BLE001 - a bug of a handler must not end the loop that serves all others
                _log.exception("the receiver of gossip failed on a message of %s", message.source)

    def _tell_event(self, event: HostEvent) -> None:
        if self._event_handler is not None and not self._closed:
            try:
                self._event_handler(event)
            except Exception:  # noqa: BLE001 - a bug of a handler must not end the loop that serves all others
                _log.exception("the receiver of events failed on %s", type(event).__name__)

    def _accept(self, native: _native.NativeStream) -> None:
        handler = self._stream_handlers.get(native.protocol)
        if handler is None or self._closed or len(self._handlers) >= defaults.INBOUND_STREAMS_MAX:
            self.streams_refused += 1
            native.reset()
            return
        task = asyncio.create_task(self._serve(handler, NativeStream(self, native)))
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)

    async def _serve(self, handler: StreamHandler, stream: Stream) -> None:
        try:
            await handler(stream)
            await stream.close()
        except AicnError as error:
            _log.info("a stream of peer %s failed: %s", stream.peer, error)
        except Exception:  # noqa: BLE001 - a bug of a handler must not end the loop that serves all others
            _log.exception("the handler of %s failed on a stream of peer %s", stream.protocol, stream.peer)
        finally:
            stream.reset()  # nothing, if it was closed

    # --- snapshots ----------------------------------------------------------------------------------------

    @property
    def protocols(self) -> Sequence[str]:
        """The protocols that this host speaks."""
        return self._node.protocols() if self._node is not None else []

    def listen_addrs(self) -> tuple[Multiaddr, ...]:
        """Return the addresses actually listened on, direct ones first; the core keeps them in no order."""
        if self._node is None:
            return ()
        return tuple(
            sorted(native_values.addrs(self._node.listen_addrs()), key=lambda addr: ("/p2p-circuit" in addr, addr))
        )

    def connections(self) -> tuple[Connection, ...]:
        """Return a snapshot of the established connections."""
        return tuple(map(native_values.connection, self._node.connections())) if self._node is not None else ()

    def connection(self, peer: PeerId) -> Connection | None:
        """Return the connection to `peer`."""
        found = self._node.connection(peer) if self._node is not None else None
        return None if found is None else native_values.connection(found)

    def identity(self, peer: PeerId) -> PeerIdentity | None:
        """Return what a connected peer said of itself."""
        found = self._node.identity(peer) if self._node is not None else None
        return None if found is None else native_values.identity(found)

    def known_addrs(self) -> tuple[PeerAddrs, ...]:
        """Return the address book."""
        return tuple(map(native_values.peer_addrs, self._node.known_addrs())) if self._node is not None else ()

    def topic_peers(self, topic: str) -> tuple[PeerId, ...]:
        """Return the connected peers subscribed to `topic`."""
        return tuple(map(PeerId, self._node.topic_peers(topic))) if self._node is not None else ()

    # --- what waits for others ----------------------------------------------------------------------------

    async def listen(self, addr: Multiaddr, *, timeout_s: float | None = None) -> None:
        """Listen on one more address, or be called through one more relay."""
        parse(addr)
        wait_s = self._config.dial_timeout_s if timeout_s is None else timeout_s
        await self.operation(lambda op: self._running.listen(op, addr, wait_s))

    async def unlisten(self, addr: Multiaddr) -> None:
        """Listen on `addr` no more."""
        parse(addr)
        await self.operation(lambda op: self._running.unlisten(op, addr))

    async def connect(self, addr: Multiaddr, *, timeout_s: float | None = None) -> PeerId:
        """Dial `addr`; return at once if that peer is connected."""
        parse(addr)
        wait_s = self._config.dial_timeout_s if timeout_s is None else timeout_s
        relay, circuit, _ = addr.partition("/p2p-circuit")
        peer = peer_of(addr)
        if circuit and peer_of(Multiaddr(relay)) is not None and (peer is None or self.connection(peer) is None):
            # A call through a relay fails while another part dials the relay: that dial is waited for.
            await self.connect(Multiaddr(relay), timeout_s=wait_s)
        return PeerId(await self.operation(lambda op: self._running.connect(op, addr, wait_s)))

    async def disconnect(self, peer: PeerId) -> None:
        """Close every connection to `peer`."""
        await self.operation(lambda op: self._running.disconnect(op, peer))

    async def open_stream(self, peer: PeerId, protocol: str, *, first: bytes = b"", timeout_s: float = 10.0) -> Stream:
        """Open a stream and hand over its first bytes."""
        size = defaults.STREAM_BUFFER_BYTES
        native = await self.operation(lambda op: self._running.open_stream(op, peer, protocol, timeout_s, first[:size]))
        stream = NativeStream(self, native)
        if len(first) > size:
            await stream.write(first[size:])  # a stream that is not handed out is dropped, and so reset
        return stream

    async def publish(self, topic: str, data: bytes) -> int:
        """Sign and send `data`; return to how many peers it went."""
        count: int = await self.operation(lambda op: self._running.publish(op, topic, data))
        return count

    async def provide(self, key: bytes) -> None:
        """Announce `key` in the DHT, and keep announcing it."""
        await self.operation(lambda op: self._running.provide(op, key))

    async def find_providers(self, key: bytes, *, limit: int = 100, timeout_s: float = 30.0) -> tuple[PeerAddrs, ...]:
        """Ask the DHT who provides `key`."""
        try:
            found = await self.operation(lambda op: self._running.find_providers(op, key, limit, timeout_s))
        except NetworkTimeout:
            return ()
        return tuple(map(native_values.peer_addrs, found))

    async def find_peer(self, peer: PeerId, *, timeout_s: float = 30.0) -> PeerAddrs:
        """Ask the DHT where `peer` is."""
        parse_peer_id(peer)
        found = await self.operation(lambda op: self._running.find_peer(op, peer, timeout_s))
        return native_values.peer_addrs(found[0])

    @property
    def _running(self) -> _native.Node:
        if self._node is None:
            raise HostClosed("the host is not running; start it, or a new one")
        return self._node
