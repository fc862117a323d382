"""docs/configuration.md describes every field of the configuration with its default, and no other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from aicn import defaults
from aicn.config import Config, ConfigFile, Role, new_config
from aicn.identity import PrivateKey

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
DESCRIBED = re.findall(r"^\| `([^`]+)`(?: °)? \| `([^`]*)` \| (.+) \|$", DOCUMENT, flags=re.MULTILINE)


def fields(kind: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the key path and the default, as JSON, of every value that the configuration can hold."""
    for field in msgspec.structs.fields(kind):
        path = f"{prefix}{field.encode_name}"
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from fields(field.type, f"{path}.")
            continue
        element = next(iter(get_args(field.type)), None)
        if isinstance(element, type) and issubclass(element, msgspec.Struct):
            yield from fields(element, f"{path}[].")
        else:
            yield path, json.dumps(field.default)


def test_every_field_is_described_with_its_default() -> None:
    assert len(list(fields(Config))) > 30
    assert sorted((path, default) for path, default, _ in DESCRIBED) == sorted(fields(Config))


def test_every_description_says_something() -> None:
    assert [path for path, _, said in DESCRIBED if not said.strip().endswith(".")] == []


def test_numbers_in_the_text_are_those_of_the_program() -> None:
    said = {path: text for path, _, text in DESCRIBED}
    assert f"empty is {defaults.DIAL_TIMEOUT_S:.0f} seconds" in said["Swarm.DialTimeout"]
    assert f"put aside at {defaults.LOG_FILE_MAX_BYTES // 1_048_576} MiB" in said["App.LogFile"]
    assert defaults.LOG_FILES_KEPT == 3
    assert "three of them are kept" in said["App.LogFile"]
    assert f"{defaults.CONFIG_MAX_BYTES // 1_048_576} MiB at most" in DOCUMENT


@pytest.fixture
def example(tmp_path: Path) -> dict[str, Any]:
    (block,) = re.findall(r"```json\n(.*?)```", DOCUMENT, flags=re.DOTALL)
    raw: dict[str, Any] = json.loads(block)
    key = PrivateKey.generate()
    raw["Identity"] = {"PeerID": key.public.peer_id, "PrivKey": key.base64}
    (tmp_path / "datastore").mkdir()
    raw["App"] |= {"Datastore": str(tmp_path / "datastore"), "LogFile": str(tmp_path / "host.log")}
    return raw


def test_the_example_can_be_used(example: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "worker.json"
    path.write_text(json.dumps(example), encoding="utf-8")
    path.chmod(0o600)
    file = ConfigFile.load(path)
    assert file.notes() == (), "no key of it is unknown"
    assert file.config.ai_projects[0].models[0].model == "Llama3-8B"


def test_the_example_is_what_init_writes(example: dict[str, Any]) -> None:
    app = example["App"]
    written = new_config(
        Role.WORKER,
        PrivateKey.from_base64(example["Identity"]["PrivKey"]),
        tcp_port=7001,
        http_port=7002,
        datastore=Path(app["Datastore"]),
        log_file=Path(app["LogFile"]),
    )
    shown = {**example, "Bootstrap": [], "AIProjects": []}
    assert json.dumps(shown) == json.dumps(written), "the same keys in the same order"
