"""A host that a tool brings for itself: in the network for the time of one command, and no longer.

Its key is fresh unless one is given, so that it never stands in the way of a node that runs on the same machine.
It joins no DHT and no topic: it dials whom it is told to.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping

from aicn import __version__, defaults
from aicn.identity import PrivateKey
from aicn.ids import Multiaddr
from aicn.p2p.host import Host, HostConfig, RoutingMode, StreamHandler

AGENT_VERSION = f"aicn-tool-{__version__}"
"""What the host tells of itself. Not a node's: nobody shall expect it to serve."""


@contextlib.asynccontextmanager
async def temporary_host(
    psk: bytes | None,
    *,
    key: PrivateKey | None = None,
    listen_addrs: tuple[Multiaddr, ...] = (),
    handlers: Mapping[str, StreamHandler] | None = None,
) -> AsyncIterator[Host]:
    """Run a host for the time of the block.

    Args:
        psk: 32-byte key of a private network; None for a public one.
        key: its identity; None for a fresh one.
        listen_addrs: where it can be dialled; nowhere by default.
        handlers: what answers inbound streams, by protocol.

    Raises:
        ListenFailed: an address cannot be listened on.
    """
    # Loaded here, so that the help of a command needs no network stack.
    from aicn.p2p.native import NativeHost  # noqa: PLC0415

    handlers = handlers or {}
    host = NativeHost(
        HostConfig(
            private_key=(key or PrivateKey.generate()).protobuf,
            listen_addrs=listen_addrs,
            psk=psk,
            protocol_version=defaults.PROTOCOL_VERSION,
            agent_version=AGENT_VERSION,
            stream_protocols=tuple(handlers),
            routing_mode=RoutingMode.NONE,
            autonat_service=False,
            ping_interval_s=defaults.TOOL_PING_INTERVAL_S,
        )
    )
    for protocol, handler in handlers.items():
        host.on_stream(protocol, handler)
    await host.start()
    try:
        yield host
    finally:
        await host.close()
