"""Releases for tests: this very program, under another number, whole or with a fault of its own.

publisher = Publisher(tmp_path)
publisher.publish("9.0.0")                       # a good one
publisher.publish("9.1.0", fault=CRASHES)        # ends as soon as it is to run a node
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

import aicn
from aicn.upkeep.upgrade.archive import archive_name, pack
from aicn.upkeep.upgrade.keys import create_key
from aicn.upkeep.upgrade.manifest import MANIFEST_NAME, Artefact, Manifest, seal_manifest
from aicn.upkeep.upgrade.version import ANY_PLATFORM

SOURCES = Path(aicn.__file__).parent

CRASHES: Mapping[str, str] = {"cli/run.py": "raise SystemExit(3)\n"}
"""Knows its version, and ends with 3 when it is to run a node."""

SILENT: Mapping[str, str] = {"cli/run.py": "import sys\nsys.stdin.read()\nraise SystemExit(0)\n"}
"""Runs until it is asked to stop, and never answers."""

CRASHES_LATER: Mapping[str, str] = {
    "upkeep/upgrade/tether.py": (SOURCES / "upkeep/upgrade/tether.py").read_text(encoding="utf-8")
    + "\n\n_watch = on_end_of_input\n\n\ndef on_end_of_input(stop):\n    _watch(stop)\n"
    "    asyncio.get_running_loop().call_later(2.0, os._exit, 4)\n"
}
"""Answers, and ends with 4 two seconds after its start."""

DOES_NOT_START: Mapping[str, str] = {"cli/version.py": "raise ImportError('libc.so.7: no such file')\n"}
"""Cannot even tell its version."""


def make_packages(folder: Path, version: str, fault: Mapping[str, str] | None = None) -> Path:
    """Fill `folder` as `pip install --target` would, but for the packages that this Python has anyway."""
    target = folder / "aicn"
    shutil.copytree(SOURCES, target, ignore=shutil.ignore_patterns("__pycache__"), copy_function=_link)
    replaced = {"__init__.py": f'__version__ = "{version}"\n__all__ = ["__version__"]\n', **(fault or {})}
    for name, text in replaced.items():
        # A new file: the one that is there is the source's own.
        (target / name).unlink()
        (target / name).write_text(text, encoding="utf-8")
    return folder


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)


class Publisher:
    """A source in a folder, and the key of whoever publishes there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.source = folder / "source"
        self.source.mkdir()
        self.key = folder / "release.key"
        self.public_key = create_key(self.key)

    def section(self, **changes: Any) -> dict[str, Any]:
        """Return the section `AICN.Upgrade` of a node that trusts this publisher."""
        own = {"Source": str(self.source), "PublicKey": self.public_key, "HealthTimeout": "20s", "Probation": "1s"}
        return {"Upgrade": {**own, **changes}}

    def publish(
        self, version: str, *, minimum: str = "0.0.0", fault: Mapping[str, str] | None = None, key: Path | None = None
    ) -> Path:
        """Make a release, and put its manifest at the source; return the archive."""
        packages = make_packages(self._folder / f"packages-{version}", version, fault)
        archive = self.source / archive_name(version, ANY_PLATFORM)
        pack(packages, archive)
        self.put_manifest(version, archive, minimum=minimum, key=key)
        return archive

    def put_manifest(
        self,
        version: str,
        archive: Path,
        *,
        minimum: str = "0.0.0",
        platform: str = ANY_PLATFORM,
        key: Path | None = None,
    ) -> bytes:
        """Sign a manifest for an archive and put it at the source; return it."""
        data = archive.read_bytes()
        artefact = Artefact(archive.name, len(data), hashlib.sha256(data).hexdigest())
        sealed = seal_manifest(Manifest(version, minimum, {platform: artefact}), key or self.key)
        (self.source / MANIFEST_NAME).write_bytes(sealed)
        return sealed


def state_of(datastore: Path) -> dict[str, Any]:
    """Return what a node remembers of releases."""
    path = datastore / "upgrade" / "state.json"
    decoded: dict[str, Any] = msgspec.json.decode(path.read_bytes()) if path.exists() else {}
    return decoded
