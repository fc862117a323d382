from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aicn.filelock import FileLock, hold

HOLDER = """
import sys, time
from pathlib import Path
from aicn.filelock import FileLock
lock = FileLock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["file", "folder"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file that is not there yet, or a folder."""
    return tmp_path if request.param == "folder" else tmp_path / "lock"


def test_two_locks_exclude_each_other(target: Path) -> None:
    first, second = FileLock(target), FileLock(target)
    assert first.acquire()
    assert first.acquire(), "the holder holds it already"
    assert not second.acquire()
    first.release()
    first.release()
    assert second.acquire()
    second.release()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_it_goes_with_its_holder(target: Path) -> None:
    process = subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-c", HOLDER, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    lock = FileLock(target)
    assert not lock.acquire()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert lock.acquire()
    lock.release()


def test_waiting_ends_in_time(target: Path) -> None:
    first, second = FileLock(target), FileLock(target)
    assert first.acquire()
    started_s = time.monotonic()
    assert not second.acquire(0.1)
    assert 0.1 <= time.monotonic() - started_s < 5
    first.release()


def test_holding_lets_go_whatever_happens(target: Path) -> None:
    def refuse() -> Exception:
        return TimeoutError("taken")

    def fail() -> None:
        with hold(target, 0, refuse):
            assert not FileLock(target).acquire()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with hold(target, 0, refuse), pytest.raises(TimeoutError, match="taken"), hold(target, 0, refuse):
        pytest.fail("held twice")
    lock = FileLock(target)
    assert lock.acquire()
    lock.release()


def test_what_the_holder_notes_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = FileLock(path)
    lock.note("nothing is locked yet")
    assert lock.acquire()
    lock.note("a long note")
    lock.note("short")
    assert path.read_text(encoding="utf-8") == "short"
    if sys.platform != "win32":
        assert path.stat().st_mode & 0o777 == 0o600
    lock.release()


def test_a_place_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        FileLock(tmp_path / "nowhere" / "lock").acquire()
