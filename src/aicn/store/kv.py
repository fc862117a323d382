"""Keys and values by namespace, written by one thread so that the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
import functools
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from aicn import defaults
from aicn.errors import StoreClosed, StoreError, StoreLocked, StoreMissing
from aicn.filelock import FileLock
from aicn.store.database import open_database, transaction

_T = TypeVar("_T")

LOCK_NAME: Final = "aicn.lock"
"""Held while a node uses the folder; the operating system lets go of it when the node dies."""

_LOCK_TIMEOUT_S: Final = 1.0
"""A command that changes the datastore or the models of a node that does not run holds the lock for milliseconds."""


def in_use(folder: Path, *, timeout_s: float = 0.0) -> bool:
    """Tell whether a process uses the datastore in `folder`; nothing in it is changed.

    Args:
        folder: the datastore; one that is not there is not in use.
        timeout_s: how long to wait for who holds it for a moment; blocks the calling thread.

    Raises:
        StoreError: that cannot be told.
    """
    lock = FileLock(folder / LOCK_NAME)
    try:
        return (folder / LOCK_NAME).exists() and not lock.acquire(timeout_s)
    except OSError as error:
        raise StoreError(
            f"whether the datastore {folder} is in use cannot be told ({error.strerror}); check its rights"
        ) from error
    finally:
        lock.release()


class Store:
    """The datastore of one node. Use from one event loop; every call is one transaction.

    What a call has written survives the death of the process from the moment the call returns. A call that is
    cancelled is either done or not done, never half.
    """

    def __init__(self, connection: sqlite3.Connection, lock: FileLock, thread: ThreadPoolExecutor) -> None:
        """Take over what `open` has opened."""
        self._connection = connection
        self._lock = lock
        self._thread = thread
        self._places = asyncio.Semaphore(defaults.STORE_MAX_PENDING)
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, folder: str | Path) -> Store:
        """Open the store in `folder`, which must exist. A corrupt file is put aside and a new one begun.

        Raises:
            StoreMissing: the folder is not there, or is no folder.
            StoreLocked: another process uses it.
            StoreError: it cannot be written, or a later version of this program made its file.
        """
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="aicn-store")
        lock = FileLock(Path(folder) / LOCK_NAME)
        opening = thread.submit(_open, Path(folder), lock)
        try:
            return cls(await asyncio.shield(asyncio.wrap_future(opening)), lock, thread)
        except BaseException:
            # After a cancellation the thread may still be at it: what it opens, it closes as well.
            thread.submit(_abandon, opening, lock)
            thread.shutdown(wait=False)
            raise

    async def get(self, namespace: str, key: str) -> bytes | None:
        """Return the value, or None.

        Raises:
            StoreClosed, StoreError
        """
        query = "SELECT value FROM kv WHERE namespace = ? AND key = ?"
        rows = await self._run(lambda: self._connection.execute(query, (namespace, key)).fetchall())
        return rows[0][0] if rows else None

    async def items(self, namespace: str) -> tuple[tuple[str, bytes], ...]:
        """Return all keys and values of `namespace`, in the order of the keys.

        Raises:
            StoreClosed, StoreError
        """
        query = "SELECT key, value FROM kv WHERE namespace = ? ORDER BY key"
        return tuple(await self._run(lambda: self._connection.execute(query, (namespace,)).fetchall()))

    async def put(self, namespace: str, key: str, value: bytes) -> None:
        """Keep `value` under `key`, in place of what was there.

        Raises:
            StoreClosed, StoreError: also when a name or the value is too long, or the namespace is full.
        """
        for what, text in (("namespace", namespace), ("key", key)):
            if not text or len(text.encode()) > defaults.STORE_KEY_MAX_BYTES:
                raise StoreError(f"a {what} must have 1 to {defaults.STORE_KEY_MAX_BYTES} bytes; shorten it")
        if len(value) > defaults.STORE_VALUE_MAX_BYTES:
            raise StoreError(f"a value has {len(value)} bytes, {defaults.STORE_VALUE_MAX_BYTES} are allowed; split it")
        await self._run(functools.partial(self._put, namespace, key, value))

    async def delete(self, namespace: str, key: str) -> None:
        """Keep nothing under `key`.

        Raises:
            StoreClosed, StoreError
        """
        statement = "DELETE FROM kv WHERE namespace = ? AND key = ?"
        await self._run(lambda: self._connection.execute(statement, (namespace, key)))

    async def run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run `work` in the writer thread, in one transaction, after all that was asked before; return its value.

        Raises:
            StoreClosed, StoreError: nothing of it is kept then.
        """

        def within() -> _T:
            with transaction(self._connection):
                return work(self._connection)

        return await self._run(within)

    async def read(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run `work`, which changes nothing, in the writer thread, after all that was asked before; return its value.

        Raises:
            StoreClosed, StoreError
        """
        return await self._run(lambda: work(self._connection))

    async def close(self) -> None:
        """Finish the calls under way, close the file and let go of the folder. Safe to call again; each call waits."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        except sqlite3.Error as error:
            raise StoreError(f"the datastore did not close well ({error}); check the health of its disk") from error
        finally:
            self._thread.shutdown(wait=False)
            self._lock.release()

    async def _run(self, work: Callable[[], _T]) -> _T:
        """Run `work` in the writer thread, after all that was asked before."""
        async with self._places:
            if self._closing is not None:
                raise StoreClosed("the datastore was closed; nothing can be kept in it any more")
            try:
                return await asyncio.get_running_loop().run_in_executor(self._thread, work)
            except sqlite3.Error as error:
                raise StoreError(
                    f"the datastore failed ({error}); check the space and the health of its disk"
                ) from error

    def _put(self, namespace: str, key: str, value: bytes) -> None:
        connection = self._connection
        with transaction(connection):
            connection.execute("INSERT OR REPLACE INTO kv VALUES (?, ?, ?)", (namespace, key, value))
            (count,) = connection.execute("SELECT count(*) FROM kv WHERE namespace = ?", (namespace,)).fetchone()
            if count > defaults.STORE_NAMESPACE_MAX_ITEMS:
                raise StoreError(f"the namespace {namespace!r} is full ({count - 1} keys); delete some first")


def _open(folder: Path, lock: FileLock) -> sqlite3.Connection:
    if not folder.is_dir():
        raise StoreMissing(f"the datastore {folder} is no folder; make it, or change App.Datastore")
    try:
        taken = lock.acquire(_LOCK_TIMEOUT_S)
    except OSError as error:
        raise _unusable(folder, error) from error
    if not taken:
        raise StoreLocked(
            f"the datastore {folder} is in use by another process{_holder(folder)}; "
            "stop that one, or give this node another folder as App.Datastore"
        )
    try:
        try:
            lock.note(f"{os.getpid()}\n")
        except OSError as error:  # a full disk has no room even for that
            raise _unusable(folder, error) from error
        return open_database(folder)
    except BaseException:
        lock.release()
        raise


def _unusable(folder: Path, error: OSError) -> StoreError:
    return StoreError(
        f"the datastore {folder} cannot be used ({error.strerror}); check its rights and the space of its disk"
    )


def _holder(folder: Path) -> str:
    """Return ` (pid 123)` of who left its number in the lock file; nothing if none did."""
    try:
        noted = (folder / LOCK_NAME).read_bytes()[:20].strip()
    except OSError:
        return ""
    return f" (pid {noted.decode()})" if noted.isdigit() else ""


def _abandon(opening: Future[sqlite3.Connection], lock: FileLock) -> None:
    if opening.exception() is None:
        opening.result().close()
    lock.release()
