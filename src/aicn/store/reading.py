"""The database as another process reads it, while the node runs or after it: nothing is locked, nothing is changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from aicn.errors import StoreError, StoreMissing
from aicn.store.database import SCHEMA, is_compatible, is_corrupt, schema_version

_BUSY_TIMEOUT_S: Final = 5.0
"""Wait for a node that opens or closes the same file."""


@contextmanager
def reading(path: Path, *, since_version: int) -> Iterator[sqlite3.Connection]:
    """Open the database file at `path` for the length of a `with` block.

    Args:
        path: of the file.
        since_version: the first schema version that has what is wanted.

    Raises:
        StoreMissing: the file is not there.
        StoreError: it cannot be read, is damaged, or of another version; also for what SQLite says inside the block.
    """
    if not path.is_file():
        raise StoreMissing(f"there is no datastore at {path}; start the node once, or name another one")
    try:
        uri = f"file:{quote(str(path.absolute()))}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None)) as connection:
            version = schema_version(connection)
            if version < since_version:
                raise StoreError(f"{path} was made by an earlier version of aicn; start the node once with this one")
            if version > len(SCHEMA) and not is_compatible(connection):
                raise StoreError(f"{path} was made by a later version of aicn; read it with that one")
            yield connection
    except sqlite3.Error as error:
        if is_corrupt(error):
            raise StoreError(
                f"{path} is damaged or no datastore ({error}); save a copy of it: a node that starts puts it aside"
            ) from error
        raise StoreError(f"{path} cannot be read ({error}); check its rights, and that it is a datastore") from error
