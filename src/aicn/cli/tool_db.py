"""`aicn tool db`: what a node keeps over its restarts."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from aicn.errors import UsageError
from aicn.tools.datastore import Entry, find_database, view_database

_SHOWN_CHARS: Final = 2_000
"""Longest value for people; JSON has all of it."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TIME: Final = re.compile(r"_unix(_(?P<unit>s|ms|us))?$")
_TICKS: Final = {"s": 1, "ms": 1_000, "us": 1_000_000}


@click.command(short_help="Look into a node's datastore; also while the node runs.")
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("show", required=False, type=click.Choice(["show"]), metavar="[show")
@click.argument("name", required=False, metavar="NAMESPACE")
@click.argument("key", required=False, metavar="[KEY]]")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 100_000), help="Entries shown at most.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def db(*, path: Path, show: str | None, name: str | None, key: str | None, limit: int, as_json: bool) -> None:
    """Show what is in the datastore at PATH: a node's datastore folder, its database or its configuration file.

    Without more words the namespaces and tables with their counts; with `show NAMESPACE` its entries, with a KEY that
    one. Nothing is changed, and a node that runs is not disturbed. What looks like a secret is not shown.

    \b
    Example:
      aicn tool db worker.json
      aicn tool db datastore show known-peers --limit 10
    """  # noqa: D301 - \b is click's: keep these lines as they are
    if show and not name:
        raise UsageError("say what to show: `aicn tool db PATH` lists the namespaces")
    found = find_database(path)
    with view_database(found) as view:
        sections = {section.name: section for section in view.sections()}
        if name is None:
            facts = {
                "path": str(found),
                "schema_version": view.schema_version,
                "sections": [
                    {"name": each.name, "entries": each.entries, "size_bytes": each.size_bytes}
                    for each in sections.values()
                ],
            }
            click.echo(json.dumps(facts, indent=2) if as_json else _summary(facts))
            return
        entries = view.entries(name, key=key, limit=limit)
    if as_json:
        shown = [{"key": entry.key, "value": entry.value} for entry in entries]
        click.echo(json.dumps({"name": name, "entries": sections[name].entries, "shown": shown}, indent=2))
        return
    for entry in entries:
        click.echo(_line(entry))
    left = sections[name].entries - len(entries)
    if key is None and left > 0:
        click.echo(f"… and {left} more; see --limit")


def _summary(facts: dict[str, Any]) -> str:
    lines = [f"{facts['path']} (schema {facts['schema_version']})"]
    for section in facts["sections"]:
        size = "" if section["size_bytes"] is None else f", {section['size_bytes']} bytes"
        lines.append(f"  {_plain(section['name']):24} {section['entries']:>8} entries{size}")
    return "\n".join(lines if facts["sections"] else [*lines, "  nothing yet"])


def _line(entry: Entry) -> str:
    value = entry.value
    if isinstance(value, dict):
        value = "  ".join(f"{name}={_field(name, each)}" for name, each in value.items())
    else:
        value = _field("", value)
    text = _plain(f"{entry.key}  {value}")
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}… ({len(text)} characters; --json shows all)"


def _field(name: str, value: Any) -> str:
    """Return one field for people: times as dates, lists and objects as JSON."""
    moment = _TIME.search(name)
    if moment is not None and isinstance(value, int | float):
        try:
            ticks = _TICKS[moment["unit"] or "s"]
            precision = "seconds" if ticks == 1 else "milliseconds"
            return datetime.fromtimestamp(value / ticks, UTC).isoformat(timespec=precision)
        except (ValueError, OverflowError, OSError):
            return str(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plain(text: str) -> str:
    """Return `text` without what a terminal would act on: peers have written some of it."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
