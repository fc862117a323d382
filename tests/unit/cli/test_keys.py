"""`aicn keys`: a list that changes nothing, and no key whose secret nobody has seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aicn.cli.main import run_words
from aicn.config import ConfigFile, Role, create_node
from aicn.errors import UsageError
from aicn.store import KeyFile, list_keys
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


def test_no_datastore_is_begun_where_no_node_has_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("nothing of a node's", encoding="utf-8")
    for words in (["add", str(tmp_path), "--name", "a"], ["revoke", str(tmp_path), "a"]):
        assert run_words(["keys", *words]) == 1
        assert "there is no datastore at" in capsys.readouterr().err
    assert run_words(["keys", "add", str(tmp_path / "notes.txt"), "--name", "a"]) == 1
    assert "notes.txt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_configuration_may_have_any_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = create_node(tmp_path, Role.INPUT).config_path
    config = made.rename(made.with_name("node.conf"))
    assert run_words(["keys", "add", str(config), "--name", "a"]) == 0
    (key,) = list_keys(Path(ConfigFile.load(config).config.app.datastore))
    assert key.name == "a"
    assert capsys.readouterr().out.startswith("sk-aicn-")


def test_keys_made_at_once_in_a_new_datastore_are_all_there(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: add_key(tmp_path, stdout=subprocess.PIPE), range(4)))
    assert [each.returncode for each in done] == [0] * 4, [each.stderr for each in done]
    assert len(list_keys(tmp_path)) == 4


def test_a_name_means_the_key_that_is_still_valid_and_an_id_itself(tmp_path: Path) -> None:
    with KeyFile(tmp_path) as file:
        old, _ = file.add("Ann", 1)
        file.revoke("Ann", 2)
        new, _ = file.add("Ann", 3)
        file.add(old.id, 4)
        assert file.revoke("Ann", 5).id == new.id
        assert file.revoke(old.id, 6).id == old.id
        one, _ = file.add("Ann", 7)
        file.add("Ann", 8)
        with pytest.raises(UsageError, match="2 keys with the id or name 'Ann'"):
            file.revoke("Ann", 9)
        assert file.revoke(one.id, 9).revoked_unix_s == one.revoked_unix_s


def test_an_end_that_is_empty_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_words(["keys", "add", str(tmp_path), "--name", "a", "--expires", ""]) == 2
    assert "is no time" in capsys.readouterr().err
