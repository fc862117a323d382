"""A command's children come up, are watched, and never outlive it."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import aicn
from aicn.cli.children import Children
from aicn.errors import DemoFailed

SLEEPER = """
import signal, sys, threading
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
print("up", flush=True)
stop.wait()
print("stopped in order", flush=True)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(600)
"""
FAILING = """
import sys
print("opening the door")
sys.exit("the door is locked: bring a key")
"""


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, program in (("sleeper", SLEEPER), ("stubborn", STUBBORN), ("failing", FAILING)):
        (tmp_path / f"{name}.py").write_text(program, encoding="utf-8")
    source = Path(aicn.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(source)]))


async def test_a_child_comes_up_and_is_stopped_in_order(tmp_path: Path) -> None:
    children = Children(tmp_path)
    child = await children.start("Sleeper", "sleeper")
    await children.until(says(child.log, "up"), "the Sleeper said nothing", 10)
    await children.stop()
    assert child.process.returncode == 0
    assert child.last_words() == "stopped in order"


async def test_a_child_that_fails_is_reported_with_its_last_words(tmp_path: Path) -> None:
    children = Children(tmp_path)
    await children.start("Door", "failing")
    with pytest.raises(DemoFailed, match=r"the Door stopped with exit status 1: the door is locked: bring a key"):
        await children.until(never, "nobody opened", 10)
    await children.stop()


async def test_waiting_ends_in_time_and_tells_what_was_said(tmp_path: Path) -> None:
    children = Children(tmp_path)
    child = await children.start("Sleeper", "sleeper")
    await children.until(says(child.log, "up"), "the Sleeper said nothing", 10)
    with pytest.raises(DemoFailed, match=r"the Sleeper did not dance within 0 s; what it wrote: Sleeper: up"):
        await children.until(never, "the Sleeper did not dance", 0.2)
    await children.stop()


async def test_watching_ends_when_a_child_does(tmp_path: Path) -> None:
    children = Children(tmp_path)
    child = await children.start("Sleeper", "sleeper")
    await children.until(says(child.log, "up"), "the Sleeper said nothing", 10)
    watch = asyncio.create_task(children.watch())
    child.process.terminate()
    with pytest.raises(DemoFailed, match="the Sleeper stopped with exit status 0"):
        async with asyncio.timeout(10):
            await watch
    await children.stop()


async def test_a_child_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aicn.cli.children.STOP_TIMEOUT_S", 0.2)
    children = Children(tmp_path)
    child = await children.start("Stubborn", "stubborn")
    await children.until(says(child.log, "up"), "the Stubborn said nothing", 10)
    await children.stop()
    assert child.process.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="needs a pidfd to see the end of a grandchild")
def test_children_of_a_killed_command_end_by_themselves(tmp_path: Path) -> None:
    program = """
import asyncio, pathlib, sys
from aicn.cli.children import Children
async def main():
    children = Children(pathlib.Path(sys.argv[1]))
    child = await children.start("Sleeper", "sleeper")
    async def up(): return b"up" in child.log.read_bytes()
    await children.until(up, "the Sleeper said nothing", 10)
    print(child.process.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    with subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout is not None
        pid = int(command.stdout.readline())
        # A descriptor of the process tells its end even though it is not our child.
        descriptor = os.pidfd_open(pid)
        command.kill()
    try:
        ended = wait_readable(descriptor, timeout_s=10)
    finally:
        os.close(descriptor)
    assert ended
    assert "stopped in order" in (tmp_path / "sleeper.log").read_text(encoding="utf-8")


def wait_readable(descriptor: int, timeout_s: float) -> bool:
    return bool(select.select([descriptor], [], [], timeout_s)[0])


def says(log: Path, word: str) -> Callable[[], Awaitable[bool]]:
    async def said() -> bool:
        return word in await asyncio.to_thread(log.read_text, encoding="utf-8")

    return said


async def never() -> bool:
    return False
