"""What a configuration must fulfil beyond its JSON types, checked before anything is started.

Every refusal names the key path, shows the value unless it is a secret, and says what to do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from aicn import defaults
from aicn.config.durations import parse_duration
from aicn.config.schema import AppConfig, Config, IdentityConfig, OwnConfig, OwnUpgradeConfig, SwarmConfig
from aicn.config.source import check_source
from aicn.errors import AddressError, ConfigError, IdentityError
from aicn.identity import PreSharedKey, PrivateKey
from aicn.ids import ModelKind, Multiaddr
from aicn.multiaddr import parse, peer_of

_LOG_LEVELS: Final = ("debug", "info", "warn", "error", "panic", "fatal")
_LOG_OUTPUTS: Final = ("stdout", "stderr", "file")
_HOST_PORT: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^:\[\]\s/]*):(?P<port>[0-9]{1,5})", re.ASCII)
_PROTOCOL_PREFIX: Final = re.compile(r"/[!-~]*[!-.0-~]")
_PUBLIC_KEY: Final = re.compile(r"[A-Za-z0-9+/]{43}=", re.ASCII)
"""32 bytes in base64."""
_MAX_PORT: Final = 65_535
_SHOWN_MAX: Final = 120
"""Characters of a wrong value that are shown."""
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
    _check_host_port("API.Addr", config.api.addr)
    _check_identity(config.identity)
    _check_swarm(config.swarm)
    _check_choice("Pubsub.Router", config.pubsub.router, ("floodsub", "gossipsub"))
    _check_choice("Routing.Type", config.routing.type, ("dhtclient", "dhtserver", "auto", "none"))
    prefix = config.routing.protocol_prefix
    if prefix and _PROTOCOL_PREFIX.fullmatch(prefix) is None:
        raise _wrong("Routing.ProtocolPrefix", prefix, "begin it with / and do not end it with one, e.g. /dbc")
    _check_app(config.app)
    for index, project in enumerate(config.ai_projects):
        for position, model in enumerate(project.models):
            if model.type not in set(ModelKind):
                path = f"AIProjects[{index}].Models[{position}].Type"
                raise _wrong(path, model.type, "use 0 chat, 1 image generation or 2 image edit")
    _check_own(config.aicn)


def _check_bootstrap(path: str, addr: str) -> None:
    if peer_of(_check_addr(path, addr)) is None:
        raise _wrong(path, addr, "end it with /p2p/ and the id of the peer")


def _check_addr(path: str, addr: str) -> Multiaddr:
    try:
        return parse(addr)
    except AddressError as error:
        raise ConfigError(f"{path}: {error}; write it like /ip4/203.0.113.5/tcp/7001") from None


def _check_host_port(path: str, addr: str) -> None:
    found = _HOST_PORT.fullmatch(addr)
    if found is None or int(found["port"]) > _MAX_PORT:
        raise _wrong(path, addr, "write host:port, e.g. 127.0.0.1:7002")


def _check_identity(identity: IdentityConfig) -> None:
    if not identity.priv_key:
        raise ConfigError("Identity.PrivKey is missing; make a key with `aicn host -peerkey FILE`")
    try:
        key = PrivateKey.from_base64(identity.priv_key)
    except IdentityError as error:
        raise ConfigError(f"Identity.PrivKey: {error}; make a key with `aicn host -peerkey FILE`") from None
    if key.public.peer_id != identity.peer_id:
        raise _wrong(
            "Identity.PeerID", identity.peer_id, f"Identity.PrivKey belongs to {key.public.peer_id}, write that"
        )


def _check_swarm(swarm: SwarmConfig) -> None:
    conn_mgr = swarm.conn_mgr
    _check_choice("Swarm.ConnMgr.Type", conn_mgr.type, ("basic", "none"))
    if conn_mgr.low_water < 0:
        raise _wrong("Swarm.ConnMgr.LowWater", conn_mgr.low_water, "use a number of connections")
    if conn_mgr.high_water < conn_mgr.low_water:
        raise _wrong("Swarm.ConnMgr.HighWater", conn_mgr.high_water, f"use LowWater ({conn_mgr.low_water}) or more")
    _check_duration("Swarm.ConnMgr.GracePeriod", conn_mgr.grace_period)
    for index, addr in enumerate(swarm.relay_client.static_relays):
        _check_bootstrap(f"Swarm.RelayClient.StaticRelays[{index}]", addr)
    if swarm.dial_timeout:
        _check_duration("Swarm.DialTimeout", swarm.dial_timeout)


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
        raise _wrong("App.TopicName", app.topic_name, f"use at most {_TOPIC_MAX_CHARS} printable characters")
    if not app.datastore:
        raise ConfigError("App.Datastore is empty; name a folder that exists")
    if not _is_folder(app.datastore):
        raise _wrong("App.Datastore", app.datastore, "make that folder or name one that exists")
    upgrade = app.auto_upgrade
    _check_duration("App.AutoUpgrade.TimeInterval", upgrade.time_interval, positive=upgrade.enabled)
    _check_duration("App.PeersCollect.HeartbeatInterval", app.peers_collect.heartbeat_interval, positive=True)


def _check_log(app: AppConfig) -> None:
    _check_choice("App.LogLevel", app.log_level, _LOG_LEVELS)
    outputs = app.log_output.split("+")
    if not set(outputs) <= set(_LOG_OUTPUTS):
        raise _wrong("App.LogOutput", app.log_output, f"join some of {', '.join(_LOG_OUTPUTS)} with +")
    if "file" in outputs and not app.log_file:
        raise ConfigError("App.LogFile is empty though App.LogOutput has 'file'; name the file to write")
    if app.log_file and _is_terminal(app.log_file):
        raise _wrong("App.LogFile", app.log_file, "it is a terminal; name a file")


def _check_choice(path: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise _wrong(path, value, f"use one of {', '.join(choices)}")


def _check_own(own: OwnConfig) -> None:
    for index, host in enumerate(own.api.allowed_hosts):
        if not host or not re.fullmatch(r"[A-Za-z0-9._-]+", host):
            raise _wrong(f"AICN.API.AllowedHosts[{index}]", host, "write a host name without scheme and port")
    history = own.history
    _check_duration("AICN.History.MaxAge", history.max_age, positive=True)
    if not 1 <= history.max_entries <= defaults.HISTORY_ENTRIES_LIMIT:
        limit = defaults.HISTORY_ENTRIES_LIMIT
        raise _wrong("AICN.History.MaxEntries", history.max_entries, f"use a number from 1 to {limit}")
    _check_upgrade(own.upgrade)


def _check_upgrade(upgrade: OwnUpgradeConfig) -> None:
    if bool(upgrade.source) != bool(upgrade.public_key):
        missing = "PublicKey" if upgrade.source else "Source"
        raise ConfigError(f"AICN.Upgrade.{missing} is empty; set both Source and PublicKey, or neither")
    if upgrade.source and (wrong := check_source(upgrade.source)):
        raise _wrong("AICN.Upgrade.Source", upgrade.source, wrong)
    if upgrade.public_key and not _PUBLIC_KEY.fullmatch(upgrade.public_key):
        raise _wrong("AICN.Upgrade.PublicKey", upgrade.public_key, "write what `aicn upgrade keygen` shows")
    _check_duration("AICN.Upgrade.HealthTimeout", upgrade.health_timeout, positive=True)
    _check_duration("AICN.Upgrade.Probation", upgrade.probation)


def _check_duration(path: str, text: str, *, positive: bool = False) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        raise _wrong(path, text, "write a duration, e.g. 90s, 1h30m or 500ms") from None
    if seconds < 0 or (positive and seconds == 0):
        raise _wrong(path, text, f"use a duration {'above zero' if positive else 'of zero or more'}")


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


def _wrong(path: str, value: object, advice: str) -> ConfigError:
    shown = repr(value)
    if len(shown) > _SHOWN_MAX:
        shown = f"{shown[:_SHOWN_MAX]}…"
    return ConfigError(f"{path} is {shown}; {advice}")
