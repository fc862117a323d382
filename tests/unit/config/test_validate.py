"""Each value that cannot be used is refused by its key path, with what to do, and without showing a secret."""

from __future__ import annotations

import copy
import os
import pty
import sys
from pathlib import Path
from typing import Any

import pytest

from aicn.config import Raw
from aicn.config.document import decode
from aicn.config.validate import validate
from aicn.errors import ConfigError
from aicn.identity import PrivateKey

PEER = PrivateKey.generate().public.peer_id

RELEASES = {"Source": "/srv/releases", "PublicKey": "A" * 43 + "="}


def put(raw: Raw, path: str, value: Any) -> None:
    *parents, name = path.split(".")
    section: Any = raw
    for parent in parents:
        section = section.setdefault(parent, {})
    section[name] = value


BAD: list[tuple[str, Any, str]] = [
    ("Bootstrap", ["x"], r"Bootstrap\[0\]: failed to parse multiaddr"),
    ("Bootstrap", [f"/ip4/1.2.3.4/tcp/1/p2p/{PEER}", "/ip4/1.2.3.4/tcp/1"], r"Bootstrap\[1\] .*end it with /p2p/"),
    ("Bootstrap", ["/ip4/1.2.3.4/tcp/1/p2p/nobody"], r"Bootstrap\[0\]: .*nobody"),
    ("Addresses", [], "Addresses is empty; name"),
    ("Addresses", ["/ip4/0.0.0.0/tcp/99999"], r"Addresses\[0\]: .*99999"),
    ("Addresses", ["/ip4/0.0.0.0/tcp/1", ""], r"Addresses\[1\]: .*must begin with /"),
    ("API.Addr", "", "API.Addr is ''; write host:port"),
    ("API.Addr", "127.0.0.1", "API.Addr is '127.0.0.1'; write host:port"),
    ("API.Addr", "127.0.0.1:65536", "API.Addr .*write host:port"),
    ("API.Addr", "::1:7002", "API.Addr .*write host:port"),
    ("API.Addr", "http://127.0.0.1:7002", "API.Addr .*write host:port"),
    ("API.Addr", "127.0.0.1:", "API.Addr .*write host:port"),
    ("Identity.PrivKey", "", "Identity.PrivKey is missing; make a key"),
    ("Identity.PeerID", "", "Identity.PeerID is ''; .* belongs to 16Uiu2HA"),
    ("Identity.PeerID", PEER, f"Identity.PeerID is '{PEER}'; .* belongs to 16Uiu2HA"),
    ("Swarm.ConnMgr.Type", "big", "Swarm.ConnMgr.Type is 'big'; use one of basic, none"),
    ("Swarm.ConnMgr.LowWater", -1, "Swarm.ConnMgr.LowWater is -1"),
    ("Swarm.ConnMgr.HighWater", 50, r"Swarm.ConnMgr.HighWater is 50; use LowWater \(100\) or more"),
    ("Swarm.ConnMgr.GracePeriod", "20", "Swarm.ConnMgr.GracePeriod is '20'; write a duration"),
    ("Swarm.ConnMgr.GracePeriod", "-20s", "Swarm.ConnMgr.GracePeriod is '-20s'; use a duration of zero or more"),
    ("Swarm.RelayClient.StaticRelays", ["x"], r"Swarm.RelayClient.StaticRelays\[0\]: failed"),
    ("Swarm.DialTimeout", "soon", "Swarm.DialTimeout is 'soon'; write a duration"),
    ("Pubsub.Router", "episub", "Pubsub.Router is 'episub'; use one of floodsub, gossipsub"),
    ("Routing.Type", "dht", "Routing.Type is 'dht'; use one of dhtclient, dhtserver, auto, none"),
    ("Routing.ProtocolPrefix", "dbc", "Routing.ProtocolPrefix is 'dbc'; begin it with /"),
    ("Routing.ProtocolPrefix", "/dbc/", "Routing.ProtocolPrefix is '/dbc/'"),
    ("App.LogLevel", "warning", "App.LogLevel is 'warning'; use one of debug, info, warn"),
    ("App.LogOutput", "stderr+syslog", "App.LogOutput is 'stderr.syslog'; join some of stdout, stderr, file"),
    ("App.LogOutput", "stderr+", "App.LogOutput"),
    ("App.LogFile", "", "App.LogFile is empty though App.LogOutput has 'file'"),
    ("App.PreSharedKey", "abc", "App.PreSharedKey: .*64 hexadecimal digits"),
    ("App.TopicName", "", "App.TopicName is empty"),
    ("App.TopicName", "a\nb", "App.TopicName is 'a.*printable"),
    ("App.TopicName", "a" * 257, "App.TopicName is 'aaa.*at most 256"),
    ("App.Datastore", "", "App.Datastore is empty; name a folder"),
    ("App.Datastore", "/nowhere/at/all", "App.Datastore is '/nowhere/at/all'; make that folder"),
    ("App.Datastore", "a\0b", "App.Datastore is 'a.*make that folder"),
    ("App.AutoUpgrade.TimeInterval", "0s", "App.AutoUpgrade.TimeInterval is '0s'; use a duration above zero"),
    ("App.AutoUpgrade.TimeInterval", "often", "App.AutoUpgrade.TimeInterval is 'often'; write"),
    ("App.PeersCollect.HeartbeatInterval", "0s", "App.PeersCollect.HeartbeatInterval is '0s'; use a duration above"),
    ("App.PeersCollect.HeartbeatInterval", "3 min", "App.PeersCollect.HeartbeatInterval is '3 min'; write"),
    ("AIProjects", [{"Project": "P", "Models": [{"Type": 3}]}], r"AIProjects\[0\].Models\[0\].Type is 3; use 0 chat"),
    ("AICN.API.AllowedHosts", ["http://x"], r"AICN.API.AllowedHosts\[0\] is 'http://x'; write a host name"),
    (
        "AIProjects",
        [{"Models": [{"MaxConcurrent": -1}]}],
        r"AIProjects\[0\].Models\[0\].MaxConcurrent is -1; use a number",
    ),
    ("AICN.API.InferenceAddr", "7003", "AICN.API.InferenceAddr is '7003'; write host:port"),
    ("AICN.API.InferenceAddr", "127.0.0.1:7002", "InferenceAddr is '127.0.0.1:7002'; use another port than API.Addr"),
    ("AICN.API.InferenceAddr", "0.0.0.0:7002", "InferenceAddr is '0.0.0.0:7002'; use another port than API.Addr"),
    ("AICN.API", {"TLSCertificate": "/etc/node.pem"}, "AICN.API.TLSKey is empty; set both"),
    ("AICN.API", {"TLSKey": "/etc/node.key"}, "AICN.API.TLSCertificate is empty; set both"),
    ("AICN.Routing.MaxAttempts", 17, "AICN.Routing.MaxAttempts is 17; use a number from 1 to 16"),
    ("AICN.Routing.RetryBudget", 1.5, "AICN.Routing.RetryBudget is 1.5; use a share from 0 to 1"),
    ("AICN.Routing.TotalTimeout", "0s", "AICN.Routing.TotalTimeout is '0s'; use a duration above zero"),
    ("AICN.Routing.FirstByteTimeout", "0s", "AICN.Routing.FirstByteTimeout is '0s'; use a duration above zero"),
    ("AICN.Routing.KeepAlive", "-1s", "AICN.Routing.KeepAlive is '-1s'; use a duration of zero or more"),
    ("AICN.Limits.MaxConcurrent", -1, "AICN.Limits.MaxConcurrent is -1; use a number from 1"),
    ("AICN.Limits.QueueLength", -1, "AICN.Limits.QueueLength is -1; use a number from 1"),
    ("AICN.Limits.QueueTimeout", "soon", "AICN.Limits.QueueTimeout is 'soon'; write a duration"),
    ("AICN.Health.Interval", "0s", "AICN.Health.Interval is '0s'; use a duration above zero"),
    ("AICN.Health.Interval", "-1s", "AICN.Health.Interval is '-1s'; use a duration above zero"),
    ("AICN.Health.Interval", "1ms", "AICN.Health.Interval is '1ms'; use 100ms or more"),
    ("AICN.Discovery.Interval", "0s", "AICN.Discovery.Interval is '0s'; use a duration above zero"),
    ("AICN.Discovery", {"Enabled": True}, "AICN.Discovery.Project is empty; name the project"),
    ("AICN.Discovery.Project", "a\nb", "AICN.Discovery.Project is 'a.*b'; it holds a control character; name another"),
    ("AICN.Discovery.Project", "x" * 300, "AICN.Discovery.Project is .*; it is longer than 256 bytes; name another"),
    ("AICN.Discovery.Ports", [8000, 70_000], "is 70000; use a port from 1 to 65535"),
    ("AICN.Discovery.Names", {"a": ""}, "is ''; write a name without"),
    ("AICN.Traces.Endpoint", "127.0.0.1:4318", "AICN.Traces.Endpoint is '127.0.0.1:4318'; write a URL"),
    ("AICN.Traces.Endpoint", "http://", "AICN.Traces.Endpoint is 'http://'; write a URL"),
    ("AICN.Traces.Endpoint", "http://:4318/v1/traces", "AICN.Traces.Endpoint is .*; write a URL"),
    ("AICN.Traces.Endpoint", "http://127.0.0.1:99999/", "AICN.Traces.Endpoint is .*; write a URL"),
    ("AICN.Traces.Endpoint", "http://127.0.0.1:0/", "AICN.Traces.Endpoint is .*; write a URL"),
    ("AICN.Traces.Endpoint", "http://a b/", "AICN.Traces.Endpoint is .*; write a URL"),
    ("AICN.Traces.Endpoint", "http://[::1/", "AICN.Traces.Endpoint is .*; write a URL"),
    ("AICN.Upgrade", {"Source": "/srv/releases"}, "AICN.Upgrade.PublicKey is empty; set both"),
    ("AICN.Upgrade", {"PublicKey": "A" * 43 + "="}, "AICN.Upgrade.Source is empty; set both"),
    ("AICN.Upgrade", {**RELEASES, "Source": "releases"}, "AICN.Upgrade.Source is 'releases'; write the whole path"),
    ("AICN.Upgrade", {**RELEASES, "Source": "http://a.example"}, "AICN.Upgrade.Source .* use https://"),
    ("AICN.Upgrade", {**RELEASES, "PublicKey": "AAAA"}, "AICN.Upgrade.PublicKey is 'AAAA'; write what `aicn upgrade"),
    ("AICN.Upgrade", {**RELEASES, "HealthTimeout": "0s"}, "AICN.Upgrade.HealthTimeout is '0s'; use a duration above"),
    ("AICN.Upgrade", {**RELEASES, "Probation": "long"}, "AICN.Upgrade.Probation is 'long'; write a duration"),
    ("AICN.History.MaxAge", "0s", "AICN.History.MaxAge is '0s'; use a duration above zero"),
    ("AICN.History.MaxEntries", -1, "AICN.History.MaxEntries is -1; use a number from 1"),
    ("AICN.History.MaxEntries", 10_000_001, "AICN.History.MaxEntries is 10000001; use a number from 1"),
]


@pytest.mark.parametrize(("path", "value", "words"), BAD, ids=[f"{path}={value!r:.40}" for path, value, _ in BAD])
def test_a_bad_value_is_refused_by_its_path(raw: Raw, path: str, value: Any, words: str) -> None:
    validate(decode(raw))
    put(raw, path, value)
    with pytest.raises(ConfigError, match=words) as refused:
        validate(decode(raw))
    message = str(refused.value)
    assert "\n" not in message
    assert len(message) < 400
    assert raw["Identity"]["PrivKey"] == "" or raw["Identity"]["PrivKey"] not in message


GOOD: list[tuple[str, Any]] = [
    ("Bootstrap", []),
    ("Bootstrap", [f"/dns4/example.org/tcp/7001/p2p/{PEER}"]),
    ("API.Addr", ":7002"),
    ("API.Addr", "[::1]:7002"),
    ("API.Addr", "localhost:0"),
    ("Swarm.DialTimeout", "5s"),
    ("Swarm.DialTimeout", "0"),
    ("Swarm.ConnMgr.Type", "none"),
    ("Swarm.ConnMgr.GracePeriod", "0s"),
    ("Routing.ProtocolPrefix", ""),
    ("App.LogOutput", "stdout+stderr+file"),
    ("App.PreSharedKey", ""),
    ("App.PreSharedKey", "AB" * 32),
    ("App.AutoUpgrade", {"Enabled": False, "TimeInterval": "0s"}),
    ("App.PeersCollect.HeartbeatInterval", "1h30m"),
    ("AIProjects", [{"Project": "", "Models": [{"Model": "", "API": "not of this machine"}]}]),
    ("AICN.API.AllowedHosts", ["models.example.org"]),
    ("AICN.API.InferenceAddr", "0.0.0.0:7003"),
    ("AICN.API.InferenceAddr", "203.0.113.7:7002"),
    ("AICN.Routing", {"MaxAttempts": 1, "RetryBudget": 0, "KeepAlive": "0s"}),
    ("AICN.Limits", {"QueueLength": 1, "QueueTimeout": "0s"}),
    ("AICN.Discovery", {"Enabled": True, "Project": "P"}),
    ("AICN.Health.Interval", "100ms"),
    ("AICN.Traces.Endpoint", "http://127.0.0.1:4318/v1/traces"),
    ("AICN.Traces.Endpoint", "https://[::1]/v1/traces"),
    ("AICN.Upgrade", {**RELEASES, "Probation": "0s"}),
    ("AICN.Upgrade", {**RELEASES, "Source": "https://releases.example.org/aicn"}),
]


@pytest.mark.parametrize(("path", "value"), GOOD, ids=[f"{path}={value!r:.40}" for path, value in GOOD])
def test_a_good_value_is_taken(raw: Raw, path: str, value: Any) -> None:
    put(raw, path, value)
    validate(decode(raw))


@pytest.mark.parametrize("secret", ["CAISI" + "A" * 20, "not base64 at all", PrivateKey.generate().base64 + "AAAA"])
def test_a_wrong_private_key_is_not_shown(raw: Raw, secret: str) -> None:
    raw["Identity"]["PrivKey"] = secret
    with pytest.raises(ConfigError, match=r"Identity\.PrivKey: .*; make a key") as refused:
        validate(decode(raw))
    assert secret not in str(refused.value)


def test_a_wrong_pre_shared_key_is_not_shown(raw: Raw) -> None:
    raw["App"]["PreSharedKey"] = "ab" * 31 + "xy"
    with pytest.raises(ConfigError, match=r"App\.PreSharedKey") as refused:
        validate(decode(raw))
    assert "abab" not in str(refused.value)


def test_a_datastore_that_is_a_file_is_refused(raw: Raw, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    raw["App"]["Datastore"] = str(file)
    with pytest.raises(ConfigError, match=r"App\.Datastore"):
        validate(decode(raw))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_a_log_file_that_is_a_terminal_is_refused(raw: Raw) -> None:
    ours, theirs = pty.openpty()
    try:
        raw["App"]["LogFile"] = os.ttyname(theirs)
        with pytest.raises(ConfigError, match=r"App\.LogFile .* it is a terminal"):
            validate(decode(raw))
    finally:
        os.close(ours)
        os.close(theirs)


def test_looking_at_a_log_file_makes_none(raw: Raw) -> None:
    validate(decode(raw))
    assert not Path(raw["App"]["LogFile"]).exists()


def test_a_long_value_is_shown_in_part(raw: Raw) -> None:
    changed = copy.deepcopy(raw)
    changed["Routing"]["Type"] = "x" * 10_000
    with pytest.raises(ConfigError, match="…; use one of"):
        validate(decode(changed))
