"""The configuration as types: the reference's keys, exactly, and a section of our own.

Attributes are the keys in snake case. `docs/configuration.md` describes every one; a test holds it to that.
A missing key, `null`, and, where a default other than the empty one exists, `""` and `0` mean the default, as
they do to the reference.
"""

from __future__ import annotations

from typing import Final

import msgspec

from aicn import defaults
from aicn.config.durations import parse_duration
from aicn.config.own import OwnConfig
from aicn.ids import Multiaddr

HIDDEN: Final = "hidden"
"""What is shown in place of a secret."""

_IPFS_PREFIX: Final = "/ipfs"
"""What go-libp2p-kad-dht takes when no prefix is set."""


class ApiConfig(msgspec.Struct, frozen=True, rename={"addr": "Addr"}):
    """`API`: where the HTTP interface listens."""

    addr: str = ""
    """`host:port`; an empty host means every address of this machine."""


class IdentityConfig(msgspec.Struct, frozen=True, rename={"peer_id": "PeerID", "priv_key": "PrivKey"}):
    """`Identity`: who this node is."""

    peer_id: str = ""
    """Peer id that belongs to the private key."""
    priv_key: str = ""
    """The key file's bytes in base64. Secret."""

    def __repr__(self) -> str:
        """Show everything but the key."""
        return f"IdentityConfig(peer_id={self.peer_id!r}, priv_key={HIDDEN})"


class ConnMgrConfig(
    msgspec.Struct,
    frozen=True,
    rename={"type": "Type", "high_water": "HighWater", "low_water": "LowWater", "grace_period": "GracePeriod"},
):
    """`Swarm.ConnMgr`: how many connections are kept."""

    type: str = "basic"
    """`basic` or `none`."""
    high_water: int = defaults.CONNECTIONS_HIGH_WATER
    """Connections above which some are closed."""
    low_water: int = defaults.CONNECTIONS_LOW_WATER
    """Connections that remain then."""
    grace_period: str = "20s"
    """Age below which a connection is never closed."""

    @property
    def grace_period_s(self) -> float:
        """`grace_period` in seconds."""
        return parse_duration(self.grace_period)


class RelayClientConfig(msgspec.Struct, frozen=True, rename={"enabled": "Enabled", "static_relays": "StaticRelays"}):
    """`Swarm.RelayClient`: being reached through relays."""

    enabled: bool = False
    """Whether relays are used."""
    static_relays: tuple[Multiaddr, ...] = ()
    """Relays to use; none: the bootstrap peers."""


class RelayServiceConfig(msgspec.Struct, frozen=True, rename={"enabled": "Enabled"}):
    """`Swarm.RelayService`: carrying circuits for others."""

    enabled: bool = False
    """Whether this node is a relay, which marks it as public."""


class SwarmConfig(
    msgspec.Struct,
    frozen=True,
    rename={
        "conn_mgr": "ConnMgr",
        "disable_nat_port_map": "DisableNatPortMap",
        "relay_client": "RelayClient",
        "relay_service": "RelayService",
        "enable_hole_punching": "EnableHolePunching",
        "enable_auto_nat_service": "EnableAutoNATService",
        "dial_timeout": "DialTimeout",
    },
):
    """`Swarm`: connections."""

    conn_mgr: ConnMgrConfig = ConnMgrConfig()
    disable_nat_port_map: bool = False
    """Whether the router is left alone instead of asked to map a port."""
    relay_client: RelayClientConfig = RelayClientConfig()
    relay_service: RelayServiceConfig = RelayServiceConfig()
    enable_hole_punching: bool = False
    """Whether relayed connections are upgraded to direct ones."""
    enable_auto_nat_service: bool = False
    """Whether others are told how they are reached."""
    dial_timeout: str = ""
    """Longest time for one dial; empty: the default."""

    @property
    def dial_timeout_s(self) -> float:
        """`dial_timeout` in seconds, the default filled in."""
        return (parse_duration(self.dial_timeout) if self.dial_timeout else 0.0) or defaults.DIAL_TIMEOUT_S


class PubsubConfig(
    msgspec.Struct, frozen=True, rename={"enabled": "Enabled", "router": "Router", "flood_publish": "FloodPublish"}
):
    """`Pubsub`: gossip."""

    enabled: bool = True
    """Always on, whatever the file says, as with the reference: without gossip there is no network."""
    router: str = "gossipsub"
    """`floodsub` or `gossipsub`."""
    flood_publish: bool = False
    """With gossipsub: own messages go to every peer, not only to those of the mesh."""


class RoutingConfig(msgspec.Struct, frozen=True, rename={"type": "Type", "protocol_prefix": "ProtocolPrefix"}):
    """`Routing`: the DHT."""

    type: str = "auto"
    """`dhtclient`, `dhtserver`, `auto` or `none`."""
    protocol_prefix: str = ""
    """Tells DHTs apart, `/dbc` in the public network."""

    @property
    def kad_protocol(self) -> str:
        """The DHT's protocol id."""
        return f"{self.protocol_prefix or _IPFS_PREFIX}{defaults.KAD_PROTOCOL_SUFFIX}"


class AutoUpgradeConfig(msgspec.Struct, frozen=True, rename={"enabled": "Enabled", "time_interval": "TimeInterval"}):
    """`App.AutoUpgrade`: looking for new releases."""

    enabled: bool = False
    """Whether it looks."""
    time_interval: str = "1h"
    """How often."""

    @property
    def time_interval_s(self) -> float:
        """`time_interval` in seconds."""
        return parse_duration(self.time_interval)


class PeersCollectConfig(
    msgspec.Struct,
    frozen=True,
    rename={"enabled": "Enabled", "heartbeat_interval": "HeartbeatInterval", "client_project": "ClientProject"},
):
    """`App.PeersCollect`: knowing who serves what."""

    enabled: bool = False
    """Whether heartbeats of others are collected, so that requests can be routed."""
    heartbeat_interval: str = "180s"
    """How often this node sends its own."""
    client_project: str = ""
    """If set, nodes whose models serve none of this project may not connect."""

    @property
    def heartbeat_interval_s(self) -> float:
        """`heartbeat_interval` in seconds."""
        return parse_duration(self.heartbeat_interval)


class AppConfig(
    msgspec.Struct,
    frozen=True,
    rename={
        "log_level": "LogLevel",
        "log_file": "LogFile",
        "log_output": "LogOutput",
        "pre_shared_key": "PreSharedKey",
        "topic_name": "TopicName",
        "datastore": "Datastore",
        "auto_upgrade": "AutoUpgrade",
        "peers_collect": "PeersCollect",
    },
):
    """`App`: the program."""

    log_level: str = "info"
    """`debug`, `info`, `warn`, `error`, `panic` or `fatal`."""
    log_file: str = ""
    """Where `file` of `log_output` writes."""
    log_output: str = "stderr"
    """`stdout`, `stderr` and `file`, joined by `+`."""
    pre_shared_key: str = ""
    """64 hexadecimal digits of a private network's key; empty: a network without one. Secret."""
    topic_name: str = ""
    """Gossip topic and meeting point in the DHT."""
    datastore: str = ""
    """A folder that exists and that no other node uses."""
    auto_upgrade: AutoUpgradeConfig = AutoUpgradeConfig()
    peers_collect: PeersCollectConfig = PeersCollectConfig()

    def __repr__(self) -> str:
        """Show everything but the key."""
        shown = (
            f"{name}={HIDDEN if name == 'pre_shared_key' and self.pre_shared_key else repr(getattr(self, name))}"
            for name in self.__struct_fields__
        )
        return f"AppConfig({', '.join(shown)})"


class ModelConfig(
    msgspec.Struct,
    frozen=True,
    rename={
        "model": "Model",
        "api": "API",
        "type": "Type",
        "cid": "CID",
        "server_model": "ServerModel",
        "paused": "Paused",
        "max_concurrent": "MaxConcurrent",
    },
):
    """One entry of `AIProjects[].Models`: an instance of a model that this node serves."""

    model: str = ""
    """Name inside the project."""
    api: str = ""
    """URL of the model server on this machine, with its path."""
    type: int = 0
    """0 chat, 1 image generation, 2 image edit."""
    cid: str = ""
    """Tells instances of one model apart; may be empty."""
    server_model: str = ""
    """What the model server calls it; empty: the same. This and what follows are ours; the reference ignores it."""
    paused: bool = False
    """Whether it is registered but takes no requests."""
    max_concurrent: int = 0
    """Requests it works on at once; what comes beyond is refused, and goes to another node. 0: no limit."""


class ProjectConfig(msgspec.Struct, frozen=True, rename={"project": "Project", "models": "Models"}):
    """One entry of `AIProjects`: a project and its models. Registering and unregistering rewrite it."""

    project: str = ""
    """Name of the project."""
    models: tuple[ModelConfig, ...] = ()


class Config(
    msgspec.Struct,
    frozen=True,
    rename={
        "bootstrap": "Bootstrap",
        "addresses": "Addresses",
        "api": "API",
        "identity": "Identity",
        "swarm": "Swarm",
        "pubsub": "Pubsub",
        "routing": "Routing",
        "app": "App",
        "ai_projects": "AIProjects",
        "aicn": "AICN",
    },
):
    """A whole configuration."""

    bootstrap: tuple[Multiaddr, ...] = ()
    """Peers to dial at the start, each with its `/p2p` part; none: wait to be dialled."""
    addresses: tuple[Multiaddr, ...] = ()
    """Addresses to listen on."""
    api: ApiConfig = ApiConfig()
    identity: IdentityConfig = IdentityConfig()
    swarm: SwarmConfig = SwarmConfig()
    pubsub: PubsubConfig = PubsubConfig()
    routing: RoutingConfig = RoutingConfig()
    app: AppConfig = AppConfig()
    ai_projects: tuple[ProjectConfig, ...] = ()
    aicn: OwnConfig = OwnConfig()
