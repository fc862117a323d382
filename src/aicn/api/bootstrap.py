"""`/api/v0/bootstrap`: the peers that this node always keeps connected, in the file and in force."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from aicn import defaults
from aicn.api.caller import Caller
from aicn.api.errors import parameter
from aicn.api.swarm import dial, read_node_addr
from aicn.config import ConfigFile, Raw, set_bootstrap
from aicn.errors import NotConnected
from aicn.ids import Multiaddr, PeerId
from aicn.p2p.host import Host


class BootstrapPeers(Protocol):
    """Who keeps the bootstrap peers connected: `aicn.p2p.dialer.Dialer`."""

    def bootstrap(self) -> Sequence[Multiaddr]:
        """Return the addresses in force."""
        ...

    def add_bootstrap(self, addr: Multiaddr) -> None:
        """Keep a connection to the peer at `addr` from now on."""
        ...

    def remove_bootstrap(self, addr: Multiaddr) -> None:
        """Dial `addr` no more."""
        ...


class BootstrapRoutes:
    """Handlers that change the file first and the running node second: what is answered survives a kill."""

    def __init__(self, host: Host, config_file: ConfigFile, peers: Callable[[], BootstrapPeers]) -> None:
        """Manage bootstrap peers.

        Args:
            host: dials a new one, and lets go of one that is removed.
            config_file: where they are kept.
            peers: returns who keeps them connected; called for requests only, so after the start.
        """
        self._host = host
        self._config_file = config_file
        self._peers = peers
        self._changing = asyncio.Lock()

    async def list(self, _: Caller) -> Any:
        """GET bootstrap/list: those in force."""
        return {"data": self._peers().bootstrap()}

    async def add(self, caller: Caller) -> Any:
        """POST bootstrap/add: an address that answers is kept; one that does not changes nothing."""
        target = await read_node_addr(caller)
        await dial(self._host, target)
        addr, _ = target
        async with self._changing:
            if len(self._peers().bootstrap()) >= defaults.BOOTSTRAP_MAX_ADDRS:
                raise parameter(f"there are {defaults.BOOTSTRAP_MAX_ADDRS} bootstrap addresses; remove one first")
            await self._config_file.update(lambda raw: _add(raw, addr))
            self._peers().add_bootstrap(addr)
        return {"message": "ok"}

    async def remove(self, caller: Caller) -> Any:
        """POST bootstrap/rm: dial it no more, and let go of it. An address that is not there is no failure."""
        addr, peer = await read_node_addr(caller)
        async with self._changing:
            was_there = addr in self._peers().bootstrap()
            await self._config_file.update(lambda raw: _remove(raw, addr))
            self._peers().remove_bootstrap(addr)
            if was_there and not self._has_address_of(peer):
                with contextlib.suppress(NotConnected):
                    await self._host.disconnect(peer)
        return {"message": "ok"}

    def _has_address_of(self, peer: PeerId) -> bool:
        return any(addr.endswith(f"/p2p/{peer}") for addr in self._peers().bootstrap())


def _add(raw: Raw, addr: Multiaddr) -> None:
    kept = raw.get("Bootstrap") or []
    if addr not in kept:
        set_bootstrap(raw, [*kept, addr])


def _remove(raw: Raw, addr: Multiaddr) -> None:
    kept = raw.get("Bootstrap") or []
    if addr in kept:
        set_bootstrap(raw, [each for each in kept if each != addr])
