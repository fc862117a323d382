"""Relay client: be called through relays as long as nobody can dial this host directly."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from aicn import defaults
from aicn.errors import AddressError, NetworkError
from aicn.ids import Multiaddr, PeerId
from aicn.multiaddr import is_relayed, peer_of
from aicn.p2p.host import Host, HostEvent, ReachabilityChanged

_log = logging.getLogger("aicn.p2p")


def circuit(relay: Multiaddr) -> Multiaddr:
    """Return the address through which this host is called at `relay`, which ends in /p2p/ID."""
    return Multiaddr(f"{relay}/p2p-circuit")


class RelayClient:
    """Holds reservations at relays; gives them back when AutoNAT finds this host public.

    An unknown reachability counts as not public: a Worker wants to be reached before anybody has told it how.
    A reservation that is lost is asked for again by the host; one that was refused, by this class.
    """

    def __init__(
        self, host: Host, relays: Iterable[Multiaddr], *, wait: Callable[[float], float] | None = None
    ) -> None:
        """Use `relays`, addresses with /p2p, at most `defaults.RELAYS_MAX` of them.

        Args:
            host: what is to be reached.
            relays: the relays, best first; more than one address of a relay is one relay.
            wait: turns the wait before a refused relay is asked again (seconds) into the one to use; for tests.
        """
        self._host = host
        by_peer: dict[PeerId, Multiaddr] = {}
        for relay in relays:
            peer = peer_of(relay)
            if peer is not None and peer != host.peer_id and not is_relayed(relay):
                by_peer.setdefault(peer, relay)
        self._relays = dict(list(by_peer.items())[: defaults.RELAYS_MAX])
        self._wait = wait or (lambda wait_s: wait_s)
        self._public: bool | None = None
        self._changed = asyncio.Event()

    @property
    def peers(self) -> frozenset[PeerId]:
        """The relays, whose connections must stay."""
        return frozenset(self._relays)

    def on_event(self, event: HostEvent) -> None:
        """Notice whether this host can be dialled."""
        if isinstance(event, ReachabilityChanged):
            self._public = event.public
            self._changed.set()

    async def run(self) -> None:
        """Hold reservations while they are needed, until cancelled."""
        while True:
            self._changed.clear()
            if self._public:
                for relay in self._relays.values():
                    await self._host.unlisten(circuit(relay))
                await self._changed.wait()
            else:
                await self._reserve_until_changed()

    async def _reserve_until_changed(self) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._reserve(relay)) for relay in self._relays.values()]
            await self._changed.wait()
            for task in tasks:
                task.cancel()

    async def _reserve(self, relay: Multiaddr) -> None:
        """Ask `relay` until it agrees, ever more seldom."""
        wait_s = defaults.RELAY_RETRY_FIRST_S
        while True:
            try:
                # A reservation cannot dial the relay while another part does, as at the start: connect first.
                await self._host.connect(relay)
                await self._host.listen(circuit(relay))
            except (NetworkError, AddressError) as error:
                _log.info("relay %s does not carry calls for this node, next try in %.0f s: %s", relay, wait_s, error)
            else:
                _log.info("this node can be called through relay %s", relay)
                return
            await asyncio.sleep(self._wait(wait_s))
            wait_s = min(wait_s * 2, defaults.RELAY_RETRY_LAST_S)
