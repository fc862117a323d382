"""The command line as a person meets it: real processes, their output, their exit status, the files they leave."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from aicn import __version__
from aicn.config import ConfigFile, Raw
from aicn.identity import PrivateKey, load_key_file
from support.configurations import example, put, write
from support.processes import Nodes

PEER_ID = r"16Uiu2HA[1-9A-HJ-NP-Za-km-z]+"
BASE64 = r"[A-Za-z0-9+/]+=*"


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str


def aicn(*words: str, folder: Path, env: Mapping[str, str] | None = None) -> Ended:
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-m", "aicn", *words],
        cwd=folder,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def names(folder: Path) -> set[str]:
    return {one.name for one in folder.iterdir()}


def test_the_version(tmp_path: Path) -> None:
    assert aicn("--version", folder=tmp_path) == Ended(0, f"aicn {__version__}\n", "")
    assert aicn("version", folder=tmp_path) == Ended(0, f"aicn {__version__}\n", "")
    assert aicn("host", "-version", folder=tmp_path) == Ended(0, f"{__version__}\n", "")


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["--nonsense"],
        ["init"],
        ["init", "server"],
        ["run"],
        ["run", "-c"],
        ["host"],
        ["host", "-nonsense"],
        ["host", "-init", "nonsense"],
        ["host", "-config"],
        ["host", "-psk=perhaps"],
        ["host", "left over"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_understood_is_one_line_and_leaves_nothing(words: list[str], tmp_path: Path) -> None:
    ended = aicn(*words, folder=tmp_path)
    assert ended.status == 2
    assert ended.out == ""
    assert ended.err.count("\n") == 1
    assert ended.err.endswith("\n")
    assert names(tmp_path) == set()


def test_a_mode_that_init_does_not_have_is_told_in_the_words_of_the_reference(tmp_path: Path) -> None:
    assert aicn("host", "-init", "nonsense", folder=tmp_path).err == "only supports input or worker mode\n"


@pytest.mark.parametrize("role", ["input", "worker"])
def test_host_init_says_what_the_reference_says(role: str, tmp_path: Path) -> None:
    ended = aicn("host", "-init", role, folder=tmp_path)
    path = tmp_path / f"{role}.json"
    assert (ended.status, ended.err) == (0, "")
    assert re.fullmatch(
        rf"""Generate peer key success at {tmp_path}/peer\.key
Encode private key: {BASE64}
Encode public key: {BASE64}
Transform Peer ID: {PEER_ID}
Create datastore directory at {tmp_path}/datastore
Generate configuration success at {path}
Run "host -config {path}" command to start the program
""",
        ended.out,
    )
    assert names(tmp_path) == {"peer.key", "datastore", path.name}
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "peer.key").stat().st_mode & 0o777 == 0o600
    config = ConfigFile.load(path).config
    assert config.identity.peer_id == load_key_file(tmp_path / "peer.key").public.peer_id
    assert config.app.peers_collect.enabled == config.swarm.relay_service.enabled == (role == "input")


def test_init_again_keeps_what_is_there(tmp_path: Path) -> None:
    assert aicn("init", "input", folder=tmp_path).status == 0
    before = {one: one.read_bytes() for one in tmp_path.iterdir() if one.is_file()}
    ended = aicn("host", "--init=input", folder=tmp_path)
    assert ended.status == 0
    assert ended.out.startswith("Load peer key success\n")
    assert names(tmp_path) == {"peer.key", "datastore", "datastore-1", "input.json", "input-1.json"}
    assert {one: one.read_bytes() for one in before} == before
    assert ConfigFile.load(tmp_path / "input-1.json").config.app.datastore == str(tmp_path / "datastore-1")


def test_init_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "peer.key").write_bytes(b"no key")
    ended = aicn("init", "worker", folder=tmp_path)
    assert ended.status == 1
    assert re.fullmatch(r"aicn: .*peer\.key.*\n", ended.err)
    assert names(tmp_path) == {"peer.key"}
    assert (tmp_path / "peer.key").read_bytes() == b"no key"


def test_init_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    ended = aicn("init", "worker", "--dir", "there", folder=tmp_path)
    assert ended.status == 0
    assert names(tmp_path / "there") == {"peer.key", "datastore", "worker.json"}
    assert names(tmp_path) == {"there"}
    assert "private" not in ended.out.lower(), "aicn's own words show no secret"
    assert load_key_file(tmp_path / "there" / "peer.key").base64 not in ended.out


def test_init_where_nothing_is(tmp_path: Path) -> None:
    ended = aicn("init", "worker", "--dir", "nowhere", folder=tmp_path)
    assert ended.status == 1
    assert re.fullmatch(r"aicn: .*nowhere.*\n", ended.err)
    assert names(tmp_path) == set()


def test_host_peerkey_makes_a_key_once(tmp_path: Path) -> None:
    first = aicn("host", "-peerkey", "some.key", folder=tmp_path)
    again = aicn("host", "--peerkey=some.key", folder=tmp_path)
    key = load_key_file(tmp_path / "some.key")
    shown = (
        f"Encode private key: {key.base64}\n"
        f"Encode public key: {key.public.base64}\n"
        f"Transform Peer ID: {key.public.peer_id}\n"
    )
    assert first == Ended(0, f"Generate peer key success at some.key\n{shown}", "")
    assert (again.status, again.out) == (0, f"Load peer key success\n{shown}")
    assert (tmp_path / "some.key").stat().st_mode & 0o777 == 0o600


def test_a_key_file_that_is_none_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "some.key").write_bytes(b"my holiday photograph")
    ended = aicn("host", "-peerkey", "some.key", folder=tmp_path)
    assert ended.status == 1
    assert re.fullmatch(r".*some\.key.*\n", ended.err)
    assert (tmp_path / "some.key").read_bytes() == b"my holiday photograph"


def test_host_psk_is_a_new_one_each_time(tmp_path: Path) -> None:
    keys = {aicn("host", flag, folder=tmp_path).out for flag in ("-psk", "--psk")}
    assert len(keys) == 2
    assert all(re.fullmatch(r"Generate Pre-Shared key: [0-9a-f]{64}\n", key) for key in keys)


BAD_FILES: list[tuple[str, str | bytes | None]] = [
    ("missing", None),
    ("empty", ""),
    ("no JSON", "{"),
    ("no object", "[]"),
    ("no text", b"\xff\xfe\x00"),
]


@pytest.mark.parametrize("content", [content for _, content in BAD_FILES], ids=[name for name, _ in BAD_FILES])
@pytest.mark.parametrize(("words", "prefix"), [(["run", "-c"], "aicn: "), (["host", "-config"], "")])
def test_a_file_that_is_no_configuration(
    words: list[str], prefix: str, content: str | bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "node.json"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    ended = aicn(*words, str(path), folder=tmp_path)
    assert (ended.status, ended.out) == (1, "")
    assert re.fullmatch(rf"{prefix}Failed to load JSON configuration file: {path}: .*\n", ended.err)


BAD_VALUES: list[tuple[str, object]] = [
    ("Bootstrap", ["/ip4/127.0.0.1/tcp/1"]),
    ("Addresses", ["127.0.0.1:1"]),
    ("API.Addr", "127.0.0.1"),
    ("Identity.PeerID", PrivateKey.generate().public.peer_id),
    ("Swarm.ConnMgr.Type", "fancy"),
    ("Swarm.DialTimeout", "soon"),
    ("Pubsub.Router", "carrier pigeon"),
    ("Routing.Type", "satellite"),
    ("App.LogLevel", "loud"),
    ("App.LogOutput", "printer"),
    ("App.PreSharedKey", "secret"),
    ("App.TopicName", ""),
    ("App.Datastore", "/nowhere"),
    ("App.PeersCollect.HeartbeatInterval", "often"),
]


@pytest.mark.parametrize(("key", "value"), BAD_VALUES, ids=[key for key, _ in BAD_VALUES])
def test_a_value_that_cannot_be_used(key: str, value: object, tmp_path: Path) -> None:
    raw = example(tmp_path)
    put(raw, key, value)
    path = write(tmp_path / "node.json", raw)
    before = path.read_bytes()
    ended = aicn("run", "-c", str(path), folder=tmp_path)
    assert (ended.status, ended.out) == (1, "")
    assert re.fullmatch(rf"aicn: Invalid configuration item: {path}: {re.escape(key)}.*\n", ended.err)
    assert path.read_bytes() == before
    assert list((tmp_path / "datastore").iterdir()) == [], "nothing was started"


def _no_folder(raw: Raw, folder: Path) -> str:
    raw["App"] |= {"LogOutput": "file", "LogFile": str(folder / "gone" / "host.log")}
    return f"the log file {folder}/gone/host.log cannot be written"


def _taken_port(raw: Raw, _folder: Path) -> str:
    raw["App"] |= {"LogOutput": "stderr"}
    raw["API"]["Addr"] = "192.0.2.1:80"  # documentation's, of no machine
    return "the HTTP API cannot listen on 192.0.2.1:80"


@pytest.mark.parametrize("spoil", [_no_folder, _taken_port])
def test_a_node_that_cannot_start_says_why(spoil: Callable[[Raw, Path], str], tmp_path: Path) -> None:
    raw = example(tmp_path)
    raw["App"]["LogOutput"] = "stderr"
    why = spoil(raw, tmp_path)
    ended = aicn("run", "-c", str(write(tmp_path / "node.json", raw)), folder=tmp_path)
    assert ended.status == 1
    assert ended.err.splitlines()[-1].startswith(f"aicn: {why}")
    assert "Traceback" not in ended.err


def test_a_reader_that_leaves_is_told_nothing(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "aicn", "--help"],
            cwd=tmp_path,
            stdout=write_end,
            stderr=subprocess.PIPE,
            check=False,
            timeout=30,
        )
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
async def test_a_node_that_is_asked_to_stop_does(asked: signal.Signals, tmp_path: Path) -> None:
    async with Nodes(tmp_path) as nodes:
        node = await nodes.input()
        os.kill(node.pid, asked)
        assert node.process is not None
        async with asyncio.timeout(15):
            assert await node.process.wait() == 0, node.log
        assert "Traceback" not in node.log
        await node.start()
        assert await node.stop() == 0, "the datastore and the ports were let go of"


def test_who_asks_twice_does_not_wait(tmp_path: Path) -> None:
    # A node of this name in place of the real one never comes to its end.
    (tmp_path / "sitecustomize.py").write_text(
        """
import asyncio, sys, types

class Node:
    @staticmethod
    async def run(config_file, *, stop):
        print("started", flush=True)
        await stop.wait()
        print("stopping", flush=True)
        await asyncio.Event().wait()

sys.modules["aicn.node"] = types.ModuleType("aicn.node")
sys.modules["aicn.node"].Node = Node
"""
    )
    path = write(tmp_path / "node.json", example(tmp_path))
    command = [sys.executable, "-m", "aicn", "run", "-c", str(path)]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "stopping\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=15) == 130
        finally:
            process.kill()


async def test_a_second_node_on_one_datastore_is_told_whose_it_is(tmp_path: Path) -> None:
    async with Nodes(tmp_path) as nodes:
        first = await nodes.input()
        second = nodes.make("input", app={"Datastore": first.config()["App"]["Datastore"]})
        await second.start(wait=False)
        assert second.process is not None
        async with asyncio.timeout(15):
            assert await second.process.wait() == 1
        (line,) = [line for line in second.log.splitlines() if line.startswith("aicn: ")]
        assert f"(pid {first.pid})" in line
        assert "App.Datastore" in line


def test_an_error_that_nobody_foresaw_is_one_line_too(tmp_path: Path) -> None:
    # A module of this name in place of the node's stands for the bug.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, types\nbroken = types.ModuleType('aicn.node')\nsys.modules['aicn.node'] = broken\n"
    )
    raw = example(tmp_path)
    raw["App"]["LogOutput"] = "file"
    path = write(tmp_path / "node.json", raw)
    env = {"PYTHONPATH": str(tmp_path)}
    ended = aicn("run", "-c", str(path), folder=tmp_path, env=env)
    assert ended.status == 70
    assert re.fullmatch(
        r"aicn: unexpected error: ImportError: .*host\.log has the details, please report it\n", ended.err
    )
    log = (tmp_path / "host.log").read_text(encoding="utf-8")
    assert "Traceback" in log
    assert all(re.match(r"\d{4}-\d\d-\d\dT", line) for line in log.splitlines()), "one line for each record"
    loud = aicn("run", "-c", str(path), folder=tmp_path, env={**env, "AICN_DEBUG": "1"})
    assert "Traceback" in loud.err


def test_the_configuration_of_the_reference_is_read_as_it_stands(tmp_path: Path) -> None:
    raw = example(tmp_path)
    raw["API"]["Addr"] = "192.0.2.1:80"
    raw["App"]["LogOutput"] = "stderr"
    raw["Swarm"]["RelayClient"]["StaticRelays"] = None
    raw["AIProjects"] = None
    path = write(tmp_path / "node.json", json.loads(json.dumps(raw)))
    ended = aicn("host", "-config", str(path), folder=tmp_path)
    assert "cannot listen on 192.0.2.1:80" in ended.err.splitlines()[-1], "all that is wrong is the address"
