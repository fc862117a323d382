"""What is remembered about releases: one small file, replaced whole, written by one process at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from aicn import defaults
from aicn.config.replace import replace_file
from aicn.errors import UpgradeError
from aicn.filelock import hold

_LOCK_TIMEOUT_S: Final = 10.0
"""Wait for another writer; one takes milliseconds."""

_BAD_MAX: Final = 64
"""Versions remembered as bad; the oldest are forgotten, and are too old to be taken anyway."""


class State(msgspec.Struct, frozen=True):
    """What this node knows of releases. Versions are written as in manifests; "" is none."""

    current: str = ""
    """The release that runs; "" is the program that was installed by hand."""
    previous: str = ""
    """What ran before it."""
    pending: str = ""
    """A release that is unpacked and verified, to be tried at the next restart."""
    attempts: int = 0
    """How often `pending` was started without coming to an end."""
    newest: str = ""
    """The highest version that a good manifest has ever named: older manifests are replayed ones."""
    bad: dict[str, str] = {}
    """Versions that failed, and why. They are not tried again."""
    checked_unix_s: float = 0.0
    """When the source was last asked, in seconds since 1970."""
    outcome: str = ""
    """What came of it, in one sentence."""

    def with_bad(self, version: str, reason: str) -> State:
        """Return the state with `version` given up."""
        bad = dict([*self.bad.items(), (version, reason)][-_BAD_MAX:])
        changed: State = msgspec.structs.replace(
            self, bad=bad, pending="", attempts=0, outcome=f"{version} was rolled back: {reason}"
        )
        return changed


class StateFile:
    """The file, and the lock that its writers hold. Blocks the calling thread for milliseconds."""

    def __init__(self, path: Path) -> None:
        """Name the file; it need not be there."""
        self._path = path

    def read(self) -> State:
        """Return what is remembered; a fresh state if there is none.

        Raises:
            UpgradeError: the file cannot be read.
        """
        try:
            with self._path.open("rb") as file:
                return msgspec.json.decode(file.read(defaults.UPGRADE_MANIFEST_MAX_BYTES), type=State)
        except FileNotFoundError:
            return State()
        except (OSError, msgspec.DecodeError) as error:
            raise UpgradeError(
                f"{self._path} cannot be read ({error}); remove it to begin anew with the installed program"
            ) from error

    def change(self, change: Callable[[State], State]) -> State:
        """Write what `change` makes of the state, and return it.

        Raises:
            UpgradeError: the file cannot be read or written.
        """
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with hold(self._path.parent, _LOCK_TIMEOUT_S, self._busy):
                changed = change(self.read())
                replace_file(self._path, msgspec.json.format(msgspec.json.encode(changed), indent=2) + b"\n")
        except OSError as error:
            raise UpgradeError(f"{self._path} cannot be written ({error.strerror}); is the disk full?") from error
        return changed

    def _busy(self) -> UpgradeError:
        return UpgradeError(f"another process has been writing {self._path} for {_LOCK_TIMEOUT_S:g} s; try again")
