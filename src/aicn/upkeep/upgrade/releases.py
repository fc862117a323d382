"""The releases of one node: unpacked side by side, each started with its own packages."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from aicn import defaults
from aicn.errors import ReleaseRefused, UpgradeError
from aicn.upkeep.upgrade.archive import unpack
from aicn.upkeep.upgrade.settings import SUPERVISED
from aicn.upkeep.upgrade.version import Version, this_platform

_STAGING: Final = "staging"


class Releases:
    """The folder of releases. A release is whole or not there: it is unpacked elsewhere and then moved in."""

    def __init__(self, home: Path) -> None:
        """Keep releases in `home`; nothing is touched yet.

        Those of another platform do not count: whoever changes the Python of a machine gets the installed program.
        """
        self._all = home / "releases"
        self._folder = self._all / this_platform()
        self._staging = home / _STAGING

    def path(self, version: str) -> Path:
        """Return where a release is, or would be."""
        return self._folder / str(Version.parse(version))

    def has(self, version: str) -> bool:
        """Tell whether a release is there."""
        return bool(version) and self.path(version).is_dir()

    @contextmanager
    def download(self) -> Iterator[Path]:
        """Yield where to download an archive to; it is gone after the block, as is what `add` has left of it.

        Raises:
            UpgradeError: there is no place for it.
        """
        try:
            shutil.rmtree(self._staging, ignore_errors=True)  # of a process that was killed
            self._staging.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UpgradeError(f"{self._staging} cannot be made ({error.strerror}); check its folder") from error
        try:
            yield self._staging / "download.zip"
        finally:
            shutil.rmtree(self._staging, ignore_errors=True)

    def add(self, version: str, archive: Path) -> None:
        """Inside `download`: unpack the verified archive, look whether it starts at all, and move it to its place.

        Raises:
            ReleaseRefused: it is no release, not of that version, or does not start here.
            UpgradeError: it cannot be written.
        """
        unpacked = self._staging / "unpacked"
        target = self.path(version)
        try:
            unpack(archive, unpacked)
            archive.unlink()
            self._check_starts(version, unpacked)
            # Here and now, so that the node is gone for one second at its swap and not for two.
            compileall.compile_dir(unpacked, quiet=2, stripdir=str(unpacked), prependdir=str(target))
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.rmtree(target, ignore_errors=True)
            unpacked.rename(target)
        except OSError as error:
            raise UpgradeError(f"{target} cannot be written ({error.strerror}); is the disk full?") from error

    def keep_only(self, versions: Collection[str]) -> None:
        """Remove all releases but these, and all of other platforms."""
        for folder in self._all.glob("*/*"):
            if folder.parent != self._folder or folder.name not in versions:
                shutil.rmtree(folder, ignore_errors=True)

    def _check_starts(self, version: str, unpacked: Path) -> None:
        try:
            said = subprocess.run(  # noqa: S603 - verified by the publisher's signature
                command("version"),
                env=environment(unpacked),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=defaults.UPGRADE_FIRST_START_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise ReleaseRefused(f"{version} does not start here: `aicn version` took too long") from error
        lines = said.stdout.decode(errors="replace").split()
        if said.returncode or lines != ["aicn", version]:
            told = (said.stderr or said.stdout).decode(errors="replace").strip().splitlines()[-1:]
            raise ReleaseRefused(f"{version} does not start here: {told[0][:300] if told else 'it said nothing'}")


def command(*words: str) -> list[str]:
    """Return the command line of `aicn words…` with this Python; -P keeps the working directory out of it."""
    return [sys.executable, "-P", "-m", "aicn", *words]


def environment(release: Path | None, *, supervised: bool = False) -> dict[str, str]:
    """Return the environment in which `command` runs a release.

    Args:
        release: its folder; None for the program that was installed.
        supervised: whether a supervisor waits for it.
    """
    env = {name: value for name, value in os.environ.items() if name != SUPERVISED}
    if release is not None:
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(release), os.environ.get("PYTHONPATH", ""))))
    if supervised:
        env[SUPERVISED] = "1"
    return env
