"""A node's first files: key, datastore and configuration."""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Final

from aicn.config.document import Raw, write_document
from aicn.config.load import ConfigFile
from aicn.config.replace import replace_file, writing
from aicn.errors import ConfigError
from aicn.identity import PrivateKey, create_key_file, load_key_file

PUBLIC_NETWORK_PSK: Final = "f504f536a912a8cf7d00adacee8ed20270c5040d961d7f3da4fccbcbec0ec48a"
"""The pre-shared key of the public network: no secret, it only keeps other networks apart."""

TOPIC: Final = "DeepBrainChain"
"""Gossip topic of the public network."""

PROTOCOL_PREFIX: Final = "/dbc"
"""DHT prefix of the public network."""

_FIRST_PORT: Final = 7001
_PORT_STEP: Final = 1000
_LAST_PORT: Final = 65_535


class Role(StrEnum):
    """What `init` makes; the value also names the file. Server and client are older names of the first two."""

    INPUT = "input"
    WORKER = "worker"
    SERVER = "server"
    CLIENT = "client"

    @property
    def is_input(self) -> bool:
        """Whether it has a public address and takes requests of users."""
        return self in {Role.INPUT, Role.SERVER}


@dataclass(frozen=True, slots=True)
class Created:
    """What `create_node` made."""

    key: PrivateKey
    key_path: Path
    key_is_new: bool
    """False: a key file was there and is used."""
    datastore: Path
    config_path: Path
    tcp_port: int
    http_port: int


def create_node(folder: Path, role: Role) -> Created:
    """Make the files of a node in `folder`; nothing that is there is replaced.

    `peer.key` is used if it is there. Taken names get a free one (`input-1.json`, `datastore-1`). Ports are free
    ones at this moment. If anything fails, everything that this call made is gone again.

    Args:
        folder: an existing folder.
        role: what to make.

    Raises:
        ConfigError: the folder cannot be written, or no port is free.
        IdentityError: `peer.key` is there and holds no key.
    """
    folder = folder.absolute()
    with contextlib.ExitStack() as undo:
        try:
            with writing(folder):
                created = _create(folder, role, undo)
        except OSError as error:
            raise ConfigError(
                f"a node cannot be set up in {folder} ({error.strerror}); choose a folder that you may write"
            ) from error
        undo.pop_all()
    return created


def new_config(
    role: Role,
    key: PrivateKey,
    *,
    tcp_port: int,
    http_port: int,
    datastore: Path,
    log_file: Path,
    pre_shared_key: str = PUBLIC_NETWORK_PSK,
) -> Raw:
    """Return the configuration that `init` writes, key by key what the reference writes.

    Args:
        role: Input or Worker.
        key: who the node is.
        tcp_port: where peers connect, on all addresses.
        http_port: where the HTTP interface listens, on loopback.
        datastore: the node's folder.
        log_file: the node's log.
        pre_shared_key: 64 hexadecimal digits, or "" for a network without one.
    """
    is_input = role.is_input
    return {
        "Bootstrap": [],
        "Addresses": [f"/ip4/0.0.0.0/tcp/{tcp_port}", f"/ip6/::/tcp/{tcp_port}"],
        "API": {"Addr": f"127.0.0.1:{http_port}"},
        "Identity": {"PeerID": key.public.peer_id, "PrivKey": key.base64},
        "Swarm": {
            "ConnMgr": {"Type": "basic", "HighWater": 400, "LowWater": 100, "GracePeriod": "60s"},
            "DisableNatPortMap": False,
            "RelayClient": {"Enabled": False, "StaticRelays": None},
            "RelayService": {"Enabled": is_input},
            "EnableHolePunching": False,
            "EnableAutoNATService": True,
            "DialTimeout": "",
        },
        "Pubsub": {"Enabled": True, "Router": "floodsub", "FloodPublish": True},
        "Routing": {"Type": "dhtserver" if is_input else "dhtclient", "ProtocolPrefix": PROTOCOL_PREFIX},
        "App": {
            "LogLevel": "info",
            "LogFile": str(log_file),
            "LogOutput": "stderr+file" if is_input else "file",
            "PreSharedKey": pre_shared_key,
            "TopicName": TOPIC,
            "Datastore": str(datastore),
            "AutoUpgrade": {"Enabled": True, "TimeInterval": "1h"},
            "PeersCollect": {"Enabled": is_input, "HeartbeatInterval": "180s", "ClientProject": ""},
        },
        "AIProjects": [],
    }


def _create(folder: Path, role: Role, undo: contextlib.ExitStack) -> Created:
    key_path = folder / "peer.key"
    key_is_new = not key_path.exists()
    if key_is_new:
        key = create_key_file(key_path)
        undo.callback(key_path.unlink, missing_ok=True)
    else:
        key = load_key_file(key_path)
    tcp_port = _free_port(range(_FIRST_PORT, _LAST_PORT, _PORT_STEP))
    http_port = _free_port(range(tcp_port + 1, _LAST_PORT + 1))
    datastore = next(_free_names(folder, "datastore", ""))
    datastore.mkdir(mode=0o700)
    undo.callback(datastore.rmdir)
    config_path = next(_free_names(folder, role.value, ".json"))
    raw = new_config(
        role,
        key,
        tcp_port=tcp_port,
        http_port=http_port,
        datastore=datastore,
        log_file=folder / "host.log",
    )
    undo.callback(config_path.unlink, missing_ok=True)
    replace_file(config_path, write_document(raw))
    ConfigFile.load(config_path)
    return Created(key, key_path, key_is_new, datastore, config_path, tcp_port, http_port)


def _free_names(folder: Path, stem: str, suffix: str) -> Iterator[Path]:
    """Yield the paths `stem`, `stem-1`, `stem-2`… that nothing is at, not even a broken link."""
    names = (f"{stem}{suffix}" if number == 0 else f"{stem}-{number}{suffix}" for number in count())
    paths = (folder / name for name in names)
    return (path for path in paths if not path.exists() and not path.is_symlink())


def _free_port(candidates: range) -> int:
    for port in candidates:
        if _is_free(port):
            return port
    raise ConfigError(f"no TCP port from {candidates.start} up is free; stop a program that listens on one")


def _is_free(port: int) -> bool:
    """Tell whether `port` can be listened on, on every address of this machine."""
    for family, host in ((socket.AF_INET, ""), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                if sys.platform != "win32":
                    # As servers do: a port whose last connection is still being buried counts as free.
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((host, port))
                probe.listen(1)
        except OSError as error:
            if family == socket.AF_INET6 and error.errno in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
                continue  # a machine without IPv6
            return False
    return True
