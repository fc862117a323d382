"""What a configuration must fulfil beyond its JSON types, checked before anything is started.

Every refusal names the key path, shows the value unless it is a secret, and says what to do.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from aicn import defaults
from aicn.config.checks import check_choice, check_duration, check_host_port, wrong
from aicn.config.schema import AppConfig, Config, IdentityConfig, SwarmConfig
from aicn.config.validate_own import check_own
from aicn.errors import AddressError, ConfigError, IdentityError
from aicn.identity import PreSharedKey, PrivateKey
from aicn.ids import ModelKind, Multiaddr
from aicn.multiaddr import parse, peer_of

_LOG_LEVELS: Final = ("debug", "info", "warn", "error", "panic", "fatal")
_LOG_OUTPUTS: Final = ("stdout", "stderr", "file")
_PROTOCOL_PREFIX: Final = re.compile(r"/[!-~]*[!-.0-~]")
_ALL_ADDRESSES: Final = frozenset({"", "0.0.0.0", "[::]"})  # noqa: S104 - looked for, not listened on
_TOPIC_MAX_CHARS: Final = 256
"""Longest topic: it travels in every gossip message."""


def validate(config: Config) -> None:
    """Check every value.

    Raises:
        ConfigError: the first that cannot be used.
    """
    for index, addr in enumerate(config.bootstrap):
        _check_bootstrap(f"Bootstrap[{index}]", addr)
    if not config.addresses:
        raise ConfigError('Addresses is empty; name an address to listen on, e.g. "/ip4/0.0.0.0/tcp/7001"')
    for index, addr in enumerate(config.addresses):
        _check_addr(f"Addresses[{index}]", addr)
    check_host_port("API.Addr", config.api.addr)
    _check_identity(config.identity)
    _check_swarm(config.swarm)
    check_choice("Pubsub.Router", config.pubsub.router, ("floodsub", "gossipsub"))
    check_choice("Routing.Type", config.routing.type, ("dhtclient", "dhtserver", "auto", "none"))
    prefix = config.routing.protocol_prefix
    if prefix and _PROTOCOL_PREFIX.fullmatch(prefix) is None:
        raise wrong("Routing.ProtocolPrefix", prefix, "begin it with / and do not end it with one, e.g. /dbc")
    _check_app(config.app)
    for index, project in enumerate(config.ai_projects):
        for position, model in enumerate(project.models):
            if model.type not in set(ModelKind):
                path = f"AIProjects[{index}].Models[{position}].Type"
                raise wrong(path, model.type, "use 0 chat, 1 image generation or 2 image edit")
            if not 0 <= model.max_concurrent <= defaults.LIMIT_MOST:
                path = f"AIProjects[{index}].Models[{position}].MaxConcurrent"
                raise wrong(path, model.max_concurrent, f"use a number up to {defaults.LIMIT_MOST}, 0 for no limit")
    check_own(config.aicn)
    _check_listeners(config.api.addr, config.aicn.api.inference_addr)


def _check_listeners(addr: str, inference_addr: str) -> None:
    """Tell two listeners apart before the second finds its port taken, by this very node."""
    (host, _, port), (other_host, _, other_port) = addr.rpartition(":"), inference_addr.rpartition(":")
    # 0: whichever port is free.
    if port == other_port != "0" and (host == other_host or {host, other_host} & _ALL_ADDRESSES):
        raise wrong("AICN.API.InferenceAddr", inference_addr, f"use another port than API.Addr, {addr}")


def _check_bootstrap(path: str, addr: str) -> None:
    if peer_of(_check_addr(path, addr)) is None:
        raise wrong(path, addr, "end it with /p2p/ and the id of the peer")


def _check_addr(path: str, addr: str) -> Multiaddr:
    try:
        return parse(addr)
    except AddressError as error:
        raise ConfigError(f"{path}: {error}; write it like /ip4/203.0.113.5/tcp/7001") from None


def _check_identity(identity: IdentityConfig) -> None:
    if not identity.priv_key:
        raise ConfigError("Identity.PrivKey is missing; make a key with `aicn host -peerkey FILE`")
    try:
        key = PrivateKey.from_base64(identity.priv_key)
    except IdentityError as error:
        raise ConfigError(f"Identity.PrivKey: {error}; make a key with `aicn host -peerkey FILE`") from None
    if key.public.peer_id != identity.peer_id:
        raise wrong(
            "Identity.PeerID", identity.peer_id, f"Identity.PrivKey belongs to {key.public.peer_id}, write that"
        )


def _check_swarm(swarm: SwarmConfig) -> None:
    conn_mgr = swarm.conn_mgr
    check_choice("Swarm.ConnMgr.Type", conn_mgr.type, ("basic", "none"))
    if conn_mgr.low_water < 0:
        raise wrong("Swarm.ConnMgr.LowWater", conn_mgr.low_water, "use a number of connections")
    if conn_mgr.high_water < conn_mgr.low_water:
        raise wrong("Swarm.ConnMgr.HighWater", conn_mgr.high_water, f"use LowWater ({conn_mgr.low_water}) or more")
    check_duration("Swarm.ConnMgr.GracePeriod", conn_mgr.grace_period)
    for index, addr in enumerate(swarm.relay_client.static_relays):
        _check_bootstrap(f"Swarm.RelayClient.StaticRelays[{index}]", addr)
    if swarm.dial_timeout:
        check_duration("Swarm.DialTimeout", swarm.dial_timeout)


def _check_app(app: AppConfig) -> None:
    _check_log(app)
    if app.pre_shared_key:
        try:
            PreSharedKey.from_hex(app.pre_shared_key)
        except IdentityError as error:
            raise ConfigError(f"App.PreSharedKey: {error}") from None
    if not app.topic_name:
        raise ConfigError("App.TopicName is empty; the public network has DeepBrainChain")
    if len(app.topic_name) > _TOPIC_MAX_CHARS or not app.topic_name.isprintable():
        raise wrong("App.TopicName", app.topic_name, f"use at most {_TOPIC_MAX_CHARS} printable characters")
    if not app.datastore:
        raise ConfigError("App.Datastore is empty; name a folder that exists")
    if not _is_folder(app.datastore):
        raise wrong("App.Datastore", app.datastore, "make that folder or name one that exists")
    upgrade = app.auto_upgrade
    check_duration("App.AutoUpgrade.TimeInterval", upgrade.time_interval, positive=upgrade.enabled)
    check_duration("App.PeersCollect.HeartbeatInterval", app.peers_collect.heartbeat_interval, positive=True)


def _check_log(app: AppConfig) -> None:
    check_choice("App.LogLevel", app.log_level, _LOG_LEVELS)
    outputs = app.log_output.split("+")
    if not set(outputs) <= set(_LOG_OUTPUTS):
        raise wrong("App.LogOutput", app.log_output, f"join some of {', '.join(_LOG_OUTPUTS)} with +")
    if "file" in outputs and not app.log_file:
        raise ConfigError("App.LogFile is empty though App.LogOutput has 'file'; name the file to write")
    if app.log_file and _is_terminal(app.log_file):
        raise wrong("App.LogFile", app.log_file, "it is a terminal; name a file")


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except ValueError:  # a NUL in the name
        return False


def _is_terminal(path: str) -> bool:
    """Tell whether `path` is a terminal; nothing is created and nothing waits."""
    try:
        descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    except (OSError, ValueError):
        return False
    try:
        return os.isatty(descriptor)
    finally:
        os.close(descriptor)
