"""What a host in memory listens on: places of the made-up network, and circuits lent by relays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from aicn.errors import DialFailed, HostClosed, ListenFailed
from aicn.ids import Multiaddr, PeerId
from aicn.multiaddr import is_relayed
from aicn.p2p.memory_network import MemoryNetwork, relay_part

if TYPE_CHECKING:
    from aicn.p2p.memory import MemoryHost

_ASK_RELAY_AFTER_S = 0.05
"""How long after a relay was lost it is asked again. Far shorter than in a real network: nothing here is slow."""


class MemoryListeners:
    """The addresses of one host."""

    def __init__(self, host: MemoryHost, network: MemoryNetwork, changed: Callable[[], None]) -> None:
        """Listen for `host`; `changed` is called when its addresses are others than before."""
        self._host = host
        self._network = network
        self._changed = changed
        self._held: dict[Multiaddr, Multiaddr] = {}
        """What is listened on, and what was asked for."""
        self._lost: dict[Multiaddr, asyncio.Task[None]] = {}
        """Circuits that are asked for again, and who does it."""

    def addrs(self) -> tuple[Multiaddr, ...]:
        """Return the addresses listened on."""
        return tuple(self._held)

    def relays(self) -> frozenset[PeerId]:
        """Return the relays through which the host can be called."""
        return frozenset(relay_part(addr)[1] for addr in self._held if is_relayed(addr))

    def begin(self, addrs: tuple[Multiaddr, ...]) -> None:
        """Take the configured addresses; relays are asked in the background.

        Raises:
            ListenFailed: another host listens there; none is taken.
        """
        try:
            for addr in addrs:
                if not is_relayed(addr):
                    self._held[self._network.bind(self._host, addr)] = addr
        except ListenFailed:
            self._held.clear()
            self._network.remove(self._host)
            raise
        for addr in filter(is_relayed, addrs):
            self._ask_again(addr)
        if self._held:
            self._changed()

    async def listen(self, addr: Multiaddr) -> None:
        """Listen on one more address.

        Raises:
            ListenFailed: it is taken, or the relay does not lend a circuit.
        """
        if addr in self._held:
            return
        if is_relayed(addr):
            self._forget(addr)
            self._held[await self._reserve(addr)] = addr
        else:
            self._held[self._network.bind(self._host, addr)] = addr
        self._changed()

    def unlisten(self, addr: Multiaddr) -> None:
        """Listen on `addr` no more."""
        self._forget(addr)
        for told in [told for told, asked in self._held.items() if addr in {asked, told}]:
            del self._held[told]
            self._network.unbind(self._host, told)
            self._changed()

    def lose(self, relay: PeerId) -> None:
        """The connection to `relay` is gone: so are its circuits, until it lends them anew."""
        for addr in [addr for addr in self._held if is_relayed(addr) and relay_part(addr)[1] == relay]:
            del self._held[addr]
            self._changed()
            self._ask_again(addr)

    async def end(self) -> None:
        """Listen on nothing, and ask no relay any more."""
        asking = list(self._lost.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        self._lost.clear()
        self._held.clear()

    async def _reserve(self, addr: Multiaddr) -> Multiaddr:
        place, relay = relay_part(addr)
        try:
            await self._host.connect(Multiaddr(f"{place}/p2p/{relay}"))
        except DialFailed as error:
            raise ListenFailed(f"{addr} is not to be had ({error}); try another one") from error
        if not self._network.lends(relay):
            raise ListenFailed(f"{addr} is not to be had (the peer there is no relay); try another one")
        return addr

    def _ask_again(self, addr: Multiaddr) -> None:
        if self._host.running:
            self._lost[addr] = asyncio.create_task(self._until_reserved(addr))

    def _forget(self, addr: Multiaddr) -> None:
        task = self._lost.pop(addr, None)
        if task is not None:
            task.cancel()

    async def _until_reserved(self, addr: Multiaddr) -> None:
        while True:
            try:
                self._held[await self._reserve(addr)] = addr
            except HostClosed:
                return
            except ListenFailed:
                await asyncio.sleep(_ASK_RELAY_AFTER_S)
            else:
                self._lost.pop(addr, None)
                self._changed()
                return
