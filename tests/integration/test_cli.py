"""The commands that need no network: what they print, what they make, and what they leave when they are refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from aicn import __version__
from aicn.config import ConfigFile
from aicn.identity import create_key_file, load_key_file
from support.command_line import aicn, environment, refused


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def test_help_names_every_command(tmp_path: Path) -> None:
    done = aicn("--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("demo", "host", "init", "key", "psk", "run", "tool", "version"):
        assert re.search(rf"^  {name} ", done.stdout, flags=re.MULTILINE)
    for name in ("init", "key", "psk", "run", "tool", "version", "demo"):
        assert aicn(name, "-h", cwd=tmp_path).stdout.startswith(f"Usage: aicn {name}")


def test_version(tmp_path: Path) -> None:
    assert aicn("--version", cwd=tmp_path).stdout == f"aicn {__version__}\n"
    assert aicn("version", cwd=tmp_path).stdout == f"aicn {__version__}\n"
    assert aicn("host", "-version", cwd=tmp_path).stdout == f"{__version__}\n"


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        ("frob", 2, "aicn: no such command 'frob'; see `aicn --help`"),
        ("--frob", 2, "aicn: no such option '--frob'; see `aicn --help`"),
        ("run", 2, "aicn: missing option '-c' / '--config'; see `aicn run --help`"),
        ("run -c", 2, "aicn: option '-c' requires an argument; see `aicn --help`"),
        ("run -c no.json", 1, "aicn: Failed to load JSON configuration file: no.json: No such file.*`aicn init`"),
        ("run -c .", 1, "aicn: Failed to load JSON configuration file: .: Is a directory; .*"),
        ("init", 2, "aicn: missing argument .*; see `aicn init --help`"),
        ("init frob", 2, "aicn: invalid value .*'frob' is not one of 'input', 'worker'; see `aicn init --help`"),
        ("init input --dir nowhere", 1, "aicn: .*nowhere is no folder; make it or choose another"),
        ("key", 2, "aicn: missing argument 'FILE'; see `aicn key --help`"),
        ("key nowhere/peer.key", 1, "aicn: key file nowhere/peer.key cannot be created .*"),
        ("psk more", 2, r"aicn: got unexpected extra argument \(more\); see `aicn psk --help`"),
        ("host", 2, "name a configuration file with -config FILE.*"),
        ("host -init frob", 2, "only supports input or worker mode"),
        ("host -config no.json", 1, "Failed to load JSON configuration file: no.json: .*"),
        ("host -config", 2, "flag needs an argument: -config; see `aicn host -h`"),
        ("host -frob", 2, "flag provided but not defined: -frob; see `aicn host -h`"),
        ("host frob", 2, "'frob' is no flag; see `aicn host -h`"),
        ("host -peerkey nowhere/peer.key", 1, "key file nowhere/peer.key cannot be created .*"),
    ],
)
def test_what_is_refused_is_refused_in_one_line_and_makes_nothing(
    tmp_path: Path, words: str, status: int, line: str
) -> None:
    told = refused(aicn(*words.split(), cwd=tmp_path), status)
    assert re.fullmatch(line, told), told
    assert names(tmp_path) == []


@pytest.mark.parametrize("role", ["input", "worker"])
def test_init(tmp_path: Path, role: str) -> None:
    done = aicn("init", role, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert names(tmp_path) == sorted(["datastore", f"{role}.json", "peer.key"])
    key = load_key_file(tmp_path / "peer.key")
    assert key.public.peer_id in done.stdout
    assert key.base64 not in done.stdout
    assert f"aicn run -c {tmp_path / f'{role}.json'}" in done.stdout
    assert ConfigFile.load(tmp_path / f"{role}.json").notes() == ()


def test_init_elsewhere_beside_what_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "a node"
    folder.mkdir()
    create_key_file(folder / "peer.key")
    (folder / "input.json").write_text("mine", encoding="utf-8")
    done = aicn("init", "input", "--dir", folder, cwd=tmp_path)
    assert done.returncode == 0
    assert "peer.key (was there, is used)" in done.stdout
    assert f"aicn run -c '{folder / 'input-1.json'}'" in done.stdout
    assert (folder / "input.json").read_text(encoding="utf-8") == "mine"
    assert names(tmp_path) == ["a node"]


@pytest.mark.parametrize("mode", ["input", "worker", "server", "client"])
def test_host_init_prints_the_lines_of_the_reference(tmp_path: Path, mode: str) -> None:
    done = aicn("host", "-init", mode, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    key = load_key_file(tmp_path / "peer.key")
    assert done.stdout.splitlines() == [
        f"Generate peer key success at {tmp_path / 'peer.key'}",
        f"Encode private key: {key.base64}",
        f"Encode public key: {key.public.base64}",
        f"Transform Peer ID: {key.public.peer_id}",
        f"Create datastore directory at {tmp_path / 'datastore'}",
        f"Generate configuration success at {tmp_path / f'{mode}.json'}",
        f'Run "host -config {tmp_path / f"{mode}.json"}" command to start the program',
    ]
    again = aicn("host", f"--init={mode}", cwd=tmp_path)
    assert again.stdout.splitlines()[0] == "Load peer key success"
    assert names(tmp_path) == sorted(["datastore", "datastore-1", f"{mode}.json", f"{mode}-1.json", "peer.key"])


def test_host_peerkey_makes_a_key_and_then_shows_it(tmp_path: Path) -> None:
    made = aicn("host", "-peerkey", "my.key", cwd=tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    path = tmp_path / "my.key"
    key = load_key_file(path)
    shown = [
        f"Encode private key: {key.base64}",
        f"Encode public key: {key.public.base64}",
        f"Transform Peer ID: {key.public.peer_id}",
    ]
    assert made.stdout.splitlines() == ["Generate peer key success at my.key", *shown]
    assert path.stat().st_mode & 0o777 == 0o600
    assert aicn("host", "--peerkey=my.key", cwd=tmp_path).stdout.splitlines() == ["Load peer key success", *shown]


def test_a_key_file_that_holds_no_key_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "my.key"
    path.write_bytes(b"precious")
    for words in (("host", "-peerkey", path), ("key", path), ("host", "-init", "input")):
        path = path.rename(tmp_path / "peer.key") if "-init" in words else path
        assert "holds no key of this network" in refused(aicn(*words, cwd=tmp_path), 1)
        assert path.read_bytes() == b"precious"
        assert names(tmp_path) == [path.name]


def test_key_shows_no_private_key(tmp_path: Path) -> None:
    first = aicn("key", "peer.key", cwd=tmp_path)
    key = load_key_file(tmp_path / "peer.key")
    assert key.public.peer_id in first.stdout
    assert key.base64 not in first.stdout + first.stderr
    assert aicn("key", "peer.key", cwd=tmp_path).stdout == first.stdout


def test_psk_is_another_one_each_time(tmp_path: Path) -> None:
    ours = {aicn("psk", cwd=tmp_path).stdout for _ in range(2)}
    assert len(ours) == 2
    assert all(re.fullmatch(r"[0-9a-f]{64}\n", one) for one in ours)
    theirs = aicn("host", "-psk", cwd=tmp_path).stdout
    assert re.fullmatch(r"Generate Pre-Shared key: [0-9a-f]{64}\n", theirs)


def test_host_help_names_every_flag(tmp_path: Path) -> None:
    for spelling in ("-h", "--help"):
        done = aicn("host", spelling, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        for flag in ("-config", "-h", "-init", "-peerkey", "-psk", "-version"):
            assert re.search(rf"^  {flag}\b", done.stdout, flags=re.MULTILINE)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGPIPE to be like")
def test_nobody_reading_the_output_is_no_complaint(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as nowhere:
        done = subprocess.run(
            [sys.executable, "-m", "aicn", "--help"],
            cwd=tmp_path,
            env=environment(),
            check=False,
            stdout=nowhere,
            stderr=subprocess.PIPE,
        )
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"API": {"Addr": "nowhere"}}, "API.Addr is 'nowhere'; write host:port, e.g. 127.0.0.1:7002"),
        ({"Bootstrap": ["/ip4/1.2.3.4/tcp/1"]}, ".*end it with /p2p/ and the id of the peer"),
        ({"Identity": {"PeerID": "", "PrivKey": "AAAA"}}, "Identity.PrivKey: .*; make a key with .*"),
        ({"App": {"TopicName": "t", "Datastore": "gone"}}, "App.Datastore is 'gone'; make that folder or name one .*"),
        ({"app": {}}, "app: the key is written 'App'; keys are case-sensitive"),
    ],
)
def test_a_bad_configuration_is_refused_and_left_as_it_is(tmp_path: Path, change: dict[str, object], line: str) -> None:
    aicn("init", "worker", cwd=tmp_path)
    path = tmp_path / "worker.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**raw, **change}), encoding="utf-8")
    before = path.read_bytes()
    for words, prefix in ((("run", "-c", path), "aicn: "), (("host", "-config", path), "")):
        told = refused(aicn(*words, cwd=tmp_path), 1)
        assert re.fullmatch(f"{prefix}Invalid configuration item: {re.escape(str(path))}: {line}", told), told
        assert raw["Identity"]["PrivKey"] not in told
    assert path.read_bytes() == before
    assert names(tmp_path) == ["datastore", "peer.key", "worker.json"]
