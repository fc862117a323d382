"""The history as another process reads it, while the node runs or after it: nothing is locked, nothing is changed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self
from urllib.parse import quote

from aicn.errors import StoreError, StoreMissing
from aicn.store.database import SCHEMA, is_compatible, schema_version
from aicn.store.history import COLUMNS, Entry

_SINCE_VERSION: Final = 7
"""Schema version that has the history with all its columns."""

_BUSY_TIMEOUT_S: Final = 5.0
"""Wait for a node that opens or closes the same file."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which entries are wanted; an empty text and None mean all."""

    model: str = ""
    """Name of the model, with or without its project and a slash before it."""
    peer: str = ""
    """Part of a peer id or a client's address, on either end."""
    outcome: str = ""
    side: str = ""
    since_unix_ms: int | None = None
    after_id: int = 0
    """Only entries written after that one."""
    limit: int = 100
    """At most so many, the latest."""


class Kept(NamedTuple):
    """An entry as it is kept."""

    id: int
    """Grows with each entry that is written."""
    entry: Entry
    prompt: str | None
    """The words of the request, if they are kept."""


class HistoryReader:
    """Reads the history in a datastore's file. A context manager; use from one thread."""

    def __init__(self, path: Path) -> None:
        """Open the file at `path`.

        Raises:
            StoreMissing: it is not there.
            StoreError: the file cannot be read, or its history is not one that this version knows.
        """
        self._path = path
        if not path.is_file():
            raise StoreMissing(f"there is no datastore at {path}; start the node once, or name another one")
        try:
            self._connection = sqlite3.connect(
                f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None
            )
        except sqlite3.Error as error:
            raise self._failure(error) from error
        try:
            self._check_version()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        """Return the reader itself."""
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        """Close the file."""
        self._connection.close()

    def read(self, query: Query) -> tuple[Kept, ...]:
        """Return the latest entries that `query` asks for, the oldest of them first.

        Raises:
            StoreError: the file cannot be read.
        """
        conditions = ["history.id > :after_id"]
        if query.model:
            conditions.append("(model = :model OR project || '/' || model = :model)")
        if query.peer:
            conditions.append("(instr(caller, :peer) OR instr(peer, :peer))")
        if query.outcome:
            conditions.append("outcome = :outcome")
        if query.side:
            conditions.append("side = :side")
        if query.since_unix_ms is not None:
            conditions.append("at_unix_ms >= :since_unix_ms")
        statement = (
            f"SELECT history.id, prompt, {', '.join(COLUMNS)} "  # noqa: S608 - our words; values are parameters
            "FROM history LEFT JOIN history_prompts ON history_prompts.id = history.id "
            f"WHERE {' AND '.join(conditions)} ORDER BY history.id DESC LIMIT :limit"
        )
        values = {name: getattr(query, name) for name in Query.__slots__}
        try:
            with closing(self._connection.execute(statement, values)) as cursor:
                rows = cursor.fetchall()
        except sqlite3.Error as error:
            raise self._failure(error) from error
        return tuple(Kept(number, Entry(*entry), prompt) for number, prompt, *entry in reversed(rows))

    def _check_version(self) -> None:
        try:
            version = schema_version(self._connection)
            too_new = version > len(SCHEMA) and not is_compatible(self._connection)
        except sqlite3.Error as error:
            raise self._failure(error) from error
        if version < _SINCE_VERSION:
            raise StoreError(f"{self._path} was made by an earlier version of aicn; start the node once with this one")
        if too_new:
            raise StoreError(f"{self._path} was made by a later version of aicn; read it with that one")

    def _failure(self, error: sqlite3.Error) -> StoreError:
        return StoreError(f"{self._path} cannot be read ({error}); check its rights, and that it is a datastore")
