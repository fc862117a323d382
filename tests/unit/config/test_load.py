from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from aicn.config import ConfigFile, Raw, set_bootstrap, set_models
from aicn.config.replace import writing
from aicn.errors import ConfigError, InvalidModel
from aicn.registry import Model

FIXTURES = Path(__file__).parents[2] / "fixtures" / "config"


def rename_topic(name: str) -> Callable[[Raw], None]:
    def change(raw: Raw) -> None:
        raw["App"]["TopicName"] = name

    return change


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture(params=["input", "worker"])
def reference(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file in the very shape in which the reference writes it, with throw-away keys."""
    text = (FIXTURES / f"{request.param}.json").read_text(encoding="utf-8")
    path = tmp_path / f"{request.param}.json"
    path.write_text(text.replace('"DATASTORE"', json.dumps(str(tmp_path))), encoding="utf-8")
    path.chmod(0o600)
    return path


def test_a_file_of_the_reference_loads_as_it_is(reference: Path) -> None:
    file = ConfigFile.load(reference)
    is_input = reference.stem == "input"
    config = file.config
    assert file.notes() == ()
    assert config.swarm.relay_service.enabled == config.app.peers_collect.enabled == is_input
    assert config.routing.type == ("dhtserver" if is_input else "dhtclient")
    assert config.routing.kad_protocol == "/dbc/kad/1.0.0"
    assert config.swarm.conn_mgr.grace_period_s == 60
    assert len(config.bootstrap) == len(config.ai_projects) == (not is_input)
    if not is_input:
        (model,) = config.ai_projects[0].models
        assert (model.model, model.cid) == ("Llama3 <8B>", "c0ffee")
        assert model.api == "http://127.0.0.1:1042/v1/chat/completions?a=1&b=2"


async def test_a_rewritten_file_of_the_reference_says_what_it_said(reference: Path) -> None:
    before = json.loads(reference.read_text(encoding="utf-8"))
    await ConfigFile.load(reference).update(rename_topic("another"))
    after = json.loads(reference.read_text(encoding="utf-8"))
    assert after["App"].pop("TopicName") == "another"
    del before["App"]["TopicName"]
    assert after == before


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "Failed to load JSON configuration file: .*worker.json: line 1"),
        (b'{"Addresses": []}', "Invalid configuration item: .*worker.json: Addresses is empty"),
        (b'{"API": 1}', "Invalid configuration item: .*worker.json: API: expected"),
    ],
)
def test_messages_begin_as_those_of_the_reference_and_name_the_file(path: Path, data: bytes, words: str) -> None:
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=rf"^{words}"):
        ConfigFile.load(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^Failed to load JSON configuration file: .*no\.json.*make one with"):
        ConfigFile.load(tmp_path / "no.json")
    with pytest.raises(ConfigError, match=r"^Failed to load JSON configuration file: .*directory"):
        ConfigFile.load(tmp_path)


async def test_an_update_is_in_the_file_when_it_returns(path: Path) -> None:
    file = ConfigFile.load(path)
    config = await file.update(lambda raw: set_models(raw, [Model.of("P", "m", "http://127.0.0.1/x", 0, "c")]))
    assert config is file.config
    assert ConfigFile.load(path).config == config
    assert config.ai_projects[0].models[0].cid == "c"
    assert mode(path) == 0o600


async def test_keys_that_mean_nothing_and_the_order_are_kept(path: Path, raw: Raw) -> None:
    path.write_text(json.dumps({"Mine": {"b": 1, "a": None}, **raw, "Last": [1.5]}), encoding="utf-8")
    file = ConfigFile.load(path)
    await file.update(lambda raw: set_bootstrap(raw, []))
    await file.update(rename_topic("x"))
    after = json.loads(path.read_text(encoding="utf-8"))
    assert list(after) == ["Mine", *raw, "Last"]
    assert after["Mine"] == {"b": 1, "a": None}
    assert "Mine, Last" in file.notes()[-1]


async def test_an_edit_by_hand_meanwhile_is_kept(path: Path, raw: Raw) -> None:
    file = ConfigFile.load(path)
    raw["API"]["Addr"] = "127.0.0.1:9999"
    path.write_text(json.dumps(raw), encoding="utf-8")
    config = await file.update(rename_topic("x"))
    assert (config.api.addr, config.app.topic_name) == ("127.0.0.1:9999", "x")
    assert ConfigFile.load(path).config == config


def models_of(path: Path) -> list[str]:
    return [model.model for project in ConfigFile.load(path).config.ai_projects for model in project.models]


def only(name: str) -> Callable[[Raw], None]:
    return lambda raw: set_models(raw, [Model.of("P", name, "http://127.0.0.1/x", 0, "")])


async def test_models_edited_by_hand_meanwhile_are_not_written_over(path: Path, raw: Raw) -> None:
    file = ConfigFile.load(path)
    await file.update(only("first"))
    by_hand = {**raw, "AIProjects": [{"Project": "P", "Models": [{"Model": "mine", "API": "http://127.0.0.1/y"}]}]}
    path.write_text(json.dumps(by_hand), encoding="utf-8")
    await file.update(rename_topic("x"))
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"^AIProjects in .*worker.json was edited .* restart the node"):
            await file.update(only("second"))
    assert models_of(path) == ["mine"]
    # What undoes the edit, or reads it, may change the models again.
    await ConfigFile.load(path).update(only("first"))
    await file.update(only("second"))
    assert models_of(path) == ["second"]


async def test_a_file_that_was_broken_by_hand_is_left_as_it_is(path: Path) -> None:
    file = ConfigFile.load(path)
    before = file.config
    path.write_text('{"half": ', encoding="utf-8")
    with pytest.raises(ConfigError, match="Failed to load"):
        await file.update(rename_topic("x"))
    assert path.read_text(encoding="utf-8") == '{"half": '
    assert file.config is before
    assert not path.with_name(".worker.json.tmp").exists()


async def test_a_change_that_makes_it_invalid_is_refused(path: Path) -> None:
    file = ConfigFile.load(path)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"App\.TopicName is empty"):
        await file.update(rename_topic(""))
    assert path.read_bytes() == before
    assert file.config.app.topic_name == "DeepBrainChain"


async def test_the_error_of_a_change_comes_through(path: Path) -> None:
    def change(raw: Raw) -> None:
        raw["App"]["TopicName"] = "half done"
        raise InvalidModel("no")

    before = path.read_bytes()
    with pytest.raises(InvalidModel, match="no"):
        await ConfigFile.load(path).update(change)
    assert path.read_bytes() == before


async def test_what_changes_nothing_writes_nothing(path: Path) -> None:
    before = path.stat()
    await ConfigFile.load(path).update(lambda raw: set_bootstrap(raw, []))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino


async def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link" / "node.json"
    link.parent.mkdir()
    link.symlink_to(path)
    await ConfigFile.load(link).update(rename_topic("x"))
    assert link.is_symlink()
    assert ConfigFile.load(path).config.app.topic_name == "x"
    assert [one.name for one in link.parent.iterdir()] == ["node.json"]


async def test_what_a_killed_writer_left_is_swept_away(path: Path) -> None:
    left = path.with_name(".worker.json.tmp")
    left.write_bytes(b"half")
    left.chmod(0o644)
    await ConfigFile.load(path).update(rename_topic("x"))
    assert not left.exists()
    assert mode(path) == 0o600


async def test_updates_at_once_lose_nothing(path: Path) -> None:
    """Two objects on one file, as two processes would be, each with many updates at once."""
    files = [ConfigFile.load(path), ConfigFile.load(path)]

    def add(name: str) -> Callable[[Raw], None]:
        return lambda raw: raw.setdefault("Seen", []).append(name)

    await asyncio.gather(*(file.update(add(f"{index}-{n}")) for n in range(20) for index, file in enumerate(files)))
    seen = json.loads(path.read_text(encoding="utf-8"))["Seen"]
    assert sorted(seen) == sorted(f"{index}-{n}" for n in range(20) for index in range(2))


async def test_a_cancelled_update_is_whole_and_seen(path: Path) -> None:
    file = ConfigFile.load(path)
    begun, go_on = threading.Event(), threading.Event()

    def change(raw: Raw) -> None:
        begun.set()
        assert go_on.wait(10)
        raw["App"]["TopicName"] = "written all the same"

    update = asyncio.create_task(file.update(change))
    await asyncio.to_thread(begun.wait, 10)
    update.cancel()
    # The next writer waits for the one that was cancelled.
    after = asyncio.create_task(file.update(lambda raw: raw["App"].update(ClientVersion=raw["App"]["TopicName"])))
    await asyncio.sleep(0)
    update.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await update
    assert file.config.app.topic_name == "written all the same"
    await after
    assert json.loads(path.read_text(encoding="utf-8"))["App"]["ClientVersion"] == "written all the same"


async def test_another_process_that_never_ends_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aicn.defaults.CONFIG_LOCK_TIMEOUT_S", 0.05)
    with writing(path.parent), pytest.raises(ConfigError, match=r"another process has been writing in .* end it"):
        await ConfigFile.load(path).update(rename_topic("x"))
    await ConfigFile.load(path).update(rename_topic("x"))


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="rights do not bind root")
async def test_a_folder_that_may_not_be_written(path: Path) -> None:
    file = ConfigFile.load(path)
    before = path.read_bytes()
    path.parent.chmod(0o500)
    try:
        with pytest.raises(ConfigError, match="cannot be written"):
            await file.update(rename_topic("x"))
    finally:
        path.parent.chmod(0o700)
    assert path.read_bytes() == before


async def test_a_write_that_fails_leaves_everything_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    file = ConfigFile.load(path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ConfigError, match=r"worker\.json cannot be written \(No space left on device\)"):
        await file.update(rename_topic("x"))
    assert path.read_bytes() == before
    assert sorted(one.name for one in path.parent.iterdir()) == ["datastore", "worker.json"]
    assert file.config.app.topic_name == "DeepBrainChain"


async def test_a_file_does_not_grow_beyond_what_can_be_read(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="would grow beyond 4 MiB"):
        await ConfigFile.load(path).update(lambda raw: raw.update(Blob="x" * 4_194_304))
    assert path.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights")
def test_a_file_that_others_may_read_is_noted(path: Path) -> None:
    path.chmod(0o644)
    (note,) = ConfigFile.load(path).notes()
    assert "others may read it" in note
