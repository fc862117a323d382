"""`aicn tool ping`: a real command against real nodes."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from pathlib import Path

import pytest

from aicn.identity import PrivateKey
from support.command_line import aicn, environment, refused
from support.processes import Nodes, free_ports

NOBODY = PrivateKey.generate().public.peer_id


async def pinging(*words: str, cwd: Path, lines: int = 0) -> tuple[int, str, str]:
    """Run the command beside this loop; interrupt it once it has printed so many lines, if any."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "aicn", "tool", "ping", *words),
        cwd=cwd,
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(60):
        printed = b"".join([await process.stdout.readline() for _ in range(lines)])
        if lines:
            process.send_signal(signal.SIGINT)
        printed += await process.stdout.read()
        errors = await process.stderr.read()
        return await process.wait(), printed.decode(), errors.decode()


async def test_statistics_of_two_nodes(tmp_path: Path) -> None:
    async with Nodes(tmp_path) as nodes:
        entry = await nodes.input()
        worker = await nodes.worker(entry)
        status, printed, errors = await pinging(
            "--config",
            str(worker.config_path),
            *("-c", "3", "-i", "0.05"),
            entry.multiaddr,
            worker.multiaddr,
            cwd=tmp_path,
        )
    assert (status, errors) == (0, "")
    for node in (entry, worker):
        assert (
            len(re.findall(rf"^32 bytes from {node.peer}: seq=[123] time=\d+\.\d{{3}} ms$", printed, re.MULTILINE)) == 3
        )
        _, _, summary = printed.partition(f"--- {node.peer} ping statistics ---\n")
        assert re.match(r"3 sent, 3 answered, 0% lost, time \d+ ms\n", summary)
        found = re.search(r"^rtt min/avg/max/stddev = ([\d.]+)/([\d.]+)/([\d.]+)/([\d.]+) ms$", summary, re.MULTILINE)
        assert found is not None
        low, mean, high, _ = map(float, found.groups())
        assert 0 < low <= mean <= high < 10_000


async def test_json_and_ctrl_c(tmp_path: Path) -> None:
    async with Nodes(tmp_path, psk="") as nodes:
        entry = await nodes.input()
        words = ("--psk", "none", "-c", "0", "-i", "0.05", entry.multiaddr)
        status, printed, errors = await pinging(*words, cwd=tmp_path, lines=4)
        assert (status, errors) == (0, "")
        sent, answered = map(int, re.findall(r"^(\d+) sent, (\d+) answered", printed, re.MULTILINE)[0])
        assert sent >= answered >= 3
        status, printed, errors = await pinging("--json", *words[:2], "-c", "2", "-i", "0.01", words[-1], cwd=tmp_path)
    assert (status, errors) == (0, "")
    (told,) = json.loads(printed)["peers"]
    assert (told["peer"], told["addr"], told["sent"], told["answered"]) == (entry.peer, entry.multiaddr, 2, 2)
    assert 0 < told["min_ms"] <= told["mean_ms"] <= told["max_ms"]
    assert "last_loss" not in told


async def test_the_key_of_the_network_from_the_environment(tmp_path: Path) -> None:
    async with Nodes(tmp_path) as nodes:
        entry = await nodes.input()
        words = ("tool", "ping", "-c", "1", "-t", "2", entry.multiaddr)
        key = entry.config()["App"]["PreSharedKey"]
        done = await asyncio.to_thread(aicn, *words, cwd=tmp_path, env={"AICN_PSK": key})
        assert (done.returncode, done.stderr) == (0, "")
        assert key not in done.stdout
        done = await asyncio.to_thread(aicn, *words, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (1, "")
        assert "1 sent, 0 answered, 100% lost" in done.stdout


def test_nobody_answers(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    done = aicn("tool", "ping", "-c", "2", "-i", "0.01", f"/ip4/127.0.0.1/tcp/{port}/p2p/{NOBODY}", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert re.search(rf"^no answer from {NOBODY}: seq=2: .*refused", done.stdout, re.MULTILINE | re.IGNORECASE)
    assert "2 sent, 0 answered, 100% lost" in done.stdout
    assert "rtt" not in done.stdout


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (("/ip4/127.0.0.1/tcp/1",), 2, ".*does not end in /p2p/ID.*"),
        (("frob",), 1, ".*failed to parse multiaddr.*"),
        (("--psk", "1234", f"/ip4/127.0.0.1/tcp/1/p2p/{NOBODY}"), 1, ".*64 hexadecimal digits.*"),
        (("--config", "no.json", f"/ip4/127.0.0.1/tcp/1/p2p/{NOBODY}"), 1, ".*no.json.*"),
        (("--config", "no.json", "--psk", "none", f"/ip4/127.0.0.1/tcp/1/p2p/{NOBODY}"), 2, ".*give one of them.*"),
    ],
)
def test_refusals(tmp_path: Path, words: tuple[str, ...], status: int, line: str) -> None:
    assert re.fullmatch(line, refused(aicn("tool", "ping", *words, cwd=tmp_path), status))
