"""API keys: who may ask, for what, and how much. Of a secret only its SHA-256 is kept.

A secret is 256 random bits, so a fast hash without salt is enough: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from urllib.parse import quote

from aicn import defaults
from aicn.errors import StoreError, UsageError
from aicn.filelock import FileLock
from aicn.ids import matches
from aicn.store.database import FILE_NAME, SCHEMA, is_busy, is_compatible, open_database, schema_version, transaction
from aicn.store.kv import LOCK_NAME
from aicn.store.reading import reading

SECRET_PREFIX: Final = "sk-aicn-"  # noqa: S105 - what every secret begins with, and no secret
"""So that a secret is known for what it is, by people and by programs that look for leaked ones."""

_SECRET_BYTES: Final = 32
_ID_BYTES: Final = 5
_SHOWN_CHARS: Final = len(SECRET_PREFIX) + 4
_BUSY_TIMEOUT_S: Final = 5.0
_POLL_S: Final = 0.02
_SINCE_VERSION: Final = 9
"""Schema version that has keys and ledger."""


class KeyLimits(NamedTuple):
    """What a key may use; 0: no limit."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    """Of questions and answers together, as the answers tell them."""
    concurrent: int = 0
    """Requests under way at once."""
    tokens_per_month: int = 0
    """In a calendar month, UTC."""

    @property
    def counts_tokens(self) -> bool:
        """Whether tokens are limited."""
        return bool(self.tokens_per_minute or self.tokens_per_month)


class ApiKey(NamedTuple):
    """One key, without its secret."""

    id: str
    name: str
    hash: bytes
    """SHA-256 of the secret."""
    shown: str
    """How the secret begins, to tell it from others."""
    admin: bool
    """Whether it may use the routes of the operator."""
    created_unix_s: int
    expires_unix_s: int | None
    revoked_unix_s: int | None
    models: tuple[str, ...]
    """Patterns of `project/model` that it may ask, with `*` and `?`; none: all."""
    limits: KeyLimits

    def is_valid(self, now_unix_s: float) -> bool:
        """Return whether it opens anything now."""
        expired = self.expires_unix_s is not None and now_unix_s >= self.expires_unix_s
        return self.revoked_unix_s is None and not expired

    def allows(self, project: str, model: str) -> bool:
        """Return whether it may ask that model."""
        name = f"{project}/{model}"
        return not self.models or any(matches(name, pattern) for pattern in self.models)


class _NotMade(Exception):
    """There is no datastore, or an old one: it may be being made or brought up to date just now."""


def hash_of(secret: str) -> bytes:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


_COLUMNS: Final = (
    "id, name, hash, shown, admin, created_unix_s, expires_unix_s, revoked_unix_s, models, "
    "requests_per_minute, tokens_per_minute, concurrent, tokens_per_month"
)


def read_keys(connection: sqlite3.Connection) -> tuple[ApiKey, ...]:
    """Return all keys, the oldest first."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM keys ORDER BY created_unix_s, id").fetchall()  # noqa: S608
    return tuple(_key(row) for row in rows)


def _key(row: tuple[Any, ...]) -> ApiKey:
    number, name, hashed, shown, admin, created, expires, revoked, models = row[:9]
    limits = KeyLimits(*row[9:])
    return ApiKey(
        number, name, hashed, shown, bool(admin), created, expires, revoked, tuple(json.loads(models)), limits
    )


def list_keys(folder: Path) -> tuple[ApiKey, ...]:
    """Return all keys in the datastore in `folder`, the oldest first, those that are revoked and expired too.

    Nothing is changed, whether a node runs or not; a damaged file stays where it is.

    Raises:
        StoreMissing: no node has used it, and no key was made in it.
        StoreError: it cannot be read, or another version of this program made it.
    """
    with reading(folder / FILE_NAME, since_version=_SINCE_VERSION) as connection:
        return read_keys(connection)


class KeyFile:
    """The keys in a datastore, to be changed by another process than the node: while it runs, or when it does not.

    A context manager; use from one thread.
    """

    def __init__(self, folder: Path) -> None:
        """Open the datastore in `folder`; if no node runs, it is brought up to date first.

        Raises:
            StoreError: it cannot be opened, or another version of this program made it.
        """
        self._lock = FileLock(folder / LOCK_NAME)
        deadline_s = time.monotonic() + _BUSY_TIMEOUT_S
        while (connection := self._opened(folder, last=time.monotonic() >= deadline_s)) is None:
            time.sleep(_POLL_S)
        self._connection = connection

    def _opened(self, folder: Path, *, last: bool) -> sqlite3.Connection | None:
        """Return the datastore, None if another process is making it just now, unless this is the `last` try."""
        try:
            alone = folder.is_dir() and self._lock.acquire()
        except OSError as error:
            raise StoreError(f"the datastore {folder} cannot be used ({error.strerror}); check its rights") from error
        try:
            return open_database(folder) if alone else _connect(folder / FILE_NAME)
        except _NotMade as error:
            if last:
                raise StoreError(str(error)) from None
            return None
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        """Return the keys themselves."""
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        """Close the datastore."""
        self._connection.close()
        self._lock.release()

    def all(self) -> tuple[ApiKey, ...]:
        """Return all keys, those that are revoked and expired too.

        Raises:
            StoreError: they cannot be read.
        """
        try:
            return read_keys(self._connection)
        except sqlite3.Error as error:
            raise _failure(error) from error

    def add(
        self,
        name: str,
        now_unix_s: int,
        *,
        admin: bool = False,
        expires_unix_s: int | None = None,
        models: tuple[str, ...] = (),
        limits: KeyLimits | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key; return it and its secret, which nobody can tell again.

        Raises:
            UsageError: there are too many keys.
            StoreError: it cannot be written.
        """
        secret = SECRET_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        made = ApiKey(
            f"key_{secrets.token_hex(_ID_BYTES)}",
            name,
            hash_of(secret),
            secret[:_SHOWN_CHARS],
            admin,
            now_unix_s,
            expires_unix_s,
            None,
            models,
            limits or KeyLimits(),
        )
        row = (*made[:4], int(admin), *made[5:8], json.dumps(models), *made.limits)
        marks = ", ".join("?" * len(row))
        try:
            with transaction(self._connection):
                (count,) = self._connection.execute("SELECT count(*) FROM keys").fetchone()
                if count >= defaults.KEYS_MAX:
                    raise UsageError(f"there are {count} keys, and no more are kept; revoke some with --forget")
                self._connection.execute(f"INSERT INTO keys ({_COLUMNS}) VALUES ({marks})", row)  # noqa: S608
        except sqlite3.Error as error:
            raise _failure(error) from error
        return made, secret

    def revoke(self, named: str, now_unix_s: int, *, forget: bool = False) -> ApiKey:
        """Close a key for good, and drop it from the list if it is to be forgotten.

        Args:
            named: its id or, if only one key has it, its name; of several keys those count that are not revoked.
            now_unix_s: seconds since 1970 UTC.
            forget: whether nothing is to be kept of it; the ledger keeps its id.

        Raises:
            UsageError: there is no such key, or more than one.
            StoreError: it cannot be written.
        """
        known = self.all()
        found = [key for key in known if key.id == named] or [key for key in known if key.name == named]
        if len(found) > 1:
            found = [key for key in found if key.revoked_unix_s is None] or found
        if len(found) != 1:
            how_many = "no key" if not found else f"{len(found)} keys"
            raise UsageError(f"{how_many} with the id or name {named!r}; `aicn keys list` shows their ids")
        key = found[0]
        try:
            with transaction(self._connection):
                if forget:
                    self._connection.execute("DELETE FROM keys WHERE id = ?", (key.id,))
                else:
                    statement = "UPDATE keys SET revoked_unix_s = coalesce(revoked_unix_s, ?) WHERE id = ?"
                    self._connection.execute(statement, (now_unix_s, key.id))
        except sqlite3.Error as error:
            raise _failure(error) from error
        return key


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file that a running node uses."""
    if not path.is_file():
        raise _NotMade(f"there is no datastore at {path}; name a node's datastore folder or its configuration")
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?mode=rw", uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None
        )
    except sqlite3.Error as error:
        raise _failure(error) from error
    try:
        _check_version(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise _failure(error) from error
    except (StoreError, _NotMade):
        connection.close()
        raise
    return connection


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    version = schema_version(connection)
    if version < _SINCE_VERSION:
        raise _NotMade(f"{path} is in use by an earlier version of aicn; stop that node, and start this version")
    if version > len(SCHEMA) and not is_compatible(connection):
        raise StoreError(f"{path} was made by a later version of aicn; use that one")


def _failure(error: sqlite3.Error) -> StoreError:
    advice = "try again in a moment" if is_busy(error) else "check the rights and the space of the disk"
    return StoreError(f"the keys cannot be read or written ({error}); {advice}")
