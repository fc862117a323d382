"""`aicn ledger`: what was used, by day, key, model and node."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from aicn.cli.spreadsheet import csv_lines
from aicn.cli.times import moment_unix_s
from aicn.errors import UsageError
from aicn.store.ledger import SUM_COLUMNS, Sums
from aicn.store.ledger_reader import LedgerRow, read_ledger
from aicn.tools.datastore import find_database

_PLACE: Final = ("day", "key", "key_name", "project", "model", "node")


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--since", default="", help="From that day on: a while ago (720h), or a date.")
@click.option("--key", default="", help="Only this key: its id or name.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def ledger(*, path: Path, since: str, key: str, as_csv: bool, as_json: bool) -> None:
    """Show what users of this node have asked for: requests, tokens and images.

    PATH is the node's configuration file, its datastore folder or its database. The node may run meanwhile. Days are
    those of UTC.
    """
    if as_csv and as_json:
        raise UsageError("choose one of --json and --csv")
    day = datetime.fromtimestamp(moment_unix_s(since), UTC).date().isoformat() if since else ""
    rows = read_ledger(find_database(path), since=day, key=key)
    if as_csv:
        click.echo(_csv(rows), nl=False)
    elif as_json:
        for row in rows:
            click.echo(json.dumps(_fields(row), ensure_ascii=False))
    else:
        _table(rows)


def _fields(row: LedgerRow) -> dict[str, Any]:
    return {**{name: getattr(row, name) for name in _PLACE}, **row.sums._asdict()}


def _csv(rows: Iterable[LedgerRow]) -> str:
    cells = ((*(getattr(row, name) for name in _PLACE), *row.sums) for row in rows)
    return csv_lines([(*_PLACE, *SUM_COLUMNS), *cells])


def _table(rows: tuple[LedgerRow, ...]) -> None:
    total = sum((row.sums for row in rows), Sums())
    lines = [
        ("DAY", "KEY", "MODEL", "NODE", "REQUESTS", "FAILED", "IN", "OUT", "IMAGES"),
        *((row.day, _key(row), _model(row), row.node[-9:] or "-", *map(str, row.sums)) for row in rows),
        ("total", "", "", "", *map(str, total)),
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        cells = (
            cell.ljust(width) if column < 4 else cell.rjust(width)  # noqa: PLR2004 - texts, then numbers
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        click.echo("  ".join(cells).rstrip())


def _key(row: LedgerRow) -> str:
    return row.key_name or row.key or "-"


def _model(row: LedgerRow) -> str:
    name = f"{row.project}/{row.model}" if row.model else "-"
    return name if name.isprintable() else repr(name)
