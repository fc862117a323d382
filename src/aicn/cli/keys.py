"""`aicn keys`: who may use this node from elsewhere, for what, and how much."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from aicn.cli import exits
from aicn.cli.times import moment_unix_s
from aicn.errors import StoreError, UsageError
from aicn.ids import name_fault
from aicn.store import ApiKey, KeyFile, KeyLimits, list_keys
from aicn.tools.datastore import find_datastore

_NAME_MAX_BYTES: Final = 100
_PATTERN_MAX_BYTES: Final = 600
_MODELS_MAX: Final = 100

_limit = click.IntRange(1, 10**12)


@click.group()
def keys() -> None:
    """Make, list and revoke API keys. A running node takes up every change within a second."""


@keys.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Whose it is, or what for.")
@click.option("--expires", default=None, help="When it ends: in a while (720h), or a date and time.")
@click.option("--model", "models", multiple=True, help="PROJECT/MODEL that it may ask, with * and ?; may come again.")
@click.option("--requests-per-minute", type=_limit, default=None)
@click.option("--tokens-per-minute", type=_limit, default=None, help="Of questions and answers together.")
@click.option("--concurrent", type=_limit, default=None, help="Requests under way at once; others wait.")
@click.option("--tokens-per-month", type=_limit, default=None, help="In a calendar month, UTC.")
@click.option("--admin", is_flag=True, help="It may use the routes of the operator too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def add(  # noqa: PLR0913 - one for each option
    *,
    path: Path,
    name: str,
    expires: str | None,
    models: tuple[str, ...],
    requests_per_minute: int | None,
    tokens_per_minute: int | None,
    concurrent: int | None,
    tokens_per_month: int | None,
    admin: bool,
    as_json: bool,
) -> None:
    """Make a key and show its secret, once.

    PATH is the node's configuration file, its datastore folder or its database. The node may run meanwhile.
    """
    now_s = int(time.time())
    if not name.strip() or (fault := name_fault(name, _NAME_MAX_BYTES)):
        raise UsageError(f"the name {fault if name.strip() else 'is empty'}; give the key another one")
    ends_s = None if expires is None else int(moment_unix_s(expires, ahead=True))
    if ends_s is not None and ends_s <= now_s:
        raise UsageError(f"{expires!r} is over already; write a time to come, 720h or 2027-01-31 say")
    _check_patterns(models)
    limits = KeyLimits(requests_per_minute or 0, tokens_per_minute or 0, concurrent or 0, tokens_per_month or 0)
    with KeyFile(find_datastore(path)) as file:
        key, secret = file.add(name, now_s, admin=admin, expires_unix_s=ends_s, models=models, limits=limits)
        shown = json.dumps({**_described(key), "secret": secret}, ensure_ascii=False) if as_json else secret
        try:
            _show(shown)
        except (OSError, UnicodeError) as error:
            # Nobody could use it, or tell it from others by its secret.
            file.revoke(key.id, now_s)
            exits.drop_output()
            reason = getattr(error, "strerror", None) or error
            raise StoreError(
                f"the secret of {key.id} could not be written to the standard output ({reason}), and the key was "
                "revoked again; make one where its secret can be shown"
            ) from error
    if not as_json:
        click.echo(f"This is {key.id} ({key.name}). Its secret is shown now and never again.", err=True)


@keys.command(name="list")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def list_(*, path: Path, as_json: bool) -> None:
    """Show all keys, without their secrets.

    PATH is as of `add`.
    """
    found = list_keys(find_datastore(path))
    if as_json:
        for key in found:
            click.echo(json.dumps(_described(key), ensure_ascii=False))
        return
    rows = [("ID", "BEGINS", "NAME", "STATE", "MADE", "MAY"), *(_row(key) for key in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@keys.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("key")
@click.option("--forget", is_flag=True, help="Drop it from the list too.")
def revoke(*, path: Path, key: str, forget: bool) -> None:
    """Close KEY, an id or a name, for good; a running node refuses it within a second.

    PATH is as of `add`.
    """
    with KeyFile(find_datastore(path)) as file:
        closed = file.revoke(key, int(time.time()), forget=forget)
    click.echo(f"{closed.id} ({closed.name}) opens nothing any more.")


def _show(line: str) -> None:
    if sys.stdout is None:  # closed by who started this; click would say nothing of it
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    click.echo(line)
    sys.stdout.flush()


def _check_patterns(models: tuple[str, ...]) -> None:
    if len(models) > _MODELS_MAX:
        raise UsageError(f"a key may name {_MODELS_MAX} models at most; use patterns, `demo/*` say")
    for pattern in models:
        if "/" not in pattern or name_fault(pattern, _PATTERN_MAX_BYTES):
            raise UsageError(f"{pattern!r} names no model; write PROJECT/MODEL, with * for anything: demo/*")


def _state(key: ApiKey) -> str:
    if key.revoked_unix_s is not None:
        return "revoked"
    if not key.is_valid(time.time()):
        return "expired"
    return "valid" if key.expires_unix_s is None else f"until {_day(key.expires_unix_s)}"


def _row(key: ApiKey) -> tuple[str, ...]:
    limits = key.limits
    may = [
        *(["administer"] if key.admin else []),
        ", ".join(key.models) or "all models",
        *([f"{limits.requests_per_minute} requests/min"] if limits.requests_per_minute else []),
        *([f"{limits.tokens_per_minute} tokens/min"] if limits.tokens_per_minute else []),
        *([f"{limits.concurrent} at once"] if limits.concurrent else []),
        *([f"{limits.tokens_per_month} tokens/month"] if limits.tokens_per_month else []),
    ]
    return key.id, f"{key.shown}…", key.name, _state(key), _day(key.created_unix_s), "; ".join(may)


def _day(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).date().isoformat()


def _time(unix_s: int | None) -> str | None:
    return None if unix_s is None else datetime.fromtimestamp(unix_s, UTC).isoformat()


def _described(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "begins": key.shown,
        "state": _state(key).partition(" ")[0].replace("until", "valid"),
        "admin": key.admin,
        "created": _time(key.created_unix_s),
        "expires": _time(key.expires_unix_s),
        "revoked": _time(key.revoked_unix_s),
        "models": list(key.models),
        **key.limits._asdict(),
    }
