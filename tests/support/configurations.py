"""Configuration files for tests, as `aicn init` writes them, but with ports of this test's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aicn.config import Raw, Role, new_config
from aicn.identity import PrivateKey


def example(folder: Path, role: Role = Role.WORKER, *, tcp_port: int = 7001, http_port: int = 7002) -> Raw:
    """Return a configuration that can be used; `folder` gets its datastore."""
    datastore = folder / "datastore"
    datastore.mkdir(exist_ok=True)
    return new_config(
        role,
        PrivateKey.generate(),
        tcp_port=tcp_port,
        http_port=http_port,
        datastore=datastore,
        log_file=folder / "host.log",
    )


def write(path: Path, raw: Mapping[str, Any]) -> Path:
    """Write `raw` to `path`, readable by its owner only, and return the path."""
    path.write_text(json.dumps(raw, indent=2), encoding="utf-8")
    path.chmod(0o600)
    return path


def read(path: Path) -> Raw:
    """Return the JSON of a file."""
    decoded: Raw = json.loads(path.read_text(encoding="utf-8"))
    return decoded


def put(raw: Raw, key_path: str, value: object) -> None:
    """Set the value at a path like `Swarm.ConnMgr.Type`."""
    *sections, name = key_path.split(".")
    for section in sections:
        raw = raw.setdefault(section, {})
    raw[name] = value
