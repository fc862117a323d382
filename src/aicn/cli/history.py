"""`aicn history`: who asked what of which model, when, how long it took and how it ended."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from aicn import defaults
from aicn.cli.spreadsheet import csv_lines
from aicn.cli.times import moment_unix_s
from aicn.errors import UsageError
from aicn.store import Entry, HistoryReader, Kept, Query
from aicn.telemetry import Outcome, Side
from aicn.tools.datastore import find_database

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_FIELDS: Final = ("id", "at", *Entry._fields, "prompt")
"""Of an entry for programs, in their order."""

_COLUMNS: Final = (
    ("WHEN", 19),
    ("SIDE", 6),
    ("MODEL", 24),
    ("FROM", 15),
    ("TO", 12),
    ("FIRST", 8),
    ("TOTAL", 8),
    ("TOKENS", 11),
    ("BYTES", 9),
    ("OUTCOME", 0),
)
"""Title and width of each column for people; a longer value pushes the rest of its line."""

_PEER_SHOWN_CHARS: Final = 9
"""Of a peer id, its end: all of one network begin alike."""

_SHORT_KINDS: Final = {"chat": "", "image_generation": "image", "image_edit": "edit"}

Writer = Callable[[Iterable[Kept]], None]


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--model", default="", help="Only this model: its name, or PROJECT/NAME.")
@click.option("--peer", default="", help="Only with this peer or client on either end; a part of its id or address.")
@click.option("--side", type=click.Choice([one.value for one in Side]), help="Only what this side saw.")
@click.option("--outcome", type=click.Choice([one.value for one in Outcome]), help="Only what ended so.")
@click.option("--since", default="", help="Only what began since: a duration ago (24h, 90m), or a date and time.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1_000_000), help="The latest so many.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
def history(  # noqa: PLR0913 - one for each option
    *,
    path: Path,
    model: str,
    peer: str,
    side: str | None,
    outcome: str | None,
    since: str,
    limit: int,
    follow: bool,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Show the requests that a node has asked and answered, the latest last.

    PATH is the node's configuration file, its datastore folder or its database. The node may run meanwhile.
    """
    if as_json and as_csv:
        raise UsageError("choose one of --json and --csv")
    query = Query(
        model=model,
        peer=peer,
        side=side or "",
        outcome=outcome or "",
        since_unix_ms=_since_unix_ms(since),
        limit=limit,
    )
    with HistoryReader(find_database(path)) as reader:
        write = _json_lines if as_json else _csv_writer() if as_csv else _table_writer()
        found = reader.read(query)
        write(found)
        # As many as a node can have written in between.
        query = replace(query, limit=defaults.HISTORY_PENDING_MAX)
        while follow:
            if found:
                query = replace(query, after_id=found[-1].id)
            time.sleep(defaults.HISTORY_WRITE_DELAY_S)
            found = reader.read(query)
            write(found)


def _since_unix_ms(text: str) -> int | None:
    return int(moment_unix_s(text) * 1_000) if text else None


def _fields(kept: Kept) -> dict[str, Any]:
    """Return an entry for programs. Times are in UTC."""
    at = datetime.fromtimestamp(kept.entry.at_unix_ms / 1_000, UTC).isoformat(timespec="milliseconds")
    return {"id": kept.id, "at": at, **kept.entry._asdict(), "prompt": kept.prompt}


def _json_lines(found: Iterable[Kept]) -> None:
    for kept in found:
        click.echo(json.dumps(_fields(kept), ensure_ascii=False))


def _csv_writer() -> Writer:
    click.echo(csv_lines([_FIELDS]), nl=False)

    def write(found: Iterable[Kept]) -> None:
        fields = map(_fields, found)
        click.echo(csv_lines([each[name] for name in _FIELDS] for each in fields), nl=False)

    return write


def _table_writer() -> Writer:
    click.echo("  ".join(title.ljust(width) for title, width in _COLUMNS))

    def write(found: Iterable[Kept]) -> None:
        for kept in found:
            cells = zip(_cells(kept.entry), _COLUMNS, strict=True)
            click.echo("  ".join(_plain(cell).ljust(width) for cell, (_, width) in cells).rstrip())
            if kept.prompt is not None:
                click.echo(f"    {_plain(kept.prompt)}")

    return write


def _cells(entry: Entry) -> tuple[str, ...]:
    """Return an entry for people, one text for each column. Times are local."""
    kind = _SHORT_KINDS.get(entry.kind, entry.kind)
    outcome = entry.outcome if entry.status in {None, 200} else f"{entry.outcome} ({entry.status})"
    return (
        datetime.fromtimestamp(entry.at_unix_ms / 1_000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S"),
        entry.side,
        f"{entry.project}/{entry.model}{f'#{entry.cid}' if entry.cid else ''}{f' ({kind})' if kind else ''}",
        _who(entry.caller),
        _who(entry.peer) + (f" ({entry.attempts})" if entry.attempts > 1 else ""),
        _seconds(entry.first_byte_ms),
        _seconds(entry.total_ms),
        _amount(entry),
        str(entry.answer_bytes),
        outcome,
    )


def _who(name: str) -> str:
    if not name:
        return "-"
    return f"…{name[-_PEER_SHOWN_CHARS:]}" if name.isalnum() and len(name) > 2 * _PEER_SHOWN_CHARS else name


def _seconds(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds / 1_000:.3f}s"


def _amount(entry: Entry) -> str:
    if entry.images:
        return f"{entry.images} img"
    if entry.prompt_tokens is None and entry.completion_tokens is None:
        return "-"
    told = ("?" if count is None else str(count) for count in (entry.prompt_tokens, entry.completion_tokens))
    return "+".join(told)


def _plain(text: str) -> str:
    """Return `text` without what a terminal would act on: callers and peers have written some of it."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
