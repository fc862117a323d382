"""`aicn tool ping`: is a peer there, and how far away is it."""

from __future__ import annotations

import asyncio
import json
import time
from itertools import count as counted
from pathlib import Path

import click

from aicn import defaults
from aicn.cli import exits
from aicn.cli.loop import loop_factory, run_until_signal
from aicn.cli.tool_network import network_options, network_psk
from aicn.errors import UsageError
from aicn.ids import Multiaddr, PeerId
from aicn.multiaddr import parse, peer_of
from aicn.tools.ping import Pinger, RoundTrips, ping_once
from aicn.tools.temporary_host import temporary_host


@click.command(short_help="Measure the round trip to peers over libp2p.")
@click.argument("addrs", metavar="ADDR...", nargs=-1, required=True)
@click.option(
    "-c",
    "--count",
    default=defaults.PING_COUNT,
    show_default=True,
    type=click.IntRange(min=0),
    help="Pings to each peer; 0: until Ctrl-C.",
)
@click.option(
    "-i",
    "--interval",
    "interval_s",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0.01, max=3_600),
    help="Seconds from one ping to the next.",
)
@click.option(
    "-t",
    "--timeout",
    "timeout_s",
    default=10.0,
    show_default=True,
    type=click.FloatRange(min=0.01, max=3_600),
    help="Seconds that a ping may take, dialling included.",
)
@network_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document at the end and nothing else.")
def ping(
    *,
    addrs: tuple[str, ...],
    count: int,
    interval_s: float,
    timeout_s: float,
    config_path: Path | None,
    psk: str | None,
    as_json: bool,
) -> int:
    """Ping the peers at ADDR, multiaddrs that end in /p2p/ID, over libp2p (/ipfs/ping/1.0.0).

    Dialled by a host of its own with a fresh key; Ctrl-C shows the statistics so far. The exit status is 1 if no
    peer answered.

    \b
    Example:
      aicn tool ping /ip4/127.0.0.1/tcp/7001/p2p/16Uiu2HAm2u6o8MKSBhvPAFhEpnrFAGegxkWtPAy6aHfgcs8ZTM7u
      aicn tool ping --config worker.json -c 100 -i 0.1 /dns4/input.example/tcp/7001/p2p/16Uiu2HAm2u6o8MK...
    """  # noqa: D301 - \b is click's: keep these lines as they are
    if len(set(addrs)) > defaults.PING_MAX_PEERS:
        raise UsageError(f"at most {defaults.PING_MAX_PEERS} peers are pinged at once; name fewer")
    targets = [_Target(addr, quiet=as_json) for addr in dict.fromkeys(addrs)]
    key = network_psk(config_path, psk)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(run_until_signal(_ping_all(targets, key, count, interval_s, timeout_s)))
    if as_json:
        click.echo(json.dumps({"peers": [target.facts() for target in targets]}, indent=2))
    else:
        for target in targets:
            click.echo(target.summary())
    return exits.OK if any(target.results.answered for target in targets) else exits.FAILED


class _Target:
    """One peer, what came of pinging it, and how that is told."""

    def __init__(self, text: str, *, quiet: bool) -> None:
        self.addr: Multiaddr = parse(text)
        peer = peer_of(self.addr)
        if peer is None:
            raise UsageError(f"{text!r} does not end in /p2p/ID; say which peer is to answer there")
        self.peer: PeerId = peer
        self.results = RoundTrips()
        self._quiet = quiet
        self._began_s = time.monotonic()
        self._ended_s = self._began_s

    def tell_answer(self, number: int, rtt_ms: float | None, *, relayed: bool) -> None:
        self._ended_s = time.monotonic()
        if self._quiet:
            return
        if rtt_ms is None:
            click.echo(f"no answer from {self.peer}: seq={number}: {self.results.reason}")
        else:
            path = " (relayed)" if relayed else ""
            click.echo(f"{defaults.PING_BYTES} bytes from {self.peer}: seq={number} time={rtt_ms:.3f} ms{path}")

    def begin(self) -> None:
        self._began_s = self._ended_s = time.monotonic()
        if not self._quiet:
            click.echo(f"PING {self.peer} ({self.addr}): {defaults.PING_BYTES} bytes")

    def facts(self) -> dict[str, object]:
        results = self.results
        facts: dict[str, object] = {
            "peer": self.peer,
            "addr": self.addr,
            "sent": results.sent,
            "answered": results.answered,
            "lost_percent": round(results.lost_percent, 1),
        }
        if results.answered:
            for name in ("min_ms", "mean_ms", "max_ms", "stddev_ms"):
                facts[name] = round(getattr(results, name), 3)
        if results.reason:
            facts["last_loss"] = results.reason
        return facts

    def summary(self) -> str:
        results = self.results
        counts = f"{results.sent} sent, {results.answered} answered, {results.lost_percent:.0f}% lost"
        lines = [
            f"\n--- {self.peer} ping statistics ---",
            f"{counts}, time {(self._ended_s - self._began_s) * 1_000:.0f} ms",
        ]
        if results.answered:
            numbers = (results.min_ms, results.mean_ms, results.max_ms, results.stddev_ms)
            lines.append(f"rtt min/avg/max/stddev = {'/'.join(f'{number:.3f}' for number in numbers)} ms")
        return "\n".join(lines)


async def _ping_all(targets: list[_Target], psk: bytes | None, count: int, interval_s: float, timeout_s: float) -> None:
    async with temporary_host(psk) as host, asyncio.TaskGroup() as group:
        for target in targets:
            pinger = Pinger(host, target.addr, timeout_s=timeout_s)
            group.create_task(_ping_one(target, pinger, count, interval_s))


async def _ping_one(target: _Target, pinger: Pinger, count: int, interval_s: float) -> None:
    target.begin()
    due_s = time.monotonic()
    try:
        for number in range(1, count + 1) if count else counted(1):
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            due_s = time.monotonic() + interval_s
            rtt_ms = await ping_once(pinger, target.results)
            connection = pinger.connection
            target.tell_answer(number, rtt_ms, relayed=connection is not None and connection.relayed)
    finally:
        await pinger.close()
