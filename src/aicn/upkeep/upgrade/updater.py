"""From a source to a release that waits to be tried: look, verify, download, verify, unpack."""

from __future__ import annotations

import time
from typing import Final

import msgspec

from aicn import __version__, defaults
from aicn.errors import AicnError, ReleaseRefused, UpgradeError
from aicn.filelock import hold
from aicn.upkeep.upgrade.manifest import MANIFEST_NAME, Manifest, open_manifest
from aicn.upkeep.upgrade.releases import Releases
from aicn.upkeep.upgrade.settings import UpgradeSettings
from aicn.upkeep.upgrade.source import Source
from aicn.upkeep.upgrade.state import State, StateFile
from aicn.upkeep.upgrade.version import Version, this_platform

_LOCK: Final = "update.lock"


class Updater:
    """Looks at the source of one node. Blocks the calling thread; `aicn upgrade` gives it a process of its own."""

    def __init__(self, settings: UpgradeSettings, *, own_version: str = __version__) -> None:
        """Look for something newer than `own_version`, or than the release that runs if that is newer."""
        self._settings = settings
        self._own = Version.parse(own_version)
        self._source = Source(settings.source)
        self._state = StateFile(settings.state_path)
        self._releases = Releases(settings.home)

    def check(self) -> Manifest | None:
        """Return the manifest of a release that would be taken now; None if what runs is the newest.

        Raises:
            UpgradeError: the source cannot be read.
            ReleaseRefused: it offers something that must not be taken; nothing was changed.
        """
        manifest, state = self._look()
        return manifest if self._is_wanted(manifest, state) else None

    def apply(self) -> str:
        """Get ready what the source offers, to be tried at the next restart of the node.

        Returns:
            The version that waits; "" if what runs is the newest.

        Raises:
            UpgradeError: the source cannot be read, or the disk not be written.
            ReleaseRefused: it offers something that must not be taken; what runs stays as it is.
        """
        home = self._settings.home
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with hold(home / _LOCK, 0.0, lambda: UpgradeError("another process is getting a release ready; wait for it")):
            try:
                version = self._apply()
            except AicnError as error:
                self._remember(str(error))
                raise
            self._remember(f"{version} waits to be tried" if version else "what runs is the newest")
            return version

    def _apply(self) -> str:
        manifest, state = self._look()
        if not self._is_wanted(manifest, state):
            return ""
        version = manifest.version
        if state.pending != version or not self._releases.has(version):
            self._get(manifest)
            self._state.change(lambda now: msgspec.structs.replace(now, pending=version, attempts=0))
        return version

    def _look(self) -> tuple[Manifest, State]:
        data = self._source.read(MANIFEST_NAME, defaults.UPGRADE_MANIFEST_MAX_BYTES)
        manifest = open_manifest(data, self._settings.public_key)
        state = self._state.read()
        if state.newest and manifest.number < Version.parse(state.newest):
            raise ReleaseRefused(
                f"the source offers {manifest.version}, after it had offered {state.newest}: an old manifest was put "
                "in place of a newer one. Nothing of it is used; tell the publisher"
            )
        if manifest.version != state.newest:
            state = self._state.change(lambda now: msgspec.structs.replace(now, newest=manifest.version))
        return manifest, state

    def _is_wanted(self, manifest: Manifest, state: State) -> bool:
        running = self._own
        if self._releases.has(state.current):
            running = max(running, Version.parse(state.current))
        if manifest.number == running:
            return False
        if manifest.number < running:
            raise ReleaseRefused(
                f"the source offers {manifest.version}, older than {running}, which runs; a step back is never taken"
            )
        if reason := state.bad.get(manifest.version):
            raise ReleaseRefused(f"{manifest.version} is not tried again: {reason}. Wait for the next release")
        if running < Version.parse(manifest.minimum):
            raise ReleaseRefused(
                f"{manifest.version} takes over from {manifest.minimum} and later, and {running} runs; install "
                f"{manifest.minimum} by hand first"
            )
        return True

    def _get(self, manifest: Manifest) -> None:
        platform = this_platform()
        artefact = manifest.artefact_for(platform)
        if artefact is None:
            raise ReleaseRefused(f"{manifest.version} is not made for this machine ({platform})")
        with self._releases.download() as archive:
            self._source.download(artefact.name, archive, artefact.size_bytes, artefact.sha256)
            self._releases.add(manifest.version, archive)

    def _remember(self, outcome: str) -> None:
        now_s = time.time()
        self._state.change(lambda now: msgspec.structs.replace(now, checked_unix_s=now_s, outcome=outcome))
