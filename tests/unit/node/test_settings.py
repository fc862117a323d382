from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aicn.config import ConfigFile
from aicn.identity import PreSharedKey
from aicn.node import host_config
from aicn.node.settings import node_flags
from aicn.p2p.host import HostConfig, PubsubRouter, RoutingMode
from aicn.peers import NodeFlags
from support.configurations import example, put, write

PSK = PreSharedKey.generate()


def _host_config(folder: Path, changes: dict[str, Any]) -> HostConfig:
    raw = example(folder)
    for path, value in changes.items():
        put(raw, path, value)
    return host_config(ConfigFile.load(write(folder / "node.json", raw)).config)


CASES: list[tuple[str, Any, str, Any]] = [
    ("Addresses", ["/ip4/127.0.0.1/tcp/4001"], "listen_addrs", ("/ip4/127.0.0.1/tcp/4001",)),
    ("Swarm.EnableHolePunching", True, "hole_punching", True),
    ("Swarm.EnableHolePunching", False, "hole_punching", False),
    ("Swarm.DisableNatPortMap", True, "port_mapping", False),
    ("Swarm.DisableNatPortMap", False, "port_mapping", True),
    ("Swarm.EnableAutoNATService", True, "autonat_service", True),
    ("Swarm.EnableAutoNATService", False, "autonat_service", False),
    ("Swarm.RelayService.Enabled", True, "relay_service", True),
    ("Swarm.RelayService.Enabled", False, "relay_service", False),
    ("Swarm.DialTimeout", "1m30s", "dial_timeout_s", 90.0),
    ("Swarm.DialTimeout", "500ms", "dial_timeout_s", 0.5),
    ("Swarm.DialTimeout", "", "dial_timeout_s", 15.0),
    ("Pubsub.Router", "floodsub", "pubsub_router", PubsubRouter.FLOODSUB),
    ("Pubsub.Router", "gossipsub", "pubsub_router", PubsubRouter.GOSSIPSUB),
    ("Pubsub.FloodPublish", True, "flood_publish", True),
    ("Pubsub.FloodPublish", False, "flood_publish", False),
    ("Routing.Type", "dhtclient", "routing_mode", RoutingMode.CLIENT),
    ("Routing.Type", "dhtserver", "routing_mode", RoutingMode.SERVER),
    ("Routing.Type", "auto", "routing_mode", RoutingMode.AUTO),
    ("Routing.Type", "none", "routing_mode", RoutingMode.NONE),
    ("Routing.ProtocolPrefix", "/other", "kad_protocol", "/other/kad/1.0.0"),
    ("Routing.ProtocolPrefix", "", "kad_protocol", "/ipfs/kad/1.0.0"),
    ("App.PreSharedKey", PSK.hex, "psk", PSK.raw),
    ("App.PreSharedKey", "", "psk", None),
    ("App.TopicName", "elsewhere", "topics", ("elsewhere",)),
]


@pytest.mark.parametrize(("path", "value", "field", "expected"), CASES)
def test_setting_reaches_the_host(tmp_path: Path, path: str, value: object, field: str, expected: object) -> None:
    assert getattr(_host_config(tmp_path, {path: value}), field) == expected


@pytest.mark.parametrize(
    ("addrs", "mapped"),
    [
        (["/ip4/127.0.0.1/tcp/4001", "/ip6/::1/tcp/4001"], False),
        (["/ip4/127.8.8.8/tcp/4001"], False),
        (["/ip4/127.0.0.1/tcp/4001", "/ip4/0.0.0.0/tcp/4002"], True),
        (["/ip6/::/tcp/4001"], True),
        (["/ip4/192.0.2.1/tcp/4001"], True),
    ],
)
def test_no_router_is_asked_for_what_listens_on_loopback(tmp_path: Path, addrs: list[str], mapped: bool) -> None:  # noqa: FBT001
    assert _host_config(tmp_path, {"Addresses": addrs}).port_mapping is mapped


@pytest.mark.parametrize(
    ("relays", "collects", "flags"),
    [
        (False, False, NodeFlags(0)),
        (True, False, NodeFlags.PUBLIC),
        (False, True, NodeFlags.COLLECTS),
        (True, True, NodeFlags.PUBLIC | NodeFlags.COLLECTS),
    ],
)
def test_node_type(tmp_path: Path, relays: bool, collects: bool, flags: NodeFlags) -> None:  # noqa: FBT001
    raw = example(tmp_path)
    put(raw, "Swarm.RelayService.Enabled", relays)
    put(raw, "App.PeersCollect.Enabled", collects)
    assert node_flags(ConfigFile.load(write(tmp_path / "node.json", raw)).config) == flags
