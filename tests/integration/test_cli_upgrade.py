"""`aicn upgrade`: from a key and a folder of packages to a release that a node would take."""

from __future__ import annotations

import base64
import json
import shutil
import sys
import zipfile
from pathlib import Path

import click
import pytest

from aicn import __version__
from aicn.config import Role, create_node
from aicn.upkeep.upgrade.version import this_platform
from support.command_line import aicn, refused
from support.releases import Publisher, make_packages


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "node").mkdir()
    return create_node(tmp_path / "node", Role.WORKER).config_path


def set_upgrade(config: Path, source: Path | str, public_key: str) -> None:
    raw = json.loads(config.read_text(encoding="utf-8"))
    raw["AICN"] = {"Upgrade": {"Source": str(source), "PublicKey": public_key}}
    config.write_text(json.dumps(raw), encoding="utf-8")


def packages_with_what_they_need(folder: Path, version: str) -> Path:
    """Make what `pip install --target` would, as far as `aicn version` needs it."""
    assert click.__file__ is not None
    shutil.copytree(Path(click.__file__).parent, make_packages(folder, version) / "click")
    return folder


def test_the_whole_way_of_a_release(tmp_path: Path, config: Path) -> None:
    made = aicn("upgrade", "keygen", "release.key", cwd=tmp_path)
    public_key = made.stdout.strip()
    assert len(base64.b64decode(public_key)) == 32
    (tmp_path / "source").mkdir()
    packages = packages_with_what_they_need(tmp_path / "packages", "9.0.0")

    packed = aicn("upgrade", "pack", packages, "--into", "source", cwd=tmp_path)
    assert packed.returncode == 0, packed.stderr
    archive = tmp_path / packed.stdout.strip()
    assert archive.name == f"aicn-9.0.0-{this_platform()}.zip"
    with zipfile.ZipFile(archive) as opened:
        assert {"aicn/__init__.py", "click/core.py"} <= set(opened.namelist())

    signed = aicn("upgrade", "sign", "source", "9.0.0", "--minimum", __version__, "--key", "release.key", cwd=tmp_path)
    assert signed.returncode == 0, signed.stderr
    assert signed.stdout.startswith(f"{this_platform()}  {archive.stat().st_size} bytes  ")

    set_upgrade(config, tmp_path / "source", public_key)
    assert aicn("upgrade", "check", "-c", config, cwd=tmp_path).stdout == "9.0.0 can be taken\n"
    before = aicn("upgrade", "status", "-c", config, cwd=tmp_path).stdout
    assert "Waiting     none\n" in before
    assert "Last look   never\n" in before
    applied = aicn("upgrade", "apply", "-c", config, cwd=tmp_path)
    assert (applied.returncode, applied.stdout) == (0, "9.0.0 is ready\n")
    after = aicn("upgrade", "status", "-c", config, cwd=tmp_path).stdout
    assert f"Installed   {__version__}\n" in after
    assert "Waiting     9.0.0\n" in after
    assert "+00:00: 9.0.0 waits to be tried" in after


def test_packages_that_miss_something_are_not_packed(tmp_path: Path) -> None:
    packages = make_packages(tmp_path / "packages", "9.0.0")
    told = refused(aicn("upgrade", "pack", packages, "--into", tmp_path, cwd=tmp_path), 1)
    assert "No module named 'click'" in told
    assert list(tmp_path.glob("*.zip")) == []


def test_nothing_is_signed_where_there_is_nothing(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    told = refused(aicn("upgrade", "sign", publisher.source, "9.0.0", "--key", publisher.key, cwd=tmp_path), 1)
    assert "holds no archive of 9.0.0" in told
    assert list(publisher.source.iterdir()) == []


def test_archives_of_other_versions_are_left_out(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    for name in (
        "aicn-9.0.0-any.zip",
        "aicn-9.0.1-any.zip",
        "aicn-19.0.0-any.zip",
        "aicn-9.0.0-cpython-311-linux-x86_64.zip",
    ):
        (publisher.source / name).write_bytes(b"archive")
    done = aicn("upgrade", "sign", publisher.source, "9.0.0", "--key", publisher.key, cwd=tmp_path)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["any", "cpython-311-linux-x86_64"]


def test_a_key_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "release.key").write_text("mine", encoding="utf-8")
    told = refused(aicn("upgrade", "keygen", "release.key", cwd=tmp_path), 1)
    assert "choose another name" in told
    assert (tmp_path / "release.key").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("command", ["check", "apply", "status"])
def test_without_a_source_there_is_nothing_to_look_at(tmp_path: Path, config: Path, command: str) -> None:
    told = refused(aicn("upgrade", command, "-c", config, cwd=tmp_path), 1)
    assert "set AICN.Upgrade.Source and AICN.Upgrade.PublicKey" in told


def test_a_source_that_is_tampered_with_is_one_line_and_status_1(tmp_path: Path, config: Path) -> None:
    publisher = Publisher(tmp_path)
    archive = publisher.publish("9.0.0")
    set_upgrade(config, publisher.source, publisher.public_key)
    archive.write_bytes(archive.read_bytes()[::-1])
    told = refused(aicn("upgrade", "apply", "-c", config, cwd=tmp_path), 1)
    assert "is not the file that the signed manifest speaks of" in told
    assert told.split(": ", 1)[1] in aicn("upgrade", "status", "-c", config, cwd=tmp_path).stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights")
def test_releases_are_their_owners_alone(tmp_path: Path, config: Path) -> None:
    publisher = Publisher(tmp_path)
    publisher.publish("9.0.0")
    set_upgrade(config, publisher.source, publisher.public_key)
    assert aicn("upgrade", "apply", "-c", config, cwd=tmp_path).returncode == 0
    home = config.parent / "datastore" / "upgrade"
    assert home.stat().st_mode & 0o777 == 0o700, "nobody else comes to what is inside"
