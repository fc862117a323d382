from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from aicn.config import PUBLIC_NETWORK_PSK, ConfigFile, Role, create_node
from aicn.errors import ConfigError, IdentityError
from aicn.identity import create_key_file, load_key_file


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("role", list(Role))
def test_what_is_made(tmp_path: Path, role: Role) -> None:
    created = create_node(tmp_path, role)
    assert names(tmp_path) == sorted(["datastore", f"{role}.json", "peer.key"])
    assert mode(created.config_path) == mode(created.key_path) == 0o600
    assert created.key_is_new
    assert load_key_file(created.key_path) == created.key
    config = ConfigFile.load(created.config_path).config
    assert config.identity.peer_id == created.key.public.peer_id
    assert config.app.datastore == str(created.datastore)
    assert config.app.pre_shared_key == PUBLIC_NETWORK_PSK
    assert config.api.addr == f"127.0.0.1:{created.http_port}"
    assert config.addresses == (f"/ip4/0.0.0.0/tcp/{created.tcp_port}", f"/ip6/::/tcp/{created.tcp_port}")
    is_input = role in {Role.INPUT, Role.SERVER}
    assert config.swarm.relay_service.enabled == config.app.peers_collect.enabled == is_input
    assert config.routing.type == ("dhtserver" if is_input else "dhtclient")
    assert config.app.log_output == ("stderr+file" if is_input else "file")
    assert (config.pubsub.router, config.pubsub.flood_publish) == ("floodsub", True)
    assert config.swarm.enable_auto_nat_service
    assert not config.swarm.enable_hole_punching
    assert config.app.auto_upgrade.enabled


def test_it_is_written_in_the_shape_of_the_reference(tmp_path: Path) -> None:
    """Key by key and in the same order; the committed file is in the reference's shape."""
    ours = json.loads(create_node(tmp_path, Role.INPUT).config_path.read_text(encoding="utf-8"))
    reference = Path(__file__).parents[2] / "fixtures" / "config" / "input.json"
    theirs = json.loads(reference.read_text(encoding="utf-8"))
    for one in (ours, theirs):
        for path in (("Identity",), ("API",), ("Addresses",), ("App", "Datastore"), ("App", "LogFile")):
            section = one
            for parent in path[:-1]:
                section = section[parent]
            section[path[-1]] = "varies"
    assert json.dumps(ours) == json.dumps(theirs)


def test_a_key_that_is_there_is_used_and_taken_names_get_free_ones(tmp_path: Path) -> None:
    key = create_key_file(tmp_path / "peer.key")
    (tmp_path / "input.json").write_text("mine", encoding="utf-8")
    (tmp_path / "datastore").write_text("mine", encoding="utf-8")
    (tmp_path / "datastore-1").symlink_to(tmp_path / "nowhere")
    created = create_node(tmp_path, Role.INPUT)
    assert not created.key_is_new
    assert created.key == key
    assert created.config_path.name == "input-1.json"
    assert created.datastore.name == "datastore-2"
    assert (tmp_path / "input.json").read_text(encoding="utf-8") == "mine"
    assert create_node(tmp_path, Role.INPUT).config_path.name == "input-2.json"


def test_ports_in_use_are_passed_over(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as first:
        created = create_node(tmp_path, Role.WORKER)
        assert first.getsockname()[1] not in {created.tcp_port, created.http_port}
    with socket.create_server(("127.0.0.1", created.http_port)) as _, socket.create_server(("", created.tcp_port)):
        again = create_node(tmp_path, Role.WORKER)
        assert {created.tcp_port, created.http_port}.isdisjoint({again.tcp_port, again.http_port})
        assert again.tcp_port % 1000 == 1


def test_a_key_file_without_a_key_ends_it_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "peer.key").write_bytes(b"junk")
    with pytest.raises(IdentityError, match=r"peer\.key holds no key"):
        create_node(tmp_path, Role.INPUT)
    assert names(tmp_path) == ["peer.key"]


@pytest.mark.parametrize("step", ["_free_port", "write_document", "replace_file", "ConfigFile.load"])
def test_what_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"aicn.config.create.{step}", fail)
    with pytest.raises(ConfigError, match=r"cannot be set up in .* \(No space left on device\); choose a folder"):
        create_node(tmp_path, Role.INPUT)
    assert names(tmp_path) == []


def test_an_interrupt_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    create_key_file(tmp_path / "peer.key")
    monkeypatch.setattr("aicn.config.create.replace_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        create_node(tmp_path, Role.INPUT)
    assert names(tmp_path) == ["peer.key"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere is no folder; make it"):
        create_node(tmp_path / "nowhere", Role.INPUT)
    assert names(tmp_path) == []


def test_the_key_is_in_no_repr(tmp_path: Path) -> None:
    created = create_node(tmp_path, Role.INPUT)
    assert created.key.base64 not in repr(created)
