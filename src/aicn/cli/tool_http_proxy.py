"""`aicn tool http-proxy`: HTTP servers that only a peer can reach, through that peer."""

from __future__ import annotations

import asyncio
import ipaddress
from pathlib import Path
from typing import Final

import click

from aicn import defaults
from aicn.cli.loop import loop_factory, run_until_signal
from aicn.cli.tool_network import network_options, network_psk
from aicn.errors import MalformedFrame, UsageError
from aicn.identity import PrivateKey, create_key_file, load_key_file
from aicn.ids import Multiaddr, PeerId
from aicn.multiaddr import parse, parse_peer_id, peer_of, with_peer

_SERVE_ADDR: Final = "/ip4/0.0.0.0/tcp/6000"
"""The reference's port."""

_LISTEN: Final = "127.0.0.1:9900"

_key_option = click.option(
    "--key",
    "key_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Key file of an identity to keep, made if it is not there.  [default: a fresh one each time]",
)


@click.group(name="http-proxy")
def http_proxy() -> None:
    """Reach HTTP servers through a peer: requests go over a libp2p stream (/proxy-example/0.0.1).

    `serve` runs where the servers are, `connect` where they are to be reached; either works with the reference's tool
    at the other end.
    """


@http_proxy.command()
@click.option(
    "--listen",
    "addrs",
    multiple=True,
    default=(_SERVE_ADDR,),
    show_default=True,
    metavar="MULTIADDR",
    help="Where peers dial this one; may be repeated.",
)
@click.option("--peer", "peers", multiple=True, metavar="ID", help="Peer that may ask; may be repeated.")
@click.option("--any-peer", is_flag=True, help="Whoever can dial this peer may ask.")
@click.option(
    "--allow",
    multiple=True,
    metavar="HOST[:PORT]",
    help="Server that may be asked, '*' for all; may be repeated.  [default: this machine's, by loopback]",
)
@_key_option
@network_options
def serve(
    *,
    addrs: tuple[str, ...],
    peers: tuple[str, ...],
    any_peer: bool,
    allow: tuple[str, ...],
    key_path: Path | None,
    config_path: Path | None,
    psk: str | None,
) -> None:
    """Make the requests that come from peers, to the servers that are allowed, until Ctrl-C.

    Whoever may ask reaches these servers as if from this machine, the API of a node here included: name the peers with
    --peer (`connect` shows its id), and the servers with --allow.

    \b
    Example:
      aicn tool http-proxy serve --peer 16Uiu2HAm2u6o8MK... --allow 127.0.0.1:8000
    """  # noqa: D301 - \b is click's: keep these lines as they are
    if any_peer == bool(peers):
        raise UsageError("say who may ask: --peer ID, as often as needed, or --any-peer")
    allowed_peers = None if any_peer else frozenset(map(parse_peer_id, peers))
    listen_addrs = tuple(map(parse, addrs))
    work = _serve(listen_addrs, allowed_peers, allow, _key(key_path), network_psk(config_path, psk))
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(run_until_signal(work))


async def _serve(
    listen_addrs: tuple[Multiaddr, ...],
    peers: frozenset[PeerId] | None,
    allow: tuple[str, ...],
    key: PrivateKey | None,
    psk: bytes | None,
) -> None:
    from aicn.backends import BackendClient  # noqa: PLC0415 - the help needs no HTTP client
    from aicn.tools.proxy_access import AllowedTargets  # noqa: PLC0415
    from aicn.tools.proxy_far import FarProxy  # noqa: PLC0415
    from aicn.tools.temporary_host import temporary_host  # noqa: PLC0415

    targets = AllowedTargets(allow)
    client = BackendClient()
    far = FarProxy(client, targets, peers=peers, on_request=_tell)
    handlers = {defaults.HTTP_PROXY_PROTOCOL: far.handle}
    try:
        async with temporary_host(psk, key=key, listen_addrs=listen_addrs, handlers=handlers) as host:
            for addr in host.listen_addrs():
                click.echo(f"Listening on {with_peer(addr, host.peer_id)}")
            who = "every peer that can dial this one" if peers is None else ", ".join(sorted(peers))
            click.echo(f"Makes requests to {targets} for {who}, until Ctrl-C")
            if peers is None and targets.everything:
                click.echo("This is an open proxy: whoever can dial it reaches all that this machine can", err=True)
            await asyncio.Event().wait()
    finally:
        await client.close()


def _tell(peer: PeerId, asked: str, outcome: str) -> None:
    click.echo(f"{peer} {asked}: {outcome}")


@http_proxy.command()
@click.argument("addr")
@click.option(
    "--listen",
    "listen",
    default=_LISTEN,
    show_default=True,
    metavar="HOST:PORT",
    help="Where to take HTTP requests; port 0: any free one.",
)
@click.option("--shared", is_flag=True, help="Listen beyond this machine: whoever reaches the port asks as you.")
@_key_option
@network_options
def connect(
    *, addr: str, listen: str, shared: bool, key_path: Path | None, config_path: Path | None, psk: str | None
) -> None:
    """Be an HTTP proxy on this machine whose requests the peer at ADDR makes, until Ctrl-C.

    ADDR is a multiaddr that ends in /p2p/ID. Requests of HTTP/1.1 only; for port 443 the far side speaks https to the
    server. Events of a stream pass when they are written.

    \b
    Example:
      aicn tool http-proxy connect /ip4/192.0.2.7/tcp/6000/p2p/16Uiu2HAm2u6o8MK...
      curl -x 127.0.0.1:9900 http://127.0.0.1:8000/v1/models
    """  # noqa: D301 - \b is click's: keep these lines as they are
    target = parse(addr)
    if peer_of(target) is None:
        raise UsageError(f"{addr!r} does not end in /p2p/ID; say which peer is to make the requests")
    host, port = _host_port(listen)
    if not shared and not _is_loopback(host):
        raise UsageError(f"whoever reaches {listen} would ask as you; listen on 127.0.0.1, or add --shared")
    work = _connect(target, host, port, _key(key_path), network_psk(config_path, psk))
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(run_until_signal(work))


async def _connect(target: Multiaddr, host: str, port: int, key: PrivateKey | None, psk: bytes | None) -> None:
    from aicn.p2p.host import Stream  # noqa: PLC0415 - as in _serve
    from aicn.tools.proxy_message import Authority  # noqa: PLC0415
    from aicn.tools.proxy_near import NearProxy  # noqa: PLC0415
    from aicn.tools.temporary_host import temporary_host  # noqa: PLC0415

    async with temporary_host(psk, key=key) as near:
        click.echo(f"Peer id {near.peer_id}")

        async def open_stream(first: bytes) -> Stream:
            # Returns at once while the connection stands, and makes it anew when the far side has been away.
            peer = await near.connect(target)
            return await near.open_stream(peer, defaults.HTTP_PROXY_PROTOCOL, first=first)

        await near.connect(target)
        async with NearProxy(open_stream, host, port) as proxy:
            where = Authority(*proxy.address)
            click.echo(f"HTTP proxy on {where}, requests are made by {peer_of(target)}, until Ctrl-C")
            await asyncio.Event().wait()


def _key(path: Path | None) -> PrivateKey | None:
    if path is None:
        return None
    return load_key_file(path) if path.exists() else create_key_file(path)


def _host_port(text: str) -> tuple[str, int]:
    from aicn.tools.proxy_message import parse_authority  # noqa: PLC0415 - as in _serve

    host, colon, port = text.rpartition(":")
    if colon and port == "0":
        return host.strip("[]"), 0
    try:
        return parse_authority(text)
    except MalformedFrame:
        raise UsageError(f"{text!r} is not HOST:PORT, as {_LISTEN}") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
