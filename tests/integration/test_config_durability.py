"""A configuration file is whole at every moment: whoever is killed, whoever else writes."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from aicn.config import ConfigFile, Role, create_node

WRITER = textwrap.dedent("""
    import asyncio, sys
    from pathlib import Path
    from aicn.config import ConfigFile

    path, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

    def add(raw):
        # Its size changes, so that a file that is not replaced but written over would show.
        seen = raw.setdefault("Seen", {}).setdefault(name, [])
        seen.append(len(seen))
        raw["Padding"] = "x" * (len(seen) * 7919 % 50_000)

        written.append(len(seen))

    written = []

    async def main():
        file = ConfigFile.load(path)
        print("ready", flush=True)
        for n in range(count):
            await file.update(add)
            print(written[-1], flush=True)

    asyncio.run(main())
""")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return create_node(tmp_path, Role.WORKER).config_path


def start(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-c", WRITER, str(path), name, str(count)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def seen(path: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = json.loads(path.read_text(encoding="utf-8")).get("Seen", {})
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_writer_killed_at_any_moment_leaves_a_whole_file(path: Path) -> None:
    folder = path.parent
    moments = random.Random(7)  # noqa: S311 - the same moments each time, as far as a machine allows
    acknowledged = 0
    for _ in range(20):
        process = start(path, "one", 1_000_000)
        assert process.stdout is not None
        # After a random number of updates, and then somewhere inside the next ones.
        for _ in range(moments.randrange(1, 8)):
            acknowledged = int(process.stdout.readline())
        deaf = moments.random() * 0.01
        try:
            process.wait(timeout=deaf)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        rest = process.communicate()[0].split()
        acknowledged = max([acknowledged, *map(int, rest[:-1])])
        assert process.returncode == -signal.SIGKILL

        config = ConfigFile.load(path)
        assert config.config.app.topic_name == "DeepBrainChain"
        written = seen(path)["one"]
        assert written == list(range(len(written)))
        assert len(written) >= acknowledged
        assert path.stat().st_mode & 0o777 == 0o600
        left = {one.name for one in folder.iterdir()} - {"datastore", "peer.key", path.name}
        assert left <= {f".{path.name}.tmp"}
        for name in left:
            assert (folder / name).stat().st_mode & 0o777 == 0o600
    process = start(path, "one", 1)
    assert process.wait(60) == 0
    process.communicate()
    assert sorted(one.name for one in folder.iterdir()) == ["datastore", "peer.key", path.name]


def test_writers_at_once_lose_nothing(path: Path) -> None:
    processes = [start(path, name, 30) for name in ("one", "two", "three")]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert seen(path) == {name: list(range(30)) for name in ("one", "two", "three")}
    assert ConfigFile.load(path).config.identity.priv_key


def test_a_reader_never_meets_half_a_file(path: Path) -> None:
    process = start(path, "one", 150)
    reads = 0
    while process.poll() is None:
        ConfigFile.load(path)
        reads += 1
        assert process.stdout is not None
        process.stdout.readline()
    process.communicate()
    assert process.returncode == 0
    assert reads > 30
