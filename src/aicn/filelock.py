"""A lock between processes that the operating system lets go of when its holder dies, however it dies."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_POLL_S: Final = 0.01
"""Pause between two tries; a holder writes one small file, which takes milliseconds."""

if sys.platform == "win32":
    import msvcrt

    _FAR: Final = 1 << 30
    """Windows locks bytes, and nobody else may read a locked one: lock one behind whatever is noted."""

    def _try_lock(descriptor: int) -> bool:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _open(path: Path) -> int:
        # Windows cannot open a folder; a file inside it stands for it.
        target = path / ".aicn.lock" if path.is_dir() else path
        return os.open(target, os.O_RDWR | os.O_CREAT, 0o600)
else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _open(path: Path) -> int:
        if path.is_dir():
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


class FileLock:
    """An exclusive lock on a file, which is made if it is not there, or on a folder.

    Two of them exclude each other even inside one process.
    """

    def __init__(self, path: Path) -> None:
        """Name what to lock; nothing is touched yet."""
        self._path = path
        self._descriptor: int | None = None

    def acquire(self, timeout_s: float = 0.0) -> bool:
        """Take the lock.

        Args:
            timeout_s: how long to try; blocks the calling thread.

        Returns:
            Whether it was taken.

        Raises:
            OSError: the file or folder cannot be opened.
        """
        if self._descriptor is not None:
            return True
        deadline_s = time.monotonic() + timeout_s
        descriptor = _open(self._path)
        try:
            while not _try_lock(descriptor):
                if time.monotonic() >= deadline_s:
                    os.close(descriptor)
                    return False
                time.sleep(_POLL_S)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def note(self, text: str) -> None:
        """Leave `text` in the locked file, for whoever finds it locked."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.write(self._descriptor, text.encode())

    def release(self) -> None:
        """Let go. Safe to call again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def hold(path: Path, timeout_s: float, refuse: Callable[[], Exception]) -> Iterator[None]:
    """Hold the lock on `path` for the length of a `with` block.

    Args:
        path: file or folder.
        timeout_s: how long to wait for another holder.
        refuse: makes the exception to raise when that was not enough.
    """
    lock = FileLock(path)
    if not lock.acquire(timeout_s):
        raise refuse()
    try:
        yield
    finally:
        lock.release()
