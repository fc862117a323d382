"""Whom `aicn models` changes: a node that runs is asked, and only of one that does not is the file changed."""

from __future__ import annotations

import errno
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from aicn.cli.main import run_words
from aicn.cli.model_keeper import RunningNode, StoppedNode, keeper_of
from aicn.config import ConfigFile, Role, create_node
from aicn.errors import AicnError, RegistryError, StoreError
from aicn.filelock import FileLock, hold
from aicn.ids import ModelKind
from aicn.registry import Model
from aicn.store.kv import LOCK_NAME
from support.certificates import write_certificate

URL = "http://127.0.0.1:1/v1/chat/completions"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return create_node(tmp_path, Role.WORKER).config_path


@pytest.fixture
def running(path: Path) -> Iterator[None]:
    """Hold what a node that runs holds."""
    with hold(path.parent / "datastore" / LOCK_NAME, 0.0, AssertionError):
        yield


def edit(path: Path, **sections: Any) -> None:
    raw = json.loads(path.read_text(encoding="utf-8"))
    for name, values in sections.items():
        raw.setdefault(name, {}).update(values)
    path.write_text(json.dumps(raw), encoding="utf-8")


@contextmanager
def answering(data: bytes) -> Iterator[int]:
    """Answer each connection with `data`, whatever it says; yield the port."""

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65_536)
                connection.sendall(data)

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        serving = threading.Thread(target=serve, args=(listener,))
        serving.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            serving.join()


def document(text: str, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(text)}\r\nconnection: close\r\n\r\n{text}".encode()


def chat(name: str, url: str = URL) -> Model:
    return Model.of("P", name, url, ModelKind.CHAT, "")


UNASKED = [
    (b"", "closed connection without response"),
    (b"\x16\x03\x01 no HTTP\r\n", "no HTTP"),
    (document("[]"), "what answers there is no node"),
    (document("hello"), "Expecting value"),
    (document('{"peer_id": "other"}'), "another node answers there"),
    (document('{"message": "busy"}', "503 Busy"), "busy"),
]


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(("said", "reason"), UNASKED)
def test_a_node_that_runs_and_cannot_be_asked_is_not_taken_for_a_stopped_one(
    path: Path, said: bytes, reason: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aicn.cli.model_keeper._LOCK_TIMEOUT_S", 0.0)
    with answering(said) as port:
        edit(path, API={"Addr": f"127.0.0.1:{port}"})
        before = path.read_bytes()
        assert run_words(["models", "add", str(path), "P/m", URL]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"aicn: the node of {path} runs, but cannot be asked at http://127.0.0.1:{port} (")
    assert reason in line
    assert "nothing was changed" in line
    assert path.read_bytes() == before


@pytest.mark.parametrize(("said", "_reason"), UNASKED)
def test_whoever_answers_at_the_port_of_a_stopped_node_does_not_matter(path: Path, said: bytes, _reason: str) -> None:
    with answering(said) as port:
        edit(path, API={"Addr": f"127.0.0.1:{port}"})
        keeper = keeper_of(path)
    assert isinstance(keeper, StoppedNode)
    assert not (path.parent / "datastore" / LOCK_NAME).exists(), "looking changes nothing"


@pytest.mark.usefixtures("running")
def test_a_node_that_is_just_starting(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aicn.cli.model_keeper._LOCK_TIMEOUT_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    edit(path, API={"Addr": f"127.0.0.1:{port}"})
    with pytest.raises(RegistryError, match=r"runs, but cannot be asked at .*refused.*; try again once it has started"):
        keeper_of(path)


@pytest.mark.usefixtures("running")
def test_a_node_whose_certificate_is_not_the_one_in_the_file(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aicn.cli.model_keeper._LOCK_TIMEOUT_S", 0.0)
    certificate, key = write_certificate(tmp_path, "node.example")
    with answering(document("{}")) as port:
        edit(
            path,
            API={"Addr": f"127.0.0.1:{port}"},
            AICN={"API": {"TLSCertificate": str(certificate), "TLSKey": str(key)}},
        )
        with pytest.raises(RegistryError, match=r"cannot be asked at https://.*SSL"):
            keeper_of(path)


def test_a_certificate_that_is_not_there(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = tmp_path / "gone.pem"
    edit(path, AICN={"API": {"TLSCertificate": str(gone), "TLSKey": str(gone)}})
    before = path.read_bytes()
    assert run_words(["models", "add", str(path), "P/m", URL]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"aicn: AICN.API.TLSCertificate {gone} cannot be read (No such file or directory)")
    assert path.read_bytes() == before


def test_a_node_that_stops_answering_is_told_in_one_sentence(path: Path) -> None:
    peer = ConfigFile.load(path).config.identity.peer_id
    with answering(document(json.dumps({"peer_id": peer}))) as port:
        edit(path, API={"Addr": f"127.0.0.1:{port}"})
        keeper = keeper_of(path)
        assert isinstance(keeper, RunningNode)
    with pytest.raises(RegistryError, match=r"did not answer .*; see what it has done"):
        keeper.register(chat("m"))


def test_no_proxy_is_asked_for_a_node_of_this_machine(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    peer = ConfigFile.load(path).config.identity.peer_id
    with answering(document(json.dumps({"peer_id": peer}))) as port:
        edit(path, API={"Addr": f"127.0.0.1:{port}"})
        assert isinstance(keeper_of(path), RunningNode)


def test_a_lock_that_cannot_be_tried_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    (path.parent / "datastore" / LOCK_NAME).touch()
    monkeypatch.setattr(FileLock, "acquire", refuse)
    edit(path, API={"Addr": "127.0.0.1:1"})
    with pytest.raises(StoreError, match=r"is in use cannot be told \(Permission denied\); check its rights"):
        keeper_of(path)


def names(path: Path) -> list[str]:
    return [model.model for project in ConfigFile.load(path).config.ai_projects for model in project.models]


def test_no_command_undoes_what_another_one_has_done_meanwhile(path: Path) -> None:
    one, other = (StoppedNode(ConfigFile.load(path)) for _ in range(2))
    one.register(chat("a"))
    other.register(chat("b"))
    one.register(chat("c"))
    assert names(path) == ["a", "b", "c"]
    other.rename("P", "c", "d")
    assert one.unregister("P", "d", "")
    assert names(path) == ["a", "b"]
    assert [each["model"] for each in one.models()] == ["a", "b"]


def test_commands_that_come_together_all_count(path: Path) -> None:
    wanted = {f"m{number}" for number in range(8)}
    keepers = {name: StoppedNode(ConfigFile.load(path)) for name in wanted}
    with ThreadPoolExecutor(len(wanted)) as threads:
        list(threads.map(lambda name: keepers[name].register(chat(name)), wanted))
    assert set(names(path)) == wanted


def test_a_node_that_was_started_meanwhile_is_not_changed_behind_its_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aicn.cli.model_keeper._LOCK_TIMEOUT_S", 0.0)
    keeper = StoppedNode(ConfigFile.load(path))
    with (
        hold(path.parent / "datastore" / LOCK_NAME, 0.0, AssertionError),
        pytest.raises(RegistryError, match=r"has just been started.*nothing was changed"),
    ):
        keeper.register(chat("m"))
    assert names(path) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda keeper: keeper.pause("P", "m", ""),
        lambda keeper: keeper.register(chat("m", "http://192.0.2.1/v1/chat/completions")),
    ],
)
def test_what_cannot_be_done_leaves_the_file_as_it_is(path: Path, change: Callable[[StoppedNode], None]) -> None:
    before = path.read_bytes()
    with pytest.raises(AicnError):
        change(StoppedNode(ConfigFile.load(path)))
    assert path.read_bytes() == before
