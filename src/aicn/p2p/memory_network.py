"""What lies between hosts in memory: who listens where, which links stand, who provides what."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

from aicn.errors import ListenFailed
from aicn.ids import Multiaddr, PeerId
from aicn.multiaddr import host_port, is_relayed, peer_of, without_peer
from aicn.p2p.host import Connection
from aicn.p2p.pipe import PipeStream

if TYPE_CHECKING:
    from aicn.p2p.memory import MemoryHost


def relay_part(addr: Multiaddr) -> tuple[Multiaddr, PeerId]:
    """Return where the relay of a circuit address is, and who it is.

    Raises:
        ListenFailed: no relay is named.
    """
    relay = Multiaddr(addr.partition("/p2p-circuit")[0])
    peer = peer_of(relay) if relay else None
    if peer is None:
        raise ListenFailed(f"{addr} names no relay; put its address and /p2p/ID before /p2p-circuit")
    return without_peer(relay), peer


class MemoryNetwork:
    """What connects the hosts of one process: addresses, links that can be cut, and the provider records."""

    def __init__(self) -> None:
        """Start without hosts."""
        self._listening: dict[tuple[str, int], MemoryHost] = {}
        self._providers: dict[bytes, dict[PeerId, MemoryHost]] = {}
        self._cut: set[frozenset[PeerId]] = set()
        self._ports = count(10_000)

    def cut(self, one: PeerId, other: PeerId) -> None:
        """Break the link between two hosts: what stands is lost, what is dialled fails, until `mend`."""
        self._cut.add(frozenset((one, other)))
        for host in tuple(self.hosts()):  # at least one of the two listens, or they could not be connected
            for here, there in ((one, other), (other, one)):
                link = host.connection(there) if host.peer_id == here else None
                if link is not None and not link.relayed:
                    host.lose(there)

    def mend(self, one: PeerId, other: PeerId) -> None:
        """Undo `cut`."""
        self._cut.discard(frozenset((one, other)))

    def bind(self, host: MemoryHost, addr: Multiaddr) -> Multiaddr:
        """Let `host` listen on `addr`; return it with its port.

        Raises:
            ListenFailed: another host does.
        """
        place = host_port(addr)
        if place is None:
            raise ListenFailed(f"{addr} is no address of a host and a TCP port; listen on another one")
        ip, port = place
        port = port or next(self._ports)
        if (ip, port) in self._listening:
            raise ListenFailed(f"cannot listen on {addr}: the address is in use; choose another port")
        self._listening[ip, port] = host
        family = "ip6" if ":" in ip else "ip4"
        return Multiaddr(f"/{family}/{ip}/tcp/{port}")

    def unbind(self, host: MemoryHost, addr: Multiaddr) -> None:
        """Let `host` listen on `addr` no more."""
        place = host_port(addr)
        if not is_relayed(addr) and place is not None and self._listening.get(place) is host:
            del self._listening[place]

    def remove(self, host: MemoryHost) -> None:
        """Forget a host that closes."""
        for place in [place for place, listener in self._listening.items() if listener is host]:
            del self._listening[place]
        for providers in self._providers.values():
            providers.pop(host.peer_id, None)

    def find(self, addr: Multiaddr, dialler: MemoryHost) -> MemoryHost | None:
        """Return who listens on `addr`, if the link to it stands and both hold the same pre-shared key.

        Through a relay, that is who the relay is connected with and lends a circuit to.
        """
        place = host_port(addr)
        found = None if place is None else self._listening.get(place)
        if is_relayed(addr):
            called = None if found is None else found.linked(peer_of(addr))
            return called if called is not None and found is not None and found.peer_id in called.relays() else None
        if found is None or frozenset((found.peer_id, dialler.peer_id)) in self._cut or found.psk != dialler.psk:
            return None
        return found

    def provide(self, key: bytes, host: MemoryHost) -> None:
        """Keep a provider record."""
        self._providers.setdefault(key, {})[host.peer_id] = host

    def providers(self, key: bytes) -> Iterator[MemoryHost]:
        """Return who provides `key`."""
        yield from self._providers.get(key, {}).values()

    def lends(self, relay: PeerId) -> bool:
        """Tell whether `relay` carries circuits for others."""
        return any(host.peer_id == relay and host.relay_service for host in self.hosts())

    def hosts(self) -> Iterator[MemoryHost]:
        """Return every host that listens."""
        yield from dict.fromkeys(self._listening.values())


class MemoryLink:
    """One end of a connection, and the streams over it."""

    def __init__(self, other: MemoryHost, connection: Connection, relay: PeerId | None) -> None:
        """Hold one end of `connection`, whose other end is at `other`; `relay` carries it, if any does."""
        self.relay = relay
        self.other = other
        self.connection = connection
        self.streams: set[PipeStream] = set()

    def keep(self, stream: PipeStream) -> None:
        """Remember a stream for as long as it is open."""
        self.streams = {each for each in self.streams if not each.released}
        self.streams.add(stream)
