"""The configuration file survives whatever happens to those who write it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aicn.config import ConfigFile
from support.configurations import example, read, write

KILLS = 25
WRITES_EACH = 60

# Rewrites the file without end, and says how far it is before and after each write.
REWRITER = """
import asyncio, sys
from pathlib import Path
from aicn.config import ConfigFile

async def main():
    file = ConfigFile.load(Path(sys.argv[1]))
    number = int(sys.argv[2])
    while True:
        number += 1
        def change(raw, number=number):
            raw["Counter"] = number
            raw["Filling"] = str(number % 10) * (number % 7 * 10_000)
        print("begin", number, flush=True)
        await file.update(change)
        print("done", number, flush=True)

asyncio.run(main())
"""

# Adds entries of its own to one list that several of these share.
APPENDER = """
import asyncio, sys
from pathlib import Path
from aicn.config import ConfigFile

async def main():
    file = ConfigFile.load(Path(sys.argv[1]))
    for number in range(int(sys.argv[3])):
        await file.update(lambda raw: raw.setdefault("Notes", []).append(f"{sys.argv[2]}-{number}"))

asyncio.run(main())
"""


@contextmanager
def running(program: str, *words: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", program, *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own words
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "node.json", example(tmp_path))


def test_a_writer_killed_at_any_moment_leaves_a_whole_file_with_all_it_said_was_done(path: Path) -> None:
    chance = random.Random(20_261_123)  # noqa: S311 - a repeatable choice of moments
    counter = 0
    for _ in range(KILLS):
        with running(REWRITER, path, counter) as process:
            assert process.stdout is not None
            # Some lines, then a moment inside the write that comes next.
            lines = [process.stdout.readline() for _ in range(chance.randrange(1, 6))]
            try:
                process.wait(timeout=chance.uniform(0.0, 0.01))
            except subprocess.TimeoutExpired:
                process.kill()
            lines += process.stdout.read().splitlines()
        begun = [int(line.split()[1]) for line in lines if line.startswith("begin")]
        done = [int(line.split()[1]) for line in lines if line.startswith("done")]
        raw = read(path)
        ConfigFile.load(path)
        assert path.stat().st_mode & 0o777 == 0o600
        after = raw.get("Counter", 0)
        assert after >= max([counter, *done]), "what was said to be done is there"
        assert len(raw.get("Filling", "")) == after % 7 * 10_000
        assert after <= max([counter, *begun])
        counter = after
    assert counter > KILLS // 2, "the writers did write"
    assert {one.name for one in path.parent.iterdir()} <= {path.name, "datastore", f".{path.name}.tmp"}
    with running(APPENDER, path, "last", 1) as process:
        assert process.wait(timeout=30) == 0
    assert {one.name for one in path.parent.iterdir()} == {path.name, "datastore"}, "what the killed ones left is gone"


def test_writers_side_by_side_lose_nothing(path: Path) -> None:
    with running(APPENDER, path, "a", WRITES_EACH) as one, running(APPENDER, path, "b", WRITES_EACH) as two:
        assert one.wait(timeout=60) == 0
        assert two.wait(timeout=60) == 0
    notes = read(path)["Notes"]
    assert len(notes) == 2 * WRITES_EACH
    for name in ("a", "b"):
        assert [note for note in notes if note.startswith(name)] == [f"{name}-{n}" for n in range(WRITES_EACH)]


def test_a_disk_that_is_full_leaves_the_old_file(path: Path) -> None:
    before = path.read_bytes()
    # A limit on the size of files stands for the full disk: the write fails half way.
    program = """
import asyncio, resource, signal, sys
from pathlib import Path
from aicn.config import ConfigFile
from aicn.errors import ConfigError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
file = ConfigFile.load(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    asyncio.run(file.update(lambda raw: raw.update(Filling="x" * 100_000)))
except ConfigError as error:
    print(error)
"""
    with running(program, path) as process:
        said, _ = process.communicate(timeout=30)
    assert f"{path} cannot be written (File too large) and was left as it is" in said
    assert path.read_bytes() == before
    assert {one.name for one in path.parent.iterdir()} == {path.name, "datastore"}
    assert json.loads(before)
