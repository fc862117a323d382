"""Measure, print one table, exit 0; any other exit status means that something broke, not that it was slow."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench.cancel import cancel, worst
from bench.choosing import CHOICES, INSTANCES, Crowd
from bench.client import Refused, Streams, Target, percentile, requests_per_s, streams
from support.processes import NodeFailed, NodeProcess, Nodes, free_ports

PROJECT = "bench"
EVENTS = 50
GAP_MS = 20
WIDTH = 34


@dataclass(frozen=True, slots=True)
class Ways:
    """The two ways to the same model server."""

    direct: Target
    through: Target


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `met` is None where no target is set."""

    what: str
    direct: str
    through: str
    result: str
    target: str = ""
    met: bool | None = None


@contextlib.asynccontextmanager
async def mock() -> AsyncIterator[str]:
    (port,) = free_ports(1)
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.mock", str(port))
    try:
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


async def throughput(ways: Ways, seconds: float) -> list[Row]:
    rows = []
    for clients in (1, 16, 64):
        await requests_per_s(ways.through, clients, 0.5)  # warm: connections, streams, caches
        direct = await requests_per_s(ways.direct, clients, seconds)
        through = await requests_per_s(ways.through, clients, seconds)
        ratio = through / direct
        target, met = (">= 0.18", ratio >= 0.18) if clients == 64 else ("", None)
        what = f"requests/s, {clients} client{'s' if clients > 1 else ''}"
        rows.append(Row(what, f"{direct:,.0f}", f"{through:,.0f}", f"{ratio:.2f} of direct", target, met))
    return rows


async def first_token(ways: Ways, rounds: int) -> list[Row]:
    fresh = [(await streams(way, 1, 1, apart_s=0)).first_ms[0] for way in (ways.direct, ways.through)]
    rows = [
        Row(
            "first answer of a fresh node", f"{fresh[0]:.1f} ms", f"{fresh[1]:.1f} ms", f"+{fresh[1] - fresh[0]:.1f} ms"
        )
    ]
    direct, through = Streams(), Streams()
    # In turns, so that whatever else the machine does falls on both.
    for _ in range(rounds):
        direct += await streams(ways.direct, 4, 1, apart_s=0.013)
        through += await streams(ways.through, 4, 1, apart_s=0.013)
    for percent in (50, 99):
        one, other = (percentile(way.first_ms, percent) for way in (direct, through))
        target, met = ("<= 3 ms", other - one <= 3) if percent == 50 else ("", None)
        what = f"time to first token p{percent}"
        rows.append(Row(what, f"{one:.1f} ms", f"{other:.1f} ms", f"+{other - one:.1f} ms", target, met))
    return rows


async def punctuality(ways: Ways, clients: int, rounds: int) -> list[Row]:
    direct = await streams(ways.direct, clients, rounds, apart_s=GAP_MS / 1_000 / clients)
    through = await streams(ways.through, clients, rounds, apart_s=GAP_MS / 1_000 / clients)
    share = [100 * sum(delay <= 10 for delay in way.delay_ms) / len(way.delay_ms) for way in (direct, through)]
    median = [percentile(way.delay_ms, 50) for way in (direct, through)]
    name = f"{clients} streams"
    return [
        Row(
            f"{name}: events within 10 ms",
            f"{share[0]:.1f} %",
            f"{share[1]:.1f} %",
            f"{len(through.delay_ms):,} events",
            ">= 99 %",
            share[1] >= 99,
        ),
        Row(
            f"{name}: delay of an event p50",
            f"{median[0]:.1f} ms",
            f"{median[1]:.1f} ms",
            f"+{median[1] - median[0]:.1f} ms",
        ),
    ]


async def cancellation(rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="aicn-bench-") as folder:
        delays_ms = await cancel(Path(folder), rounds)
    all_ms = [delay for each in delays_ms.values() for delay in each]
    mode, p99_ms = worst(delays_ms, 99)
    through = f"p50 {percentile(all_ms, 50):.1f} ms"
    what = f"{len(all_ms)} clients that leave, p99"
    return [Row(what, "", through, f"{p99_ms:.1f} ms ({mode})", "<= 200 ms", p99_ms <= 200)]


def choosing(choices: int) -> list[Row]:
    crowd = Crowd()
    rows = []
    for changes in (False, True):
        took_us = crowd.choose(choices, changes=changes)
        worst = percentile(took_us, 99)
        what = f"1 of {INSTANCES:,}{' that come and go' if changes else ''}: p99"
        rows.append(Row(what, "", f"p50 {percentile(took_us, 50):.0f} µs", f"{worst:.0f} µs", "<= 50 µs", worst <= 50))
    return rows


def memory(entry: NodeProcess, worker: NodeProcess, when: str, *, judged: bool) -> Row:
    megabytes = [node.rss_bytes() / 1e6 for node in (entry, worker)]
    worst = max(megabytes)
    target, met = ("<= 70 MB", worst <= 70) if judged else ("", None)
    both = f"Input {megabytes[0]:.0f}, Worker {megabytes[1]:.0f}"
    return Row(f"memory of a node, {when}", "", both, f"{worst:.0f} MB", target, met)


def table(rows: list[Row]) -> str:
    lines = [f"{'':{WIDTH}} {'direct':>10} {'through':>20} {'':>16}   {'target':<9}"]
    for row in rows:
        verdict = {None: "", True: "met", False: "NOT MET"}[row.met]
        line = f"{row.what:{WIDTH}} {row.direct:>10} {row.through:>20} {row.result:>16}   {row.target:<9} {verdict}"
        lines.append(line.rstrip())
    return "\n".join(lines)


async def measure(seconds: float) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="aicn-bench-") as folder:
        async with mock() as url, Nodes(Path(folder)) as nodes:
            print("==> starting a model server, an Input and a Worker", flush=True)
            api = f"{url}/{EVENTS}/{GAP_MS}"
            entry = await nodes.input(log_level="warn")
            worker = await nodes.worker(entry, models=[(PROJECT, "bench", api)], log_level="warn")
            await nodes.until_seen(entry, PROJECT, "bench", worker)
            ways = Ways(
                Target(api, {"model": "bench"}),
                Target(f"{entry.api}/chat/completion/proxy", {"project": PROJECT, "model": "bench"}),
            )
            await asyncio.sleep(2)  # whatever the start still does is not idle
            rows = [memory(entry, worker, "idle", judged=True)]
            print("==> time to first token", flush=True)
            rows += await first_token(ways, rounds=max(2, round(3 * seconds)))
            print("==> 50 streams of 20 ms tokens", flush=True)
            rows += await punctuality(ways, 50, rounds=max(1, round(2 * seconds)))
            print("==> requests per second", flush=True)
            rows += await throughput(ways, seconds)
            rows.append(memory(entry, worker, "after the load", judged=False))
    print("==> clients that leave", flush=True)
    rows += await cancellation(rounds=max(10, round(10 * seconds)))
    print("==> choosing among ten thousand", flush=True)
    return rows + choosing(choices=round(CHOICES * seconds / 3))


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description="What the network costs beside the direct way.")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each throughput run; others scale with it")
    options = parser.parse_args()
    busy = os.getloadavg()[0]
    try:
        rows = uvloop.run(measure(options.seconds))
    except (Refused, NodeFailed) as error:
        sys.exit(f"bench: {error}")
    print(
        f"\n{os.cpu_count()} cores, shared by client, model server, Input and Worker; all of it Python but the core\n"
    )
    print(table(rows))
    if busy > 0.5:
        print(f"\nThe machine was busy before the start (load {busy:.1f}): what stands above is not what it can do.")


if __name__ == "__main__":
    main()
