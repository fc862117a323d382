"""The ledger as another process reads it, while the node runs or after it: nothing is locked, nothing is changed."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from aicn.store.ledger import PLACE_COLUMNS, SUM_COLUMNS, Sums
from aicn.store.reading import reading

_SINCE_VERSION = 9
"""Schema version that has the ledger."""


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
    columns = ", ".join(f"ledger.{name}" for name in (*PLACE_COLUMNS, *SUM_COLUMNS))
    query = (
        f"SELECT coalesce(keys.name, ''), {columns} FROM ledger LEFT JOIN keys ON keys.id = ledger.key "  # noqa: S608
        "WHERE day >= :since AND (:key = '' OR ledger.key = :key OR keys.name = :key) "
        f"ORDER BY {', '.join(f'ledger.{name}' for name in PLACE_COLUMNS)}"
    )
    with reading(path, since_version=_SINCE_VERSION) as connection:
        rows = connection.execute(query, {"since": since, "key": key}).fetchall()
    return tuple(
        LedgerRow(day, number, name, project, model, node, Sums(*sums))
        for name, day, number, project, model, node, *sums in rows
    )
