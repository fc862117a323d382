"""`aicn keys`: a list that changes nothing, and no key whose secret nobody has seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aicn.cli.main import run_words
from aicn.store import list_keys
from aicn.store.database import FILE_NAME
from support.command_line import TIMEOUT_S, environment


def test_a_list_neither_begins_a_database_nor_puts_one_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_words(["keys", "list", str(tmp_path)]) == 1
    assert "there is no datastore at" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    (tmp_path / FILE_NAME).write_bytes(b"no database at all" * 100)
    assert run_words(["keys", "list", str(tmp_path)]) == 1
    assert "is damaged or no datastore" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def add_key(folder: Path, *words: str, **streams: Any) -> subprocess.CompletedProcess[bytes]:
    """Run `aicn keys add` with other streams than usual."""
    return subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-m", "aicn", "keys", "add", str(folder), "--name", "Ann", *words],
        check=False,
        **{"stderr": subprocess.PIPE, "env": environment(), "timeout": TIMEOUT_S, **streams},
    )


def assert_revoked(folder: Path, done: subprocess.CompletedProcess[bytes], reason: str) -> None:
    (line,) = done.stderr.decode().splitlines()
    (key,) = list_keys(folder)
    assert done.returncode == 1
    assert line.startswith(f"aicn: the secret of {key.id} could not be written to the standard output (")
    assert reason in line
    assert key.revoked_unix_s is not None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_key_whose_secret_could_not_be_shown_is_revoked(tmp_path: Path, words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        assert_revoked(tmp_path, add_key(tmp_path, *words, stdout=full), "No space left on device")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other pipes")
def test_a_key_whose_secret_nobody_reads_is_revoked(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert_revoked(tmp_path, add_key(tmp_path, stdout=writer), "Broken pipe")
    finally:
        os.close(writer)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no descriptor 1")
def test_a_key_is_revoked_where_there_is_no_standard_output(tmp_path: Path) -> None:
    done = add_key(tmp_path, preexec_fn=lambda: os.close(1))  # as `>&-` of a shell
    assert_revoked(tmp_path, done, "Bad file descriptor")


def test_a_key_is_revoked_where_its_name_cannot_be_written(tmp_path: Path) -> None:
    env = environment({"PYTHONIOENCODING": "latin-1"})
    done = add_key(tmp_path, "--name", "Ζωή", "--json", stdout=subprocess.PIPE, env=env)
    assert done.stdout == b""
    assert_revoked(tmp_path, done, "latin-1")


def test_a_key_that_was_shown_stays(tmp_path: Path) -> None:
    done = add_key(tmp_path, "--json", stdout=subprocess.PIPE)
    (key,) = list_keys(tmp_path)
    assert (json.loads(done.stdout)["id"], key.revoked_unix_s, done.returncode) == (key.id, None, 0)
