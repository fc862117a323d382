"""What the source tree promises of itself."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Some 400 and 500 lines: the rule is to split by noun before a file is about two things.
PYTHON_MAX_LINES = 420
RUST_MAX_LINES = 520

GENERATED = {"src/aicn/wire/protocol_pb2.py", "src/aicn/wire/protocol_pb2.pyi"}
LOCKS = {"Cargo.lock", "requirements/dev.txt", "requirements/model.txt", "tests/interop/go/go.sum"}


def tracked(*suffixes: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        check=False,
        capture_output=True,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    names = [name for name in listed.stdout.decode().split("\0") if name]
    found = [ROOT / name for name in names if not suffixes or name.endswith(suffixes)]
    return [path for path in found if path.is_file()]


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def sources(folder: str, suffix: str) -> list[Path]:
    return [path for path in tracked(suffix) if name(path).startswith(folder) and name(path) not in GENERATED]


def test_files_stay_short_enough_to_be_about_one_thing() -> None:
    long = {name(path): len(lines(path)) for path in sources("src/", ".py") if len(lines(path)) > PYTHON_MAX_LINES}
    long |= {name(path): len(lines(path)) for path in sources("rust/", ".rs") if len(lines(path)) > RUST_MAX_LINES}
    assert long == {}


def test_nothing_is_left_to_do_in_the_sources() -> None:
    words = re.compile(r"\b(TODO|FIXME|XXX|HACK|NotImplementedError|todo!|unimplemented!)")
    found = [
        f"{name(path)}:{number}: {line.strip()}"
        for path in [*sources("src/", ".py"), *sources("rust/", ".rs")]
        for number, line in enumerate(lines(path), start=1)
        if words.search(line)
    ]
    assert found == []


def text_files() -> Iterator[tuple[Path, str]]:
    for path in tracked():
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def test_no_path_of_one_machine_and_no_host_of_a_registry() -> None:
    # Written in pieces, so that this file does not match itself.
    words = ["/ro" + "ot/", "/wo" + "rk/", "/ho" + "me/", "pypi" + ".org", "pythonhosted" + ".org"]
    words += ["crates" + ".io/api", "proxy.golang" + ".org", "npmjs" + ".org", "index" + "-url"]
    found = [f"{name(path)}: {word}" for path, text in text_files() for word in words if word in text]
    assert found == []


def test_names_say_what_they_hold() -> None:
    vague = {"utils", "util", "common", "helpers", "misc"}
    assert [name(path) for path in tracked(".py", ".rs") if path.stem in vague or path.parent.name in vague] == []


def test_only_the_native_host_imports_the_native_core() -> None:
    importers = set()
    for path in sources("src/", ".py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported: list[str] = []
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                imported = [f"{node.module}.{alias.name}" for alias in node.names]
            if any(module.startswith("aicn._native") for module in imported):
                importers.add(name(path))
    assert importers <= {"src/aicn/p2p/native.py", "src/aicn/p2p/native_stream.py"}


def test_layers() -> None:
    done = subprocess.run(  # noqa: S603 - our own words
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_scripts_are_executable() -> None:
    assert [name(path) for path in tracked(".sh", ".ci/run") if not path.stat().st_mode & 0o100] == []
