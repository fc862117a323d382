"""What a node tells of itself to whoever asks: over gossip or over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aicn import defaults
from aicn.identity import PublicKey
from aicn.p2p.host import Host
from aicn.peers import NodeFlags, describe_models
from aicn.registry import ModelRegistry
from aicn.wire.messages import AIProjectResponse, HostInfoResponse, PeerIdentityResponse

ReadHardware = Callable[[], Awaitable[HostInfoResponse]]
"""Returns what machine this is, in bounded time; never raises for a fact that cannot be read."""


class NodeFacts:
    """The identity, machine and models of this node, as they are when asked for."""

    def __init__(
        self, host: Host, registry: ModelRegistry, flags: NodeFlags, read_hardware: ReadHardware, *, agent_version: str
    ) -> None:
        """Tell of the node behind `host`.

        Args:
            host: who it is.
            registry: what it serves.
            flags: what kind of node it is, but for whether it has models.
            read_hardware: what it runs on.
            agent_version: this program and its version, as identify tells them.
        """
        self._host = host
        self._registry = registry
        self._flags = flags
        self._agent_version = agent_version
        self.hardware = read_hardware

    def identity(self) -> PeerIdentityResponse:
        """Return what identify tells too."""
        return PeerIdentityResponse(
            public_key=PublicKey.from_peer_id(self._host.peer_id).protobuf,
            listen_addrs=tuple(self._host.listen_addrs()),
            protocols=tuple(self._host.protocols),
            protocol_version=defaults.PROTOCOL_VERSION,
            agent_version=self._agent_version,
        )

    def projects(self, *, reveal_api: bool) -> AIProjectResponse:
        """Return what is offered here; `reveal_api`: with the URLs of the model servers, which are nobody else's."""
        return describe_models(
            self._registry.offered(), self._registry.in_flight.count, self._flags, reveal_api=reveal_api
        )
