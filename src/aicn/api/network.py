"""`/api/v0`: this node and the network around it."""

from __future__ import annotations

from typing import Any

from aicn import defaults
from aicn.api.caller import Caller
from aicn.api.errors import ApiError, Code
from aicn.config import format_duration
from aicn.p2p.host import Connection, Host
from aicn.p2p.rendezvous import rendezvous_key
from aicn.peers import Directory

_NEVER_MEASURED = "0s"


class NetworkRoutes:
    """Handlers that read the host and the directory; they change nothing."""

    def __init__(self, host: Host, directory: Directory, *, topic: str, collects: bool) -> None:
        """`topic` is the gossip topic of this network; `collects`: whether heartbeats of others are kept."""
        self._host = host
        self._directory = directory
        self._topic = topic
        self._collects = collects

    async def id(self, _: Caller) -> Any:
        """GET id."""
        return {
            "peer_id": self._host.peer_id,
            "protocol_version": defaults.PROTOCOL_VERSION,
            "addresses": self._host.listen_addrs(),
            "protocols": self._host.protocols,
        }

    async def peers(self, _: Caller) -> Any:
        """GET peers."""
        if not self._collects:
            raise ApiError(Code.UNSUPPORTED, "Unsupported function", 500)
        return {"data": self._directory.peers()}

    async def swarm_peers(self, _: Caller) -> Any:
        """GET swarm/peers."""
        return [_connection(connection) for connection in self._host.connections()]

    async def swarm_addrs(self, _: Caller) -> Any:
        """GET swarm/addrs."""
        return [{"peer": known.peer, "addrs": known.addrs} for known in self._host.known_addrs()]

    async def pubsub_peers(self, _: Caller) -> Any:
        """GET pubsub/peers."""
        return self._host.topic_peers(self._topic)

    async def rendezvous_peers(self, _: Caller) -> Any:
        """GET rendezvous/peers."""
        found = await self._host.find_providers(rendezvous_key(self._topic))
        return {"data": [provider.peer for provider in found]}


def _connection(connection: Connection) -> dict[str, str]:
    rtt_us = connection.rtt_us
    return {
        "id": connection.conn_id,
        "peer": connection.peer,
        "addr": connection.addr,
        "latency": _NEVER_MEASURED if rtt_us is None else format_duration(rtt_us / 1_000_000),
        "direction": connection.direction.capitalize(),
    }
