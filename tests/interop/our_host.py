"""Our host as the tests hold it: what it hears can be awaited, what it is asked is answered by the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, TypeVar

from aicn.identity import PrivateKey
from aicn.ids import Multiaddr, PeerId
from aicn.p2p.host import (
    GossipMessage,
    HostConfig,
    HostEvent,
    PeerDisconnected,
    PeerIdentified,
    PeerIdentity,
    PeerSubscribed,
    PubsubRouter,
    RoutingMode,
    Stream,
    StreamHandler,
)
from aicn.p2p.native import NativeHost
from interop.oracle_process import PATIENCE_S
from interop.waiting import eventually

CHAT_PROXY: Final = "/chat-proxy/0.0.1"
TOPIC: Final = "DeepBrainChain"

Told = TypeVar("Told", GossipMessage, PeerIdentified, PeerSubscribed, PeerDisconnected)


class OurHost:
    """A `NativeHost` on a loopback port. Use as a context."""

    def __init__(  # noqa: PLR0913 - the settings of a host
        self,
        *,
        psk: bytes | None = None,
        router: str = "floodsub",
        dht: str = "server",
        listen: bool = True,
        handler: StreamHandler | None = None,
        key: PrivateKey | None = None,
        dial_timeout_s: float = 15.0,
        relay_service: bool = False,
        hole_punching: bool = False,
    ) -> None:
        """Prepare a host.

        Args:
            psk: 32-byte key of a private network, None for a public one.
            router: `floodsub` or `gossipsub`.
            dht: `client` or `server`.
            listen: whether it can be dialled.
            handler: of chat-proxy streams; by default they are kept for `inbound`.
            key: identity; None for a fresh one.
            dial_timeout_s: how long a peer may take to answer a dial.
            relay_service: carry circuits for others.
            hole_punching: speak DCUtR.
        """
        config = HostConfig(
            private_key=(key or PrivateKey.generate()).protobuf,
            listen_addrs=(Multiaddr("/ip4/127.0.0.1/tcp/0"),) if listen else (),
            psk=psk,
            agent_version="AIComputingNode@interop",
            stream_protocols=(CHAT_PROXY,),
            topics=(TOPIC,),
            pubsub_router=PubsubRouter(router),
            routing_mode=RoutingMode(dht),
            dial_timeout_s=dial_timeout_s,
            relay_service=relay_service,
            hole_punching=hole_punching,
        )
        self.host = NativeHost(config)
        self.host.on_gossip(self._tell)
        self.host.on_event(self._tell)
        self.host.on_stream(CHAT_PROXY, handler or self._keep)
        self._told: list[GossipMessage | HostEvent] = []
        self._changed = asyncio.Event()
        self._inbound: asyncio.Queue[Stream] = asyncio.Queue()
        self._release = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.host.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release.set()
        await self.host.close()

    @property
    def peer(self) -> PeerId:
        """The identity of the host."""
        return self.host.peer_id

    @property
    def addr(self) -> Multiaddr:
        """Where it listens, with /p2p."""
        return Multiaddr(f"{self.host.listen_addrs()[0]}/p2p/{self.peer}")

    def _tell(self, told: GossipMessage | HostEvent) -> None:
        self._told.append(told)
        self._changed.set()

    async def _keep(self, stream: Stream) -> None:
        """Leave the stream to the test, until the host ends."""
        self._inbound.put_nowait(stream)
        await self._release.wait()

    async def inbound(self) -> Stream:
        """Return the next chat-proxy stream that a peer opened."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._inbound.get()

    async def heard(self, kind: type[Told], check: Callable[[Told], bool] = lambda _: True) -> Told:
        """Return the first thing of that kind that `check` holds for, heard already or to come, and take it."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for told in self._told:
                    if isinstance(told, kind) and check(told):
                        self._told.remove(told)
                        return told
                self._changed.clear()
                await self._changed.wait()

    async def gossip(self, data: bytes) -> GossipMessage:
        """Return the message with that payload once it is heard."""
        return await self.heard(GossipMessage, lambda message: message.data == data)

    def copies(self, data: bytes) -> int:
        """Return how many messages with that payload lie untaken."""
        return sum(isinstance(told, GossipMessage) and told.data == data for told in self._told)

    async def subscribed(self, peer: PeerId) -> None:
        """Wait until `peer` is known to listen to the topic."""
        if peer not in self.host.topic_peers(TOPIC):
            await self.heard(PeerSubscribed, lambda event: event.peer == peer)

    async def disconnected(self, peer: PeerId) -> None:
        """Wait until the last connection to `peer` is gone."""
        await self.heard(PeerDisconnected, lambda event: event.peer == peer)

    async def identified(self, peer: PeerId) -> PeerIdentity:
        """Return what `peer` said of itself, once it has."""
        known = self.host.identity(peer)
        if known is not None:
            return known
        return (await self.heard(PeerIdentified, lambda event: event.identity.peer == peer)).identity

    async def knows(self, peer: PeerId) -> None:
        """Wait until `peer` is known to listen to the topic, whatever was heard before."""
        await eventually("a peer listens to the topic", lambda: peer in self.host.topic_peers(TOPIC))

    async def forgets(self, peer: PeerId) -> None:
        """Wait until there is no connection to `peer`."""
        await eventually("the connection is gone", lambda: self.host.connection(peer) is None)
