"""Writing a whole file so that at every moment, killed or not, either the old or the new one is there."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aicn import defaults
from aicn.errors import ConfigError
from aicn.filelock import hold


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Be the only one of all processes that writes configurations in `folder`. Blocks the calling thread.

    Raises:
        ConfigError: another process did not finish in time, or the folder is not there or cannot be opened.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; make it or choose another")

    def refuse() -> ConfigError:
        return ConfigError(
            f"another process has been writing in {folder} for {defaults.CONFIG_LOCK_TIMEOUT_S:.0f} s; "
            "end it and try again"
        )

    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(hold(folder, defaults.CONFIG_LOCK_TIMEOUT_S, refuse))
        except OSError as error:
            raise ConfigError(f"the folder {folder} cannot be opened ({error.strerror}); check its path") from error
        yield


def replace_file(path: Path, data: bytes) -> None:
    """Make `data` the content of `path`, readable by its owner only, and durable. Call it inside `writing`.

    The owner of a file that is there stays its owner where this process may see to that.

    Raises:
        OSError: it could not be written; what was there is there unchanged.
    """
    # One name for all writers, who come one at a time: what a killed one leaves, the next one removes.
    draft = path.with_name(f".{path.name}.tmp")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _keep_owner(descriptor, path)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable. Windows has no such call and needs none."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _keep_owner(descriptor: int, path: Path) -> None:
    if sys.platform == "win32":
        return
    try:
        before = path.stat()
    except FileNotFoundError:
        return
    made = os.fstat(descriptor)
    if stat.S_ISREG(before.st_mode) and (before.st_uid, before.st_gid) != (made.st_uid, made.st_gid):
        # Only root may give a file away; anybody else becomes its owner.
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, before.st_uid, before.st_gid)
