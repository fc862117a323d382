"""The seam between policy and the peer-to-peer network.

`Host` is what the rest of aicn knows of libp2p. Two implementations stand behind it: `aicn.p2p.native`
(the Rust core, real sockets) and `aicn.p2p.memory` (many nodes in one process, for tests and simulation).
Both are driven by the same test suite.

Every method may be cancelled at any await without losing data, leaking a stream or leaving the host
unusable. Every error is an `aicn.errors.NetworkError` or an `aicn.errors.AddressError`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from aicn.errors import AicnError
from aicn.ids import Multiaddr, PeerId


class Direction(StrEnum):
    """Who dialled."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class RoutingMode(StrEnum):
    """The part a host plays in the DHT."""

    CLIENT = "client"
    SERVER = "server"
    AUTO = "auto"
    """Server while AutoNAT says that the node is public, else client."""
    NONE = "none"
    """Client that does not join by itself."""


class PubsubRouter(StrEnum):
    """The gossip protocol spoken with peers of the reference."""

    FLOODSUB = "floodsub"
    GOSSIPSUB = "gossipsub"


@dataclass(frozen=True, slots=True)
class HostConfig:
    """All that a host is built from. Durations in seconds, sizes in bytes."""

    private_key: bytes = field(repr=False)
    """libp2p protobuf encoding of a secp256k1 private key, 36 bytes."""
    listen_addrs: tuple[Multiaddr, ...] = ()
    psk: bytes | None = field(default=None, repr=False)
    """32-byte pre-shared key of a private network; None for a public one."""
    protocol_version: str = "aicn/0.0.1"
    agent_version: str = "AIComputingNode@aicn"
    stream_protocols: tuple[str, ...] = ()
    """Protocols that inbound streams are accepted for; advertised by identify."""
    topics: tuple[str, ...] = ()
    """Gossip topics subscribed to from the start."""
    pubsub_router: PubsubRouter = PubsubRouter.FLOODSUB
    flood_publish: bool = True
    kad_protocol: str = "/dbc/kad/1.0.0"
    routing_mode: RoutingMode = RoutingMode.CLIENT
    relay_service: bool = False
    """Carry circuits for others."""
    autonat_service: bool = True
    """Dial back for others who ask whether they are public."""
    hole_punching: bool = False
    """Try to make a direct connection out of each relayed one."""
    port_mapping: bool = False
    """Ask the router, by UPnP and NAT-PMP, to let others in."""
    dial_timeout_s: float = 15.0
    ping_interval_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Connection:
    """One established connection. A host keeps exactly one per peer, but for the moment of a change-over."""

    peer: PeerId
    addr: Multiaddr
    """Remote address, without the trailing /p2p part."""
    direction: Direction
    relayed: bool
    rtt_us: int | None
    """Last round-trip time measured by ping, in microseconds; None before the first answer."""
    conn_id: str
    """Unique among the connections of this host."""


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """What a peer said of itself through identify."""

    peer: PeerId
    protocol_version: str
    agent_version: str
    protocols: tuple[str, ...]
    listen_addrs: tuple[Multiaddr, ...]
    public_key: bytes
    """libp2p protobuf encoding, 37 bytes."""


@dataclass(frozen=True, slots=True)
class PeerAddrs:
    """A peer and where it may be dialled."""

    peer: PeerId
    addrs: tuple[Multiaddr, ...]


@dataclass(frozen=True, slots=True)
class GossipMessage:
    """A signed gossip message whose signature has been checked."""

    topic: str
    source: PeerId
    """Who signed it, which is not always who sent it on."""
    seqno: bytes
    """8 bytes; with `source` the identity of the message."""
    data: bytes


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """The first connection to a peer is up."""

    connection: Connection


@dataclass(frozen=True, slots=True)
class PeerDisconnected:
    """The last connection to a peer is gone."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class PeerIdentified:
    """Identify has answered; the peer's protocols are known from here on."""

    identity: PeerIdentity


@dataclass(frozen=True, slots=True)
class PeerSubscribed:
    """A connected peer listens to `topic` from now on: what is published reaches it."""

    peer: PeerId
    topic: str


@dataclass(frozen=True, slots=True)
class ReachabilityChanged:
    """Others can dial this host (True), cannot (False), or that is not known any more (None), as AutoNAT finds."""

    public: bool | None


@dataclass(frozen=True, slots=True)
class ListenAddrsChanged:
    """`Host.listen_addrs` returns something else from now on. Also told at the start, once there is an address."""

    addrs: tuple[Multiaddr, ...]


@dataclass(frozen=True, slots=True)
class EventsLost:
    """The event queue overflowed: `count` events were dropped. State must be read afresh from the host."""

    count: int


@dataclass(frozen=True, slots=True)
class HostEnded:
    """The host has ended by itself, by a bug of its own: every call raises from here on."""

    error: AicnError


HostEvent = (
    PeerConnected
    | PeerDisconnected
    | PeerIdentified
    | PeerSubscribed
    | ReachabilityChanged
    | ListenAddrsChanged
    | EventsLost
    | HostEnded
)


class Stream(Protocol):
    """A bidirectional byte stream to a peer, with back-pressure in both directions."""

    @property
    def peer(self) -> PeerId:
        """The peer at the other end."""
        ...

    @property
    def protocol(self) -> str:
        """The protocol that was negotiated."""
        ...

    @property
    def relayed(self) -> bool:
        """Whether a relay carries the stream."""
        ...

    async def read(self, max_bytes: int = 65_536) -> bytes:
        """Return all that has arrived, at most `max_bytes`; wait if nothing has.

        Returns:
            The bytes, or `b""` once the other side has closed its half.

        Raises:
            StreamReset: the stream was reset or its connection was lost.
        """
        ...

    async def write(self, data: bytes) -> None:
        """Hand over `data`; wait while the send buffer is full. One writer at a time.

        If cancelled, a prefix of `data` may have been sent: reset the stream then.

        Raises:
            StreamReset: the stream was reset or its connection was lost.
            NetworkTimeout: the other side took nothing for `defaults.STALL_TIMEOUT_S`; the stream is reset.
        """
        ...

    async def finish(self, data: bytes) -> None:
        """Hand over the last bytes and close: `write`, then `close`, in one step that the network takes as one.

        Raises:
            StreamReset: the stream was reset or its connection was lost.
        """
        ...

    async def close_write(self) -> None:
        """Send all that was written, then end this half. The other half stays readable."""
        ...

    async def close(self) -> None:
        """Send all that was written, end both halves and release the stream. Idempotent."""
        ...

    def reset(self) -> None:
        """End both halves at once, in error; drop what was not sent. Idempotent, never raises."""
        ...


StreamHandler = Callable[[Stream], Awaitable[None]]
"""Called in a task of its own for each inbound stream. The handler owns the stream: if it raises or is
cancelled the stream is reset; if it returns without closing, the stream is closed. `Host.close` cancels it
and waits for it."""

GossipHandler = Callable[[GossipMessage], None]
"""Called on the event loop for each message, own messages excluded. It must not block; if it raises, the error
is logged and the next message is delivered."""

EventHandler = Callable[[HostEvent], None]
"""Called on the event loop for each event, in order, under the same contract as `GossipHandler`."""


class Host(Protocol):
    """A libp2p host."""

    @property
    def peer_id(self) -> PeerId:
        """The identity of this host."""
        ...

    @property
    def protocols(self) -> Sequence[str]:
        """The protocols that this host speaks, as identify tells them."""
        ...

    def on_stream(self, protocol: str, handler: StreamHandler) -> None:
        """Set the handler of inbound streams of `protocol`, one of `HostConfig.stream_protocols`. Before `start`."""
        ...

    def on_gossip(self, handler: GossipHandler) -> None:
        """Set the receiver of gossip. Before `start`."""
        ...

    def on_event(self, handler: EventHandler) -> None:
        """Set the receiver of events. Before `start`."""
        ...

    async def start(self) -> None:
        """Listen on the configured addresses and begin.

        Raises:
            ListenFailed: an address cannot be listened on; nothing stays open.
        """
        ...

    async def close(self) -> None:
        """Cancel handlers, close connections, end every pending call with `HostClosed`. Idempotent."""
        ...

    def listen_addrs(self) -> tuple[Multiaddr, ...]:
        """Return the addresses actually listened on, without /p2p; ports resolved, wildcards expanded.

        Those of relays (`.../p2p/RELAY/p2p-circuit`) come last; those that a router maps to this host are among the
        others.
        """
        ...

    async def listen(self, addr: Multiaddr, *, timeout_s: float | None = None) -> None:
        """Listen on one more address, or be called through one more relay: `<relay>/p2p/RELAY/p2p-circuit`.

        Returns once that works. A relay that is lost later is asked again until `unlisten`.

        Raises:
            AddressError: not a multiaddr.
            ListenFailed: the address is taken, or the relay refused or cannot be dialled; nothing is kept.
            NetworkTimeout: the relay did not agree within `timeout_s` (default: `HostConfig.dial_timeout_s`).
            Overloaded: too many addresses are listened on.
        """
        ...

    async def unlisten(self, addr: Multiaddr) -> None:
        """Listen on `addr` no more, as it was asked for or as `listen_addrs` tells it. Idempotent; connections stay."""
        ...

    def connections(self) -> tuple[Connection, ...]:
        """Return a snapshot of the established connections. Does not wait."""
        ...

    def connection(self, peer: PeerId) -> Connection | None:
        """Return the connection to `peer`, a direct one before a relayed one. Does not wait."""
        ...

    def identity(self, peer: PeerId) -> PeerIdentity | None:
        """Return what a connected peer said of itself, or None before identify has answered. Does not wait."""
        ...

    def known_addrs(self) -> tuple[PeerAddrs, ...]:
        """Return the address book: every peer with an address known here, this host included. Bounded."""
        ...

    def topic_peers(self, topic: str) -> tuple[PeerId, ...]:
        """Return the connected peers subscribed to `topic`."""
        ...

    async def connect(self, addr: Multiaddr, *, timeout_s: float | None = None) -> PeerId:
        """Dial `addr`, which must end in /p2p/ID; return at once if that peer is connected.

        Raises:
            AddressError: not a multiaddr, or without /p2p.
            DialFailed: with each address and why it failed, in one sentence.
            NetworkTimeout: no answer within `timeout_s` (default: `HostConfig.dial_timeout_s`).
        """
        ...

    async def disconnect(self, peer: PeerId) -> None:
        """Close every connection to `peer`.

        Raises:
            NotConnected: there is none.
        """
        ...

    async def open_stream(self, peer: PeerId, protocol: str, *, first: bytes = b"", timeout_s: float = 10.0) -> Stream:
        """Open a stream over the existing connection, a direct one first; dial a known address if there is none.

        `first` is handed over as by `write`, but travels with the request for the stream: that saves a round of
        wake-ups on both sides. `timeout_s` bounds the opening, not the writing.

        Raises:
            NotConnected, DialFailed, StreamRefused, NetworkTimeout, Overloaded
        """
        ...

    async def publish(self, topic: str, data: bytes) -> int:
        """Sign and send `data` to the subscribers of `topic`; return to how many peers it went (0 when alone).

        Raises:
            PublishFailed: larger than 1 MiB.
        """
        ...

    async def provide(self, key: bytes) -> None:
        """Announce in the DHT that this host provides `key` (a multihash), and keep announcing it."""
        ...

    async def find_providers(self, key: bytes, *, limit: int = 100, timeout_s: float = 30.0) -> tuple[PeerAddrs, ...]:
        """Ask the DHT who provides `key`; addresses where known. Returns what was found when time ran out."""
        ...

    async def find_peer(self, peer: PeerId, *, timeout_s: float = 30.0) -> PeerAddrs:
        """Ask the DHT where `peer` is.

        Raises:
            NotConnected: nobody knows.
        """
        ...
