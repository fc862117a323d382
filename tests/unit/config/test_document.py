from __future__ import annotations

import copy
import json
from typing import Any

import msgspec
import pytest

from aicn import defaults
from aicn.config import Config, Raw
from aicn.config.document import decode, read_document, unknown_keys, write_document
from aicn.errors import ConfigError


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "line 1, column 1"),
        (b"{", "line 1, column 2"),
        (b'{"a": 1,}', "line 1, column 9"),
        (b"[]", "no JSON object"),
        (b"null", "no JSON object"),
        (b'{"a": NaN}', "NaN is no JSON"),
        (b'{"a": \xff}', "byte 6 is not UTF-8"),
        (b'{"a": 1, "a": 2}', "'a' is there twice"),
        (b'{"x": {"a": 1, "a": 2}}', "'a' is there twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "correct the JSON"),
        (b" " * (defaults.CONFIG_MAX_BYTES + 1), "larger than 4 MiB"),
    ],
)
def test_what_is_no_configuration_is_refused_in_one_sentence(data: bytes, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        read_document(data)
    assert "\n" not in str(refused.value)


def test_a_byte_order_mark_is_read_over() -> None:
    assert read_document(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


def test_what_is_written_is_read_back_in_its_order() -> None:
    raw: Raw = {"Z": 1, "A": {"é": [], "big": 2**80, "f": 1.5, "n": None}, "M": "<&>"}
    data = write_document(raw)
    assert read_document(data) == raw
    assert list(read_document(data)) == ["Z", "A", "M"]
    assert data.decode().splitlines()[1] == '  "Z": 1,'


def test_a_missing_key_a_null_and_an_empty_value_mean_the_default(raw: Raw) -> None:
    missing = copy.deepcopy(raw)
    for path in ("Pubsub.Router", "Routing.Type", "App.LogLevel", "App.LogOutput", "Swarm.ConnMgr.HighWater"):
        *parents, name = path.split(".")
        section: Any = missing
        for parent in parents:
            section = section[parent]
        del section[name]
    empty = copy.deepcopy(missing)
    empty["Pubsub"]["Router"] = empty["Routing"]["Type"] = empty["App"]["LogLevel"] = empty["App"]["LogOutput"] = ""
    empty["Swarm"]["ConnMgr"]["HighWater"] = 0
    null = copy.deepcopy(missing)
    null["Pubsub"]["Router"] = null["Routing"]["Type"] = null["App"]["LogLevel"] = null["App"]["LogOutput"] = None
    null["Swarm"]["ConnMgr"]["HighWater"] = None
    config = decode(missing)
    assert config == decode(empty) == decode(null)
    assert (config.pubsub.router, config.routing.type) == ("gossipsub", "auto")
    assert (config.app.log_level, config.app.log_output) == ("info", "stderr")
    assert config.swarm.conn_mgr.high_water == 400


def test_an_empty_file_has_the_defaults_of_the_reference() -> None:
    config = decode({})
    assert config == Config()
    conn_mgr = config.swarm.conn_mgr
    assert (conn_mgr.type, conn_mgr.grace_period_s, conn_mgr.low_water, conn_mgr.high_water) == ("basic", 20, 100, 400)
    assert config.app.auto_upgrade.time_interval_s == 3_600
    assert config.app.peers_collect.heartbeat_interval_s == 180
    assert config.swarm.dial_timeout_s == defaults.DIAL_TIMEOUT_S
    assert config.routing.kad_protocol == "/ipfs/kad/1.0.0"


def test_null_is_an_empty_array(raw: Raw) -> None:
    for name in ("Bootstrap", "AIProjects"):
        raw[name] = None
    raw["Swarm"]["RelayClient"]["StaticRelays"] = None
    config = decode(raw)
    assert (config.bootstrap, config.ai_projects, config.swarm.relay_client.static_relays) == ((), (), ())
    raw["AIProjects"] = [{"Project": "P", "Models": None}]
    assert decode(raw).ai_projects[0].models == ()


def test_gossip_is_on_whatever_the_file_says(raw: Raw) -> None:
    raw["Pubsub"]["Enabled"] = False
    assert decode(raw).pubsub.enabled


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"API": {"Addr": 7002}}, "API.Addr: expected `str`, got `int`"),
        ({"Bootstrap": "x"}, "Bootstrap: expected `array`, got `str`"),
        ({"Bootstrap": [1]}, r"Bootstrap\[0\]: expected `str`"),
        ({"Swarm": ""}, "Swarm: expected `object`"),
        ({"Swarm": {"ConnMgr": {"HighWater": "400"}}}, "Swarm.ConnMgr.HighWater: expected `int`, got `str`"),
        ({"Swarm": {"ConnMgr": {"HighWater": 1.5}}}, "Swarm.ConnMgr.HighWater: expected `int`, got `float`"),
        ({"Pubsub": {"FloodPublish": 1}}, "Pubsub.FloodPublish: expected `bool`"),
        ({"AIProjects": [{"Models": [{"Type": "0"}]}]}, r"AIProjects\[0\].Models\[0\].Type: expected `int`"),
        ({"AIProjects": [None]}, r"AIProjects\[0\]: expected `object`"),
    ],
)
def test_a_wrong_json_type_is_named_with_its_path(change: Raw, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        decode(change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"api": {}}, "api: the key is written 'API'"),
        ({"App": {"topicName": "x"}}, "App.topicName: the key is written 'TopicName'"),
        ({"AIProjects": [{"Models": [{"cid": "x"}]}]}, r"AIProjects\[0\].Models\[0\].cid: the key is written 'CID'"),
    ],
)
def test_a_key_in_another_case_is_refused(change: Raw, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        decode(change)


def test_keys_that_mean_nothing_are_found_at_every_depth() -> None:
    raw: Raw = {
        "Extra": {"App": 1},
        "App": {"Colour": 1, "PeersCollect": {"Speed": 2}},
        "AIProjects": [{"Project": "P", "Note": 1, "Models": [{"Model": "m", "Price": 3}]}],
        "Bootstrap": [],
    }
    assert unknown_keys(raw) == (
        "Extra",
        "App.Colour",
        "App.PeersCollect.Speed",
        "AIProjects[0].Note",
        "AIProjects[0].Models[0].Price",
    )


def test_secrets_are_in_no_repr(raw: Raw) -> None:
    config = decode(raw)
    shown = repr(config) + str(config) + repr(config.identity) + repr(config.app) + f"{config.app}"
    assert raw["Identity"]["PrivKey"] not in shown
    assert raw["App"]["PreSharedKey"] not in shown
    assert raw["Identity"]["PeerID"] in shown
    assert "pre_shared_key=''" in repr(decode({}))


def test_a_configuration_cannot_be_changed(raw: Raw) -> None:
    config = decode(raw)
    with pytest.raises(AttributeError):
        config.api = decode({}).api  # type: ignore[misc]


def test_every_key_is_one_that_the_reference_writes(raw: Raw) -> None:
    """A typed configuration brought back to JSON has the file's keys, and only our own besides."""
    written: Raw = msgspec.to_builtins(decode(raw))
    assert {"OpenInference": False, "AllowedHosts": ()}.items() <= written.pop("AICN")["API"].items()
    for project in written["AIProjects"]:
        for model in project["Models"]:
            own = {name: model.pop(name) for name in ("ServerModel", "Paused", "MaxConcurrent")}
            assert own == {"ServerModel": "", "Paused": False, "MaxConcurrent": 0}
    raw["Swarm"]["RelayClient"]["StaticRelays"] = []
    assert json.loads(json.dumps(written)) == raw
