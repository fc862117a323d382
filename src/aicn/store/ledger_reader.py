"""The ledger as another process reads it, while the node runs or after it: nothing is locked, nothing is changed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from aicn.errors import StoreError, StoreMissing
from aicn.store.database import SCHEMA, is_compatible, schema_version
from aicn.store.ledger import PLACE_COLUMNS, SUM_COLUMNS, Sums

_SINCE_VERSION = 9
"""Schema version that has the ledger."""

_BUSY_TIMEOUT_S = 5.0


class LedgerRow(NamedTuple):
    """What was used at one place."""

    day: str
    key: str
    """Id of the API key; empty: none."""
    key_name: str
    """Its name; empty if there is none, or it was forgotten."""
    project: str
    model: str
    node: str
    """Who answered; empty if nobody did."""
    sums: Sums


def read_ledger(path: Path, *, since: str = "", key: str = "") -> tuple[LedgerRow, ...]:
    """Return what was used, by day.

    Args:
        path: of the database file.
        since: first day, as 2026-11-23; empty: from the beginning.
        key: id or name of a key; empty: all, and what came without one.

    Raises:
        StoreMissing: the file is not there.
        StoreError: it cannot be read.
    """
    if not path.is_file():
        raise StoreMissing(f"there is no datastore at {path}; start the node once, or name another one")
    columns = ", ".join(f"ledger.{name}" for name in (*PLACE_COLUMNS, *SUM_COLUMNS))
    query = (
        f"SELECT coalesce(keys.name, ''), {columns} FROM ledger LEFT JOIN keys ON keys.id = ledger.key "  # noqa: S608
        "WHERE day >= :since AND (:key = '' OR ledger.key = :key OR keys.name = :key) "
        f"ORDER BY {', '.join(f'ledger.{name}' for name in PLACE_COLUMNS)}"
    )
    try:
        uri = f"file:{quote(str(path.absolute()))}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None)) as connection:
            version = schema_version(connection)
            if version < _SINCE_VERSION:
                raise StoreError(f"{path} was made by an earlier version of aicn; start the node once with this one")
            if version > len(SCHEMA) and not is_compatible(connection):
                raise StoreError(f"{path} was made by a later version of aicn; read it with that one")
            rows = connection.execute(query, {"since": since, "key": key}).fetchall()
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be read ({error}); check its rights, and that it is a datastore") from error
    return tuple(
        LedgerRow(day, number, name, project, model, node, Sums(*sums))
        for name, day, number, project, model, node, *sums in rows
    )
