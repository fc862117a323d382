"""A look into a node's datastore that changes nothing, also while the node runs."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from aicn.config import ConfigFile
from aicn.errors import StoreError, StoreMissing
from aicn.store.database import FILE_NAME, is_corrupt
from aicn.store.kv import LOCK_NAME

KEY_VALUES: Final = "kv"
"""The table whose rows are shown by namespace; every other table is shown as it is."""

HIDDEN: Final = "(hidden)"
"""Shown in place of what looks like a secret. A node keeps none in its datastore: this holds should one get there."""

_SECRET: Final = re.compile(
    r"priv(ate)?key|pre?sharedkey|psk|secret|passw(or)?d|passphrase|apikey|(access|auth|bearer)?token|authorization"
)
"""Names of fields, in lower case and without punctuation, that are not shown."""

_BUSY_TIMEOUT_S: Final = 5.0
"""Wait for a node that is folding its journal into the file, which takes milliseconds."""


@dataclass(frozen=True, slots=True)
class Section:
    """One namespace, or one table beside them."""

    name: str
    entries: int
    size_bytes: int | None
    """Length of its values together; None for a table."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a namespace, or one row of a table."""

    key: str
    value: Any
    """As JSON has it: decoded where it is JSON, text where it is text, else `hex:…`. Secrets are hidden."""


def find_datastore(path: Path) -> Path:
    """Return the datastore's folder that `path` means: itself, that of a configuration file, or of a database file.

    Raises:
        StoreMissing: there is none.
        ConfigError: a configuration file cannot be used.
    """
    if path.is_file() and path.name != FILE_NAME:
        folder = Path(ConfigFile.load(path).config.app.datastore)
        # Nobody may have used it yet: its node makes it when it starts.
        found = folder.is_dir()
    else:
        folder = path.parent if path.is_file() else path
        found = folder.is_dir() and _may_be_a_datastore(folder)
    if not found:
        raise StoreMissing(f"there is no datastore at {folder}; name a node's datastore folder or its configuration")
    return folder


def _may_be_a_datastore(folder: Path) -> bool:
    """Return whether a node has used it, or may begin to: it is empty."""
    try:
        return next(folder.iterdir(), None) is None or any((folder / name).exists() for name in (FILE_NAME, LOCK_NAME))
    except OSError:
        # Whoever opens it tells what is wrong with it.
        return True


def find_database(path: Path) -> Path:
    """Return the database file that `path` means: itself, the one in a folder, or that of a configuration file.

    Raises:
        StoreMissing: there is none.
        ConfigError: a configuration file cannot be used.
    """
    folder = Path(ConfigFile.load(path).config.app.datastore) if path.suffix == ".json" and path.is_file() else path
    found = folder / FILE_NAME if folder.is_dir() else folder
    if not found.is_file():
        raise StoreMissing(f"there is no datastore at {found}; name a node's datastore folder or its configuration")
    return found


@contextlib.contextmanager
def view_database(path: Path) -> Iterator[DatastoreView]:
    """Open the database file at `path` for reading, and close it at the end of the block.

    What the block sees is the datastore at one moment, whatever the node writes meanwhile.

    Raises:
        StoreError: it cannot be read, or is no datastore; also for what goes wrong inside the block.
    """
    try:
        with contextlib.closing(_open(path)) as connection:
            connection.execute("BEGIN")
            yield DatastoreView(connection)
    except sqlite3.Error as error:
        if is_corrupt(error):
            raise StoreError(
                f"{path} is damaged or no datastore ({error}); a node that starts puts it aside"
            ) from error
        raise StoreError(f"{path} cannot be read ({error}); check the rights of it and of its folder") from error


class DatastoreView:
    """What is in a datastore. Made by `view_database`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Read through `connection`."""
        self._connection = connection

    @property
    def schema_version(self) -> int:
        """The schema that the file was last brought up to."""
        version: int = self._connection.execute("PRAGMA user_version").fetchone()[0]
        return version

    def sections(self) -> tuple[Section, ...]:
        """Return the namespaces by name, then the other tables by name."""
        tables = self._tables()
        found = []
        if KEY_VALUES in tables:
            query = "SELECT namespace, count(*), sum(length(value)) FROM kv GROUP BY namespace ORDER BY namespace"
            found = [Section(*row) for row in self._connection.execute(query)]
        for table in tables:
            if table != KEY_VALUES:
                (count,) = self._connection.execute(f"SELECT count(*) FROM {_quoted(table)}").fetchone()  # noqa: S608
                found.append(Section(table, count, None))
        return tuple(found)

    def entries(self, section: str, *, key: str | None = None, limit: int) -> tuple[Entry, ...]:
        """Return what is in a section: keys in their order, rows the latest first.

        Args:
            section: name of a namespace or table.
            key: the only key, or row number, to return; None for all.
            limit: how many to return at most.

        Raises:
            StoreError: there is no such section, or no such key in it.
        """
        known = [each.name for each in self.sections()]
        if section not in known:
            raise StoreError(f"there is no {section!r} in this datastore; it has {', '.join(known) or 'nothing yet'}")
        in_table = section in self._tables() and section != KEY_VALUES
        found = tuple(self._rows(section, key, limit) if in_table else self._values(section, key, limit))
        if key is not None and not found:
            raise StoreError(f"there is no {key!r} in {section!r}; leave it out to see what there is")
        return found

    def _values(self, namespace: str, key: str | None, limit: int) -> Iterator[Entry]:
        query = "SELECT key, value FROM kv WHERE namespace = ?1 AND (?2 IS NULL OR key = ?2) ORDER BY key LIMIT ?3"
        for name, value in self._connection.execute(query, (namespace, key, limit)):
            yield Entry(str(name), _decoded(value))

    def _rows(self, table: str, key: str | None, limit: int) -> Iterator[Entry]:
        ((first, no_rowid),) = self._connection.execute(
            "SELECT c.name, t.wr FROM pragma_table_list(?1) t, pragma_table_info(?1) c WHERE c.cid = 0", (table,)
        )
        number = _quoted(first) if no_rowid else "rowid"
        query = (
            f"SELECT {number}, * FROM {_quoted(table)} WHERE ?1 IS NULL OR {number} = ?1 "  # noqa: S608 - quoted
            f"ORDER BY {number} DESC LIMIT ?2"
        )
        cursor = self._connection.execute(query, (key, limit))
        columns = [column[0] for column in cursor.description][1:]
        for name, *values in cursor:
            yield Entry(str(name), _shown(dict(zip(columns, map(_decoded, values), strict=True))))

    def _tables(self) -> tuple[str, ...]:
        query = (
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY 1"
        )
        return tuple(name for (name,) in self._connection.execute(query))


def _open(path: Path) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_TIMEOUT_S)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError:
        connection.close()
        # A folder that may not be written cannot hold SQLite's index of a journal. Without a journal none is needed.
        if path.with_name(path.name + "-wal").exists():
            raise
        return sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
    except BaseException:
        connection.close()
        raise
    return connection


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _decoded(value: object) -> Any:
    """Return a stored value as JSON has it, without what looks like a secret."""
    if isinstance(value, bytes | str):
        text = _text(value)
        if text is None:
            return f"hex:{bytes(value).hex()}" if isinstance(value, bytes) else value
        try:
            return _shown(json.loads(text)) if text[:1] in {"{", "["} else text
        except (ValueError, RecursionError):
            return text
    return value


def _text(value: bytes | str) -> str | None:
    if isinstance(value, str):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: HIDDEN if _is_secret(name) else _shown(each) for name, each in value.items()}
    return [_shown(each) for each in value] if isinstance(value, list) else value


def _is_secret(name: str) -> bool:
    return _SECRET.fullmatch(re.sub(r"[^a-z]", "", name.lower())) is not None
