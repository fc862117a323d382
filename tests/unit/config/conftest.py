from __future__ import annotations

import json
from pathlib import Path

import pytest

from aicn.config import Raw, Role, new_config
from aicn.identity import PrivateKey


@pytest.fixture
def raw(tmp_path: Path) -> Raw:
    """A valid configuration of a Worker."""
    datastore = tmp_path / "datastore"
    datastore.mkdir()
    return new_config(
        Role.WORKER,
        PrivateKey.generate(),
        tcp_port=7001,
        http_port=7002,
        datastore=datastore,
        log_file=tmp_path / "host.log",
    )


@pytest.fixture
def path(raw: Raw, tmp_path: Path) -> Path:
    """The file of that configuration."""
    path = tmp_path / "worker.json"
    path.write_text(json.dumps(raw, indent=2), encoding="utf-8")
    path.chmod(0o600)
    return path
