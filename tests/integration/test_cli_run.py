"""`aicn run`: its clean end, its quick end, and every reason for which it does not begin."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from aicn.config import Role, create_node
from aicn.store import Store
from support.command_line import TIMEOUT_S, aicn, environment, refused
from support.processes import Nodes

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")

FAKE = textwrap.dedent("""
    import asyncio, sys, types

    class Node:
        @staticmethod
        async def run(config_file, *, stop):
            print("running", flush=True)
            {body}

    module = types.ModuleType("aicn.node")
    module.Node = Node
    sys.modules["aicn.node"] = module
    from aicn.cli.main import main
    main()
""")
"""The real command around a node that does only what a test needs."""


def edit(path: Path, section: str, **changes: Any) -> None:
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw[section].update(changes)
    path.write_text(json.dumps(raw), encoding="utf-8")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A configuration that logs to a file and listens where nobody else does."""
    path = create_node(tmp_path, Role.WORKER).config_path
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["Addresses"] = ["/ip4/127.0.0.1/tcp/0"]
    raw["API"]["Addr"] = "127.0.0.1:0"
    raw["Swarm"]["DisableNatPortMap"] = True
    path.write_text(json.dumps(raw), encoding="utf-8")
    return path


HEEDS_HANGUP = "import signal\nif hasattr(signal, 'SIGHUP'):\n    signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
"""The tests themselves may run under nohup."""


@contextlib.asynccontextmanager
async def fake(
    path: Path, body: str, *, before: str = HEEDS_HANGUP, **env: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the command with a node that does `body`, after the lines `before`; yield when it runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        before + FAKE.format(body=body),
        "run",
        "-c",
        str(path),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(env),
    )
    try:
        async with asyncio.timeout(30):
            assert process.stdout is not None
            assert await process.stdout.readline() == b"running\n"
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def told(process: asyncio.subprocess.Process) -> str:
    """Return what the process said on standard error, once it is gone."""
    _, err = await process.communicate()
    return err.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)])
async def test_a_signal_ends_it_cleanly(path: Path, number: signal.Signals) -> None:
    async with fake(path, "await stop.wait()") as process:
        process.send_signal(number)
        assert await told(process) == ""
        assert process.returncode == 0
    assert "stopping; ask again to stop at once" in (path.parent / "host.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("first", ["SIGHUP", "SIGTERM"])
async def test_a_hangup_is_never_the_second_signal(path: Path, first: str) -> None:
    body = "await stop.wait(); print('stopping', flush=True); await asyncio.to_thread(sys.stdin.read)"
    async with fake(path, body) as process:
        process.send_signal(signal.Signals[first])
        assert process.stdout is not None
        assert process.stdin is not None
        assert await process.stdout.readline() == b"stopping\n"
        process.send_signal(signal.SIGHUP)
        process.stdin.close()
        assert await told(process) == ""
        assert process.returncode == 0


async def test_under_nohup_it_outlives_its_terminal(path: Path) -> None:
    body = "await asyncio.to_thread(sys.stdin.read); print(stop.is_set(), flush=True)"
    ignoring = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    async with fake(path, body, before=ignoring) as process:
        process.send_signal(signal.SIGHUP)
        assert process.stdin is not None
        process.stdin.close()
        said, _ = await process.communicate()
        assert (said, process.returncode) == (b"False\n", 0)


@pytest.mark.parametrize("hanging", ["await asyncio.Event().wait()", "import time; time.sleep(600)"])
@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)])
async def test_a_second_signal_ends_it_at_once(
    path: Path, numbers: tuple[signal.Signals, signal.Signals], hanging: str
) -> None:
    body = f"await stop.wait(); print('hanging', flush=True); {hanging}"
    async with fake(path, body) as process:
        process.send_signal(numbers[0])
        assert process.stdout is not None
        assert await process.stdout.readline() == b"hanging\n"
        process.send_signal(numbers[1])
        assert await told(process) == ""
        assert process.returncode == 130


async def test_an_unforeseen_error_is_one_line_and_its_traceback_is_in_the_log(path: Path) -> None:
    async with fake(path, "raise KeyError('a bug')") as process:
        log = path.parent / "host.log"
        line = f"aicn: unexpected error: KeyError: 'a bug'; the log {log} has the details, please report it\n"
        assert await told(process) == line
        assert process.returncode == 70
    assert r"KeyError: 'a bug'\nTraceback" in log.read_text(encoding="utf-8")


async def test_debugging_shows_the_traceback(path: Path) -> None:
    async with fake(path, "raise KeyError('a bug')", AICN_DEBUG="1") as process:
        words = await told(process)
        assert words.startswith("Traceback")
        assert words.splitlines()[-1].startswith("aicn: unexpected error")
        assert process.returncode == 70


async def test_of_errors_that_come_together_the_foreseen_one_is_told(path: Path) -> None:
    body = "from aicn.errors import ListenFailed; raise ExceptionGroup('x', [KeyError('b'), ListenFailed('taken')])"
    async with fake(path, body) as process:
        assert await told(process) == "aicn: taken\n"
        assert process.returncode == 1
    assert (path.parent / "host.log").read_text(encoding="utf-8").rstrip().endswith("CRITICAL aicn.cli taken")


async def test_what_is_odd_about_the_file_is_in_the_log(path: Path) -> None:
    edit(path, "App", Colour="red", LogOutput="stderr")
    path.chmod(0o644)
    async with fake(path, "await stop.wait()") as process:
        process.terminate()
        lines = (await told(process)).splitlines()
    assert "others may read it; run chmod 600 on it" in lines[0]
    assert "has keys that mean nothing here: App.Colour" in lines[1]


# --- with the real node ---------------------------------------------------------------------------------------


@pytest.fixture
def taken() -> Iterator[int]:
    """A TCP port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_the_port_of_the_api_is_taken(path: Path, taken: int) -> None:
    edit(path, "API", Addr=f"127.0.0.1:{taken}")
    line = refused(aicn("run", "-c", path, cwd=path.parent), 1)
    assert line.startswith(f"aicn: the HTTP API cannot listen on 127.0.0.1:{taken} (")
    assert "change API.Addr" in line


def test_the_port_of_libp2p_is_taken(path: Path, taken: int) -> None:
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["Addresses"] = [f"/ip4/127.0.0.1/tcp/{taken}"]
    path.write_text(json.dumps(raw), encoding="utf-8")
    line = refused(aicn("run", "-c", path, cwd=path.parent), 1)
    assert line.startswith("aicn: ")
    assert f"/ip4/127.0.0.1/tcp/{taken}" in line


async def test_the_datastore_is_in_use(path: Path) -> None:
    folder = path.parent / "datastore"
    store = await Store.open(folder)
    try:
        line = refused(await asyncio.to_thread(aicn, "host", "-config", path, cwd=path.parent), 1)
    finally:
        await store.close()
    assert line.startswith(f"the datastore {folder} is in use by another process (pid ")


def test_the_datastore_is_gone(path: Path) -> None:
    (path.parent / "datastore").rmdir()
    line = refused(aicn("run", "-c", path, cwd=path.parent), 1)
    assert "App.Datastore is " in line
    assert "make that folder" in line


CRAMPED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
from aicn.cli.main import main
main()
"""
"""The real command where no file may grow beyond so many bytes, which is to it as a full disk is."""


@pytest.mark.parametrize("room_bytes", [0, 100, 10_000])
def test_the_disk_of_the_datastore_is_full(path: Path, room_bytes: int) -> None:
    words = [sys.executable, "-c", CRAMPED, str(room_bytes), "run", "-c", str(path)]
    done = subprocess.run(  # noqa: S603 - our own words
        words, check=False, capture_output=True, text=True, env=environment(), timeout=TIMEOUT_S
    )
    line = refused(done, 1)
    assert line.startswith(f"aicn: {'the datastore ' if not room_bytes else ''}{path.parent / 'datastore'}")
    assert "the space of its disk" in line


def test_the_log_cannot_be_written(path: Path) -> None:
    edit(path, "App", LogFile=str(path.parent / "nowhere" / "host.log"))
    line = refused(aicn("run", "-c", path, cwd=path.parent), 1)
    assert "host.log cannot be written (No such file or directory); change App.LogFile" in line


def test_what_init_makes_runs_at_once(tmp_path: Path) -> None:
    """Input and Worker, both with every address of the machine, as their files come."""
    asyncio.run(_run_what_init_makes(tmp_path))


async def _run_what_init_makes(folder: Path) -> None:
    for role in ("input", "worker"):
        await asyncio.to_thread(aicn, "init", role, cwd=folder)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "aicn",
            "run",
            "-c",
            str(folder / f"{role}.json"),
            stderr=asyncio.subprocess.PIPE,
            env=environment(),
        )
        try:
            async with asyncio.timeout(60):
                log = folder / "host.log"
                while not log.exists() or "HTTP API on" not in log.read_text(encoding="utf-8"):
                    assert process.returncode is None, await told(process)
                    await asyncio.sleep(0.05)
                process.terminate()
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        log.unlink()


async def test_a_running_node_stops_at_a_signal(tmp_path: Path) -> None:
    async with Nodes(tmp_path) as nodes:
        node = await nodes.input()
        assert await node.stop() == 0
        assert "Traceback" not in node.log
