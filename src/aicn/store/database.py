"""The SQLite file: opened, brought up to date, put aside when it is corrupt. Blocks; for one thread only."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from aicn import defaults
from aicn.errors import StoreError

_log = logging.getLogger("aicn.store")

FILE_NAME: Final = "aicn.db"

SCHEMA: Final = (
    """
    CREATE TABLE kv (
        namespace TEXT NOT NULL,
        key       TEXT NOT NULL,
        value     BLOB NOT NULL,
        PRIMARY KEY (namespace, key)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE history (
        id                INTEGER PRIMARY KEY,
        at_unix_ms        INTEGER NOT NULL,
        side              TEXT NOT NULL,
        kind              TEXT NOT NULL,
        project           TEXT NOT NULL,
        model             TEXT NOT NULL,
        cid               TEXT NOT NULL,
        caller            TEXT NOT NULL,
        peer              TEXT NOT NULL,
        attempts          INTEGER NOT NULL,
        outcome           TEXT NOT NULL,
        status            INTEGER,
        first_byte_ms     REAL,
        total_ms          REAL NOT NULL,
        prompt_tokens     INTEGER,
        completion_tokens INTEGER,
        images            INTEGER,
        answer_bytes      INTEGER NOT NULL
    )
    """,
    "CREATE INDEX history_by_time ON history (at_unix_ms)",
    """
    CREATE TABLE history_prompts (
        id     INTEGER PRIMARY KEY,
        prompt TEXT NOT NULL
    )
    """,
    "ALTER TABLE history ADD COLUMN request_id TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE history ADD COLUMN key TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE history ADD COLUMN queue_ms REAL NOT NULL DEFAULT 0",
    """
    CREATE TABLE keys (
        id                  TEXT PRIMARY KEY,
        name                TEXT NOT NULL,
        hash                BLOB NOT NULL UNIQUE,
        shown               TEXT NOT NULL,
        admin               INTEGER NOT NULL,
        created_unix_s      INTEGER NOT NULL,
        expires_unix_s      INTEGER,
        revoked_unix_s      INTEGER,
        models              TEXT NOT NULL,
        requests_per_minute INTEGER NOT NULL,
        tokens_per_minute   INTEGER NOT NULL,
        concurrent          INTEGER NOT NULL,
        tokens_per_month    INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE ledger (
        day               TEXT NOT NULL,
        key               TEXT NOT NULL,
        project           TEXT NOT NULL,
        model             TEXT NOT NULL,
        node              TEXT NOT NULL,
        requests          INTEGER NOT NULL,
        failed            INTEGER NOT NULL,
        prompt_tokens     INTEGER NOT NULL,
        completion_tokens INTEGER NOT NULL,
        images            INTEGER NOT NULL,
        PRIMARY KEY (day, key, project, model, node)
    ) WITHOUT ROWID
    """,
)
"""One statement per schema version: the n-th leads from version n to n + 1."""

COMPATIBLE_SINCE: Final = 1
"""Programs that know this schema version can use the file as it is now: all steps after it have only added to it.

It is written into the file, so that a node whose upgrade is rolled back opens what the newer release has left.
"""

_CORRUPT_CODES: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY_CODE: Final = 0xFF
"""SQLite's extended codes keep the primary one in their low byte."""

_COMPANIONS: Final = ("", "-wal", "-shm")
"""The file and those that SQLite keeps beside it."""


def open_database(folder: Path) -> sqlite3.Connection:
    """Open the database in `folder`; make it if it is not there, put it aside and make a new one if it is corrupt.

    The caller holds the folder's lock.

    Raises:
        StoreError: the file cannot be opened, or a later version of this program made it.
    """
    path = folder / FILE_NAME
    try:
        try:
            return _open(path)
        except sqlite3.DatabaseError as error:
            if not is_corrupt(error):
                raise
            aside = _put_aside(path)
            _log.error(
                "%s was corrupt (%s) and is kept as %s; a new one was begun without its API keys, ledger and history: "
                "callers with keys are refused until new ones are made with `aicn keys add`; peers are learnt again",
                path,
                error,
                aside.name,
            )
            return _open(path)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{path} cannot be opened ({error}); check the rights and the space of its disk") from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write all that the block writes, or, if it raises, nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite has rolled back by itself after some errors, a full disk among them.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def is_corrupt(error: sqlite3.Error) -> bool:
    """Tell whether `error` says that the file is damaged, rather than busy, missing or on a full disk."""
    return _code(error) in _CORRUPT_CODES


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether `error` says that another process was writing all the time."""
    return _code(error) == sqlite3.SQLITE_BUSY


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary code, 0 where Python itself found the error."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE


def schema_version(connection: sqlite3.Connection) -> int:
    """Return how many of the steps of the schema the file has seen, of this program's or a later one's."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def is_compatible(connection: sqlite3.Connection) -> bool:
    """Tell whether a file of a later schema says of itself that this program can use it all the same."""
    return 0 < _compatible_since(connection) <= len(SCHEMA)


def _compatible_since(connection: sqlite3.Connection) -> int:
    # SQLite keeps this number for the program that owns the file; 0: nobody has set it.
    (since,) = connection.execute("PRAGMA application_id").fetchone()
    return int(since)


def _open(path: Path) -> sqlite3.Connection:
    # SQLite would make it readable by others; what it makes beside it takes the rights of this one.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # After a kill nothing is lost; after a power cut the last moments may be, the file is whole all the same.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA trusted_schema = OFF")
        # What is deleted, the words of a request say, is overwritten and not only forgotten.
        connection.execute("PRAGMA secure_delete = ON")
        _check(connection)
        _bring_up_to_date(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    version = schema_version(connection)
    if version > len(SCHEMA):
        if is_compatible(connection):
            return
        raise StoreError(
            f"{path} was made by a later version of aicn (schema {version}, this one knows {len(SCHEMA)}); "
            "use that version, or another folder as App.Datastore"
        )
    for number, statement in enumerate(SCHEMA[version:], start=version + 1):
        with transaction(connection):
            connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
    if _compatible_since(connection) != COMPATIBLE_SINCE:
        connection.execute(f"PRAGMA application_id = {COMPATIBLE_SINCE}")


def _check(connection: sqlite3.Connection) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        error = sqlite3.DatabaseError(str(verdict))
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def _put_aside(path: Path) -> Path:
    """Rename the database and what belongs to it, and return its new name; only the latest few are kept."""
    # Both parts from one look at the clock: of two, one before and one after a second's end, came names out of order,
    # and the newest file was taken for an old one.
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))
    aside = path.with_name(f"{path.name}.corrupt-{stamp}-{nanoseconds:09d}")
    for companion in _COMPANIONS:
        part = path.with_name(path.name + companion)
        if part.exists():
            part.rename(aside.with_name(aside.name + companion))
    kept = sorted(
        each for each in path.parent.glob(f"{path.name}.corrupt-*") if not each.name.endswith(_COMPANIONS[1:])
    )
    for old in kept[: -defaults.STORE_QUARANTINED_MAX]:
        for companion in _COMPANIONS:
            old.with_name(old.name + companion).unlink(missing_ok=True)
    return aside
