"""Which protocols peers speak, remembered: what a peer says of itself is long, and read for every choice."""

from __future__ import annotations

from collections.abc import Callable

from aicn import defaults
from aicn.ids import PeerId
from aicn.p2p.host import PeerIdentity


class SpokenProtocols:
    """Tells whether a peer can be asked by a protocol."""

    def __init__(self, identity: Callable[[PeerId], PeerIdentity | None]) -> None:
        """Ask `identity` what a peer has said of itself."""
        self._identity = identity
        self._known: dict[PeerId, frozenset[str]] = {}

    def __call__(self, peer: PeerId, protocol: str) -> bool | None:
        """Return whether `peer` speaks `protocol`; None: it has not said yet, or may be asked all the same."""
        if protocol == defaults.CHAT_PROXY_PROTOCOL:
            # Who does not speak it is asked over gossip.
            return None
        known = self._known.get(peer)
        if known is None:
            identity = self._identity(peer)
            if identity is None:
                return None
            known = self._learnt(identity)
        return protocol in known

    def learn(self, identity: PeerIdentity) -> None:
        """A peer has said what it speaks; it is remembered when the peer has gone, and until it says something else."""
        self._learnt(identity)

    def _learnt(self, identity: PeerIdentity) -> frozenset[str]:
        if len(self._known) >= defaults.DIRECTORY_MAX_PEERS:
            self._known.clear()
        known = self._known[identity.peer] = frozenset(identity.protocols)
        return known
