"""Whom this node lets in: `App.PeersCollect.ClientProject`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aicn.errors import NetworkError
from aicn.ids import PeerId
from aicn.p2p.host import Direction, Host, HostEvent, PeerConnected

_log = logging.getLogger("aicn.p2p")

Welcome = Callable[[PeerId], bool]
"""Whether a peer that dials this node may stay."""


class Gate:
    """Closes the connections of peers that dialled this node and are not welcome.

    Who is at the door is known only when the handshake is done; a peer that is refused sees its connection closed
    at once, before anything was asked of it or answered. Connections that this node dialled are not judged.
    """

    def __init__(self, host: Host, welcome: Welcome) -> None:
        """Guard `host`; ask `welcome` about each peer that comes."""
        self._host = host
        self._welcome = welcome
        self._refused: set[PeerId] = set()
        self._wanted = asyncio.Event()

    def on_event(self, event: HostEvent) -> None:
        """Judge a peer that has come."""
        if not isinstance(event, PeerConnected) or event.connection.direction is not Direction.INBOUND:
            return
        peer = event.connection.peer
        if not self._welcome(peer):
            self._refused.add(peer)
            self._wanted.set()

    async def run(self) -> None:
        """Close what was refused until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._refused:
                peer = self._refused.pop()
                try:
                    await self._host.disconnect(peer)
                except NetworkError as error:
                    _log.debug("peer %s was refused and is gone already: %s", peer, error)
                else:
                    _log.info("peer %s was refused: it serves nothing of the project in ClientProject", peer)
