"""`aicn demo` as a person sees it: real processes, the real model, the terminal's output."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes import free_ports

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts processes in /proc")

DEMO = [sys.executable, "-m", "aicn", "demo"]
TIMEOUT_S = 120


def processes_of(folder: str) -> list[int]:
    """Return the processes whose working directory is in `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if (entry / "cwd").readlink().as_posix().startswith(folder):
                found.append(int(entry.name))
    return found


def until_none(folder: str) -> bool:
    deadline_s = time.monotonic() + 15
    for pid in processes_of(folder):
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            select.select([descriptor], [], [], max(0.0, deadline_s - time.monotonic()))
            os.close(descriptor)
    return not processes_of(folder)


def signal_thread(process: int, thread: int, number: signal.Signals) -> None:
    """Send a signal to one thread of another process, as the system may with one sent to the process."""
    if ctypes.CDLL(None, use_errno=True).tgkill(process, thread, number):
        raise OSError(ctypes.get_errno(), "tgkill")


@contextlib.contextmanager
def running(tmp_path: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the demo, wait until it is up; the block gets the process and all that it printed."""
    with subprocess.Popen(  # noqa: S603 - our own words
        [*DEMO, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stdout is not None
        printed = ""
        try:
            while "Up until Ctrl-C" not in printed:
                line = process.stdout.readline()
                assert line, f"the demo ended early:\n{printed}"
                printed += line
            yield process, printed
        finally:
            if process.poll() is None:
                process.kill()


def test_once_it_answers_tells_the_path_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(  # noqa: S603 - our own words
        [*DEMO, "--once"],
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    peers = re.findall(r"-> (?:Input|Worker) +(16Uiu2HA\w+)", done.stdout)
    assert len(set(peers)) == 2
    first_ms = re.search(r"First token after (\d+) ms; (\d+) tokens", done.stdout)
    assert first_ms is not None
    assert int(first_ms[2]) > 5
    assert processes_of(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_it_stays_up_until_ctrl_c(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with running(tmp_path, "--port", str(port)) as (process, printed):
        assert f"http://127.0.0.1:{port}/api/v0/chat/completion/proxy" in printed
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v0/ai/projects/list", timeout=10) as answer:
            assert b'"demo"' in answer.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    assert processes_of(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_another_thread_takes_ends_it_as_well(tmp_path: Path) -> None:
    # The system may give a signal to any thread; the main one then sleeps on in its wait for events.
    with running(tmp_path) as (process, _):
        first, *others = sorted(int(entry.name) for entry in Path(f"/proc/{process.pid}/task").iterdir())
        assert first == process.pid
        assert others, "the demo waits for its children in threads"
        signal_thread(process.pid, others[0], signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    assert processes_of(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_killed_it_leaves_no_process_behind(tmp_path: Path) -> None:
    with running(tmp_path) as (process, _):
        assert len(processes_of(str(tmp_path))) == 3
        process.kill()
        process.wait(timeout=30)
        assert until_none(str(tmp_path))


def test_a_child_that_dies_ends_it_with_one_line(tmp_path: Path) -> None:
    with running(tmp_path) as (process, _):
        os.kill(processes_of(str(tmp_path))[0], signal.SIGKILL)
        assert process.wait(timeout=30) == 1
        assert process.stdout is not None
        rest = process.stdout.read()
    assert re.search(r"the (Model server|Input|Worker) stopped with exit status -9", rest)
    assert "Traceback" not in rest
    assert until_none(str(tmp_path))


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    with taken_port() as port:
        done = subprocess.run(  # noqa: S603 - our own words
            [*DEMO, "--once", "--port", str(port)],
            check=False,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1 is taken" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@contextlib.contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]
