"""Secrets never show: not in `repr`, not in messages of errors."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from aicn.config import ConfigFile, Role, new_config
from aicn.errors import AicnError
from aicn.identity import PreSharedKey, PrivateKey
from aicn.p2p.host import HostConfig

KEY = PrivateKey.generate()
PSK = PreSharedKey.generate()
SECRETS = [KEY.base64, KEY.protobuf.hex(), repr(KEY.protobuf), repr(KEY.protobuf[4:]), PSK.hex, repr(PSK.raw)]


def shown(value: object) -> list[str]:
    return [secret for secret in SECRETS if secret in repr(value) or secret in str(value)]


def raw(tmp_path: Path) -> dict[str, object]:
    (tmp_path / "datastore").mkdir()
    return new_config(
        Role.INPUT,
        KEY,
        tcp_port=7001,
        http_port=7002,
        datastore=tmp_path / "datastore",
        log_file=tmp_path / "host.log",
        pre_shared_key=PSK.hex,
    )


def test_keys_hide_themselves() -> None:
    assert shown(KEY) == []
    assert shown(PSK) == []


def test_the_configuration_of_the_host_hides_them() -> None:
    config = HostConfig(private_key=KEY.protobuf, psk=PSK.raw)
    assert shown(config) == []
    assert {field.name for field in dataclasses.fields(config) if not field.repr} == {"private_key", "psk"}


def test_the_configuration_file_hides_them(tmp_path: Path) -> None:
    path = tmp_path / "input.json"
    path.write_text(json.dumps(raw(tmp_path)), encoding="utf-8")
    file = ConfigFile.load(path)
    assert file.config.identity.peer_id in repr(file.config), "the rest is shown"
    for value in (file, file.config, file.config.identity, file.config.app):
        assert shown(value) == []


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("Identity", "PrivKey", KEY.base64[:-4]),
        ("Identity", "PrivKey", PrivateKey.generate().base64),
        ("App", "PreSharedKey", PSK.hex[:-2]),
        ("App", "PreSharedKey", PSK.hex[:-1] + "x"),
    ],
)
def test_a_complaint_about_a_secret_does_not_repeat_it(tmp_path: Path, section: str, field: str, value: str) -> None:
    config = raw(tmp_path)
    part = config[section]
    assert isinstance(part, dict)
    part[field] = value
    path = tmp_path / "input.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(AicnError) as caught:
        ConfigFile.load(path)
    assert field in str(caught.value)
    assert value not in str(caught.value)
    assert value[:-8] not in str(caught.value)
