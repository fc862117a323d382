"""What the core hands over, as the values of the seam: tuples become dataclasses, kinds of errors exceptions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from aicn import errors
from aicn.errors import AicnError
from aicn.ids import Multiaddr, PeerId
from aicn.p2p.host import Connection, Direction, PeerAddrs, PeerIdentity

core_log = logging.getLogger("aicn.core")

ERRORS: Final[dict[str, type[AicnError]]] = {
    "address": errors.AddressError,
    "identity": errors.IdentityError,
    "listen_failed": errors.ListenFailed,
    "dial_failed": errors.DialFailed,
    "not_connected": errors.NotConnected,
    "stream_refused": errors.StreamRefused,
    "stream_reset": errors.StreamReset,
    "timeout": errors.NetworkTimeout,
    "publish_failed": errors.PublishFailed,
    "overloaded": errors.Overloaded,
    "closed": errors.HostClosed,
    "panicked": errors.CorePanicked,
}
"""The one place where the core's errors become ours; a test walks the core's enum."""


def error(kind: str, message: str) -> AicnError:
    """Return the exception for an error of the core."""
    return ERRORS[kind](message)


def addrs(texts: Sequence[str]) -> tuple[Multiaddr, ...]:
    """Return addresses."""
    return tuple(map(Multiaddr, texts))


def peer_addrs(value: tuple[str, list[str]]) -> PeerAddrs:
    """Return a peer with its addresses."""
    return PeerAddrs(PeerId(value[0]), addrs(value[1]))


def connection(value: tuple[str, str, bool, bool, int | None, str]) -> Connection:
    """Return a connection."""
    peer, addr, inbound, relayed, rtt_us, conn_id = value
    direction = Direction.INBOUND if inbound else Direction.OUTBOUND
    return Connection(PeerId(peer), Multiaddr(addr), direction, relayed, rtt_us, conn_id)


def identity(value: tuple[str, str, str, list[str], list[str], bytes]) -> PeerIdentity:
    """Return what a peer said of itself."""
    peer, protocol_version, agent_version, protocols, listen_addrs, public_key = value
    return PeerIdentity(
        PeerId(peer), protocol_version, agent_version, tuple(protocols), addrs(listen_addrs), public_key
    )


def log(records: Sequence[tuple[int, str, str]]) -> None:
    """Write what the core logged: level, target, message."""
    for level, target, message in records:
        # What libp2p calls worth knowing is of use to those who debug it; warnings are mostly a peer's.
        ours = target.startswith("aicn_p2p")
        core_log.log(level if ours else level - 10, "%s: %s", target, message)
