"""`/api/v0/swarm`: connections that an operator opens and closes by hand."""

from __future__ import annotations

from typing import Any

import msgspec

from aicn.api.caller import Caller
from aicn.api.endpoint import read_json
from aicn.api.errors import ApiError, Code, parameter
from aicn.errors import DialFailed, NetworkTimeout, NotConnected
from aicn.ids import Multiaddr, PeerId
from aicn.multiaddr import parse, peer_of
from aicn.p2p.host import Host


class _NodeAddrFields(msgspec.Struct):
    node_addr: str = ""


class SwarmRoutes:
    """Handlers that connect to a peer and disconnect from it; what they do lasts until the next event, or restart."""

    def __init__(self, host: Host) -> None:
        """Use the connections of `host`."""
        self._host = host

    async def connect(self, caller: Caller) -> Any:
        """POST swarm/connect."""
        await dial(self._host, await read_node_addr(caller))
        return {"message": "ok"}

    async def disconnect(self, caller: Caller) -> Any:
        """POST swarm/disconnect."""
        _, peer = await read_node_addr(caller)
        try:
            await self._host.disconnect(peer)
        except NotConnected as error:
            raise ApiError(Code.INTERNAL, f"not connected: {error}", 500) from error
        return {"message": "ok"}


async def read_node_addr(caller: Caller) -> tuple[Multiaddr, PeerId]:
    """Return the `node_addr` of the request body, and the peer that it leads to.

    Raises:
        ApiError: it is missing, or names no peer.
        AddressError: it is no multiaddr.
    """
    text = (await read_json(caller, _NodeAddrFields)).node_addr
    if not text:
        raise parameter("empty node_addr")
    addr = parse(text)
    peer = peer_of(addr)
    if peer is None:
        message = f"invalid p2p multiaddr: {addr} does not end in /p2p/ID; add the id of the peer"
        raise ApiError(Code.INTERNAL, message, 500)
    return addr, peer


async def dial(host: Host, target: tuple[Multiaddr, PeerId]) -> None:
    """Connect to the peer at `target`; return at once if it is connected.

    Raises:
        ApiError: it cannot be reached. The message begins as that of the reference does.
    """
    addr, peer = target
    if peer == host.peer_id:
        message = f"failed to dial: dial to self attempted: {addr} is this node; name another one"
        raise ApiError(Code.INTERNAL, message, 500)
    try:
        await host.connect(addr)
    except (DialFailed, NetworkTimeout) as error:
        raise ApiError(Code.INTERNAL, f"failed to dial: failed to dial {peer}: {error}", 500) from error
