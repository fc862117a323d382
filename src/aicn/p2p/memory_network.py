"""What lies between hosts in memory: who listens where, which links stand, who provides what."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

from aicn.errors import ListenFailed
from aicn.ids import Multiaddr, PeerId
from aicn.multiaddr import host_port
from aicn.p2p.host import Connection
from aicn.p2p.pipe import PipeStream

if TYPE_CHECKING:
    from aicn.p2p.memory import MemoryHost


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
            if host.peer_id == one:
                host.lose(other)
            elif host.peer_id == other:
                host.lose(one)

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

    def remove(self, host: MemoryHost) -> None:
        """Forget a host that closes."""
        for place in [place for place, listener in self._listening.items() if listener is host]:
            del self._listening[place]
        for providers in self._providers.values():
            providers.pop(host.peer_id, None)

    def find(self, addr: Multiaddr, dialler: MemoryHost) -> MemoryHost | None:
        """Return who listens on `addr`, if the link to it stands and both hold the same pre-shared key."""
        place = host_port(addr)
        found = None if place is None else self._listening.get(place)
        if found is None or frozenset((found.peer_id, dialler.peer_id)) in self._cut or found.psk != dialler.psk:
            return None
        return found

    def provide(self, key: bytes, host: MemoryHost) -> None:
        """Keep a provider record."""
        self._providers.setdefault(key, {})[host.peer_id] = host

    def providers(self, key: bytes) -> Iterator[MemoryHost]:
        """Return who provides `key`."""
        yield from self._providers.get(key, {}).values()

    def hosts(self) -> Iterator[MemoryHost]:
        """Return every host that listens."""
        yield from dict.fromkeys(self._listening.values())


class MemoryLink:
    """One end of a connection, and the streams over it."""

    def __init__(self, other: MemoryHost, connection: Connection) -> None:
        """Hold one end of `connection`, whose other end is at `other`."""
        self.other = other
        self.connection = connection
        self.streams: set[PipeStream] = set()

    def keep(self, stream: PipeStream) -> None:
        """Remember a stream for as long as it is open."""
        self.streams = {each for each in self.streams if not each.released}
        self.streams.add(stream)
