"""A look into a datastore: what is shown, what is not, and that nothing is disturbed."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from aicn.errors import StoreError, StoreMissing
from aicn.store import Store
from aicn.store.database import SCHEMA
from aicn.tools.datastore import HIDDEN, Entry, Section, find_database, view_database
from support.configurations import example, write


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Return a store that is open, as in a running node, with something in it."""
    store = await Store.open(tmp_path)
    await store.put("peers", "b", b'{"n": 2}')
    await store.put("peers", "a", b"[1, 2]")
    await store.put("other", "text", "wörter".encode())
    await store.put("other", "bytes", b"\xff\x00")
    yield store
    await store.close()


async def test_a_running_node_is_seen_and_goes_on(tmp_path: Path, store: Store) -> None:
    with view_database(find_database(tmp_path)) as view:
        assert view.sections()[:2] == (Section("other", 2, 9), Section("peers", 2, 14))
        assert view.schema_version == len(SCHEMA)
        await store.put("peers", "c", b"3")  # the writer does not wait for the reader
        assert view.entries("peers", limit=10) == (Entry("a", [1, 2]), Entry("b", {"n": 2}))
        assert view.entries("peers", limit=1) == (Entry("a", [1, 2]),)
        assert view.entries("other", key="text", limit=1) == (Entry("text", "wörter"),)
        assert view.entries("other", key="bytes", limit=1) == (Entry("bytes", "hex:ff00"),)
    with view_database(find_database(tmp_path)) as view:
        assert view.entries("peers", key="c", limit=1) == (Entry("c", "3"),)


async def test_nothing_can_be_written(tmp_path: Path, store: Store) -> None:
    with pytest.raises(StoreError, match="readonly"), view_database(find_database(tmp_path)) as view:
        view._connection.execute("DELETE FROM kv")
    assert await store.get("peers", "a") is not None


async def test_secrets_are_hidden_wherever_they_stand(tmp_path: Path, store: Store) -> None:
    await store.put("x", "k", b'{"PrivKey": "s", "a": [{"pre_shared_key": "s"}, {"tokens": 5}], "public_key": "p"}')
    with view_database(find_database(tmp_path)) as view:
        (entry,) = view.entries("x", limit=1)
    assert entry.value == {"PrivKey": HIDDEN, "a": [{"pre_shared_key": HIDDEN}, {"tokens": 5}], "public_key": "p"}


@pytest.mark.parametrize("without_rowid", [False, True])
def test_other_tables_are_shown_latest_first(tmp_path: Path, *, without_rowid: bool) -> None:
    path = tmp_path / "aicn.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        more = "WITHOUT ROWID" if without_rowid else ""
        connection.execute(f'CREATE TABLE "odd ""name" (id INTEGER PRIMARY KEY, model TEXT, api_key TEXT) {more}')
        connection.executemany('INSERT INTO "odd ""name" VALUES (?, ?, ?)', [(7, "m", "s"), (9, None, "s")])
        connection.commit()
    with view_database(path) as view:
        assert view.sections() == (Section('odd "name', 2, None),)
        rows = view.entries('odd "name', limit=5)
        assert view.entries('odd "name', key="7", limit=5) == rows[1:]
    assert rows == (
        Entry("9", {"id": 9, "model": None, "api_key": HIDDEN}),
        Entry("7", {"id": 7, "model": "m", "api_key": HIDDEN}),
    )


async def test_what_is_not_there_is_named(tmp_path: Path, store: Store) -> None:
    assert store is not None
    with view_database(find_database(tmp_path)) as view:
        with pytest.raises(StoreError, match=r"no 'frob' in this datastore; it has other, peers"):
            view.entries("frob", limit=1)
        with pytest.raises(StoreError, match="no 'z' in 'peers'"):
            view.entries("peers", key="z", limit=1)


async def test_where_the_datastore_is_found(tmp_path: Path) -> None:
    config = write(tmp_path / "worker.json", example(tmp_path))
    with pytest.raises(StoreMissing, match=r"aicn\.db"):
        find_database(config)
    await (await Store.open(tmp_path / "datastore")).close()
    found = tmp_path / "datastore" / "aicn.db"
    assert [find_database(path) for path in (config, found, found.parent)] == [found] * 3


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "aicn.db"
    path.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 20)
    with pytest.raises(StoreError, match="damaged or no datastore"), view_database(path) as view:
        view.sections()


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Have no rights that the files do not give."""
    if os.geteuid():
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="rights of files are those of POSIX")
async def test_a_folder_that_may_not_be_written() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = await Store.open(folder)
        await store.put("peers", "a", b"1")
        await store.close()
        (folder / "aicn.db").chmod(0o444)
        folder.chmod(0o555)
        with unprivileged(), view_database(find_database(folder)) as view:
            assert view.entries("peers", limit=1) == (Entry("a", "1"),)
        folder.chmod(0o755)
