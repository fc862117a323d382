"""The history: written behind, bounded in every direction, read by others while it grows."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aicn import defaults
from aicn.clock import ManualClock
from aicn.errors import StoreError, StoreMissing
from aicn.store import Entry, History, HistoryReader, Kept, Query, Store
from aicn.store.database import FILE_NAME, SCHEMA
from support.hosts import until

ENTRY = Entry(
    at_unix_ms=1_000_000,
    side="input",
    kind="chat",
    project="P",
    model="m",
    cid="c1",
    caller="127.0.0.1",
    peer="16Uiu2HAmPeer",
    attempts=1,
    outcome="ok",
    status=200,
    first_byte_ms=12.5,
    total_ms=340.25,
    prompt_tokens=12,
    completion_tokens=34,
    images=None,
    answer_bytes=5_000,
)
UNIX_S = 1_000.0
"""The time of the entry."""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path)
    yield store
    await store.close()


def history(store: Store, **changes: Any) -> History:
    settings: dict[str, Any] = {"max_age_s": 3_600.0, "max_entries": 1_000, **changes}
    return History(store, ManualClock(unix_s=UNIX_S), **settings)


async def written(kept: History) -> None:
    """Let the history write and delete all that it should, once."""
    kept.stop()
    await kept.run()


def read(folder: Path, **query: Any) -> tuple[Kept, ...]:
    with HistoryReader(folder / FILE_NAME) as reader:
        return reader.read(Query(**query))


async def test_what_is_added_is_read_by_another_while_the_store_is_open(tmp_path: Path, store: Store) -> None:
    kept = history(store)
    failed = ENTRY._replace(status=None, first_byte_ms=None, prompt_tokens=None, outcome="unreachable", images=3)
    kept.add(ENTRY)
    kept.add(failed, "the words")
    assert kept.pending == 2
    await written(kept)
    assert kept.pending == 0
    assert [(each.entry, each.prompt) for each in read(tmp_path)] == [(ENTRY, None), (failed, "the words")]
    assert [each.id for each in read(tmp_path)] == [1, 2]


async def test_it_writes_by_itself_soon_and_not_for_each_entry(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "HISTORY_WRITE_DELAY_S", 0.0)
    kept = history(store)
    running = asyncio.create_task(kept.run())
    for number in range(3):
        for _ in range(100):
            kept.add(ENTRY)
        await until(lambda: len(read(tmp_path, limit=1_000)) == (number + 1) * 100)  # noqa: B023 - used here only
    kept.stop()
    await running
    assert kept.lost == 0


async def test_stopping_writes_what_is_left(tmp_path: Path, store: Store) -> None:
    kept = history(store)
    running = asyncio.create_task(kept.run())
    await asyncio.sleep(0)
    for _ in range(2_500):
        kept.add(ENTRY)
    kept.stop()
    async with asyncio.timeout(10):
        await running
    assert len(read(tmp_path, limit=10_000)) == 2_500


async def test_more_than_the_queue_holds_is_counted_as_lost(tmp_path: Path, store: Store) -> None:
    kept = history(store, max_pending=10)
    for number in range(25):
        kept.add(ENTRY._replace(answer_bytes=number))
    assert (kept.pending, kept.lost) == (10, 15)
    await written(kept)
    assert [each.entry.answer_bytes for each in read(tmp_path)] == list(range(10))


async def test_a_store_that_fails_costs_entries_and_is_told_once(
    tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    kept = history(store)
    await store.run(lambda connection: connection.execute("ALTER TABLE history RENAME TO hidden"))
    for _ in range(2):
        kept.add(ENTRY)
        with pytest.raises(StoreError):
            await kept.flush()
    kept.add(ENTRY)
    with caplog.at_level(logging.WARNING):
        await written(kept)
    assert len([record for record in caplog.records if "not kept" in record.message]) == 1
    assert kept.lost == 3
    await store.run(lambda connection: connection.execute("ALTER TABLE hidden RENAME TO history"))
    kept.add(ENTRY)
    await written(kept)
    assert len(read(tmp_path)) == 1


async def test_what_is_too_old_goes(tmp_path: Path, store: Store) -> None:
    kept = history(store, max_age_s=60.0)
    for age_s in (1_000, 61, 59, 500, 0):
        kept.add(ENTRY._replace(at_unix_ms=int(UNIX_S - age_s) * 1_000), "words")
    await written(kept)
    assert [each.entry.at_unix_ms for each in read(tmp_path)] == [941_000, 1_000_000]
    assert await store.run(lambda one: one.execute("SELECT count(*) FROM history_prompts").fetchone()) == (2,)


@pytest.mark.parametrize("batch", [1, 7, 1_000])
async def test_what_is_too_much_goes_the_oldest_first(
    tmp_path: Path, store: Store, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "HISTORY_BATCH_MAX", batch)
    kept = history(store, max_entries=20, max_prompts=5)
    for number in range(50):
        kept.add(ENTRY._replace(answer_bytes=number), f"words {number}")
    await written(kept)
    left = read(tmp_path, limit=100)
    assert [each.entry.answer_bytes for each in left] == list(range(30, 50))
    assert [each.prompt for each in left] == [None] * 15 + [f"words {number}" for number in range(45, 50)]


async def test_words_are_gone_from_the_disk_when_they_are_switched_off(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    kept = history(store)
    kept.add(ENTRY, "a secret wish")
    await written(kept)
    await store.close()
    assert b"a secret wish" in (tmp_path / FILE_NAME).read_bytes()

    store = await Store.open(tmp_path)
    await written(history(store, max_prompts=0))
    await store.close()
    assert [b"a secret wish" in path.read_bytes() for path in tmp_path.iterdir()] == [False, False]
    assert len(read(tmp_path)) == 1


async def test_queries(tmp_path: Path, store: Store) -> None:
    kept = history(store)
    kept.add(ENTRY)
    kept.add(ENTRY._replace(model="n", side="worker", caller="16Uiu2HAmOther", at_unix_ms=900_000))
    kept.add(ENTRY._replace(project="Q", outcome="cut", peer=""))
    await written(kept)

    def found(**query: Any) -> list[int]:
        return [each.id for each in read(tmp_path, **query)]

    assert found() == [1, 2, 3]
    assert found(limit=2) == [2, 3]
    assert found(model="m") == [1, 3]
    assert found(model="Q/m") == [3]
    assert found(model="M") == []
    assert found(peer="16Uiu2HAmOther") == [2]
    assert found(peer="Peer") == [1, 2]
    assert found(peer="%") == []
    assert found(outcome="cut") == [3]
    assert found(side="worker") == [2]
    assert found(since_unix_ms=900_001) == [1, 3]
    assert found(after_id=1, model="n", side="worker") == [2]
    assert found(model="' OR 1=1 --") == []


async def test_a_store_of_the_version_before_is_brought_up_to_date(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as old:
        old.execute(SCHEMA[0])
        old.execute("INSERT INTO kv VALUES ('a', 'k', x'01')")
        old.execute("PRAGMA user_version = 1")
        old.commit()
    with pytest.raises(StoreError, match="earlier version"):
        HistoryReader(tmp_path / FILE_NAME)
    store = await Store.open(tmp_path)
    kept = history(store)
    kept.add(ENTRY)
    await written(kept)
    assert await store.get("a", "k") == b"\x01"
    await store.close()
    assert len(read(tmp_path)) == 1


def test_a_reader_says_what_is_wrong_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(StoreMissing, match="there is no datastore"):
        HistoryReader(tmp_path / FILE_NAME)
    (tmp_path / FILE_NAME).write_bytes(b"no database at all, though long enough to look like one" * 100)
    with pytest.raises(StoreError, match="cannot be read"):
        HistoryReader(tmp_path / FILE_NAME)
    (tmp_path / FILE_NAME).unlink()
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as later:
        later.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="later version"):
        HistoryReader(tmp_path / FILE_NAME)


async def test_a_reader_reads_what_a_later_version_has_only_added_to(tmp_path: Path, store: Store) -> None:
    kept = history(store)
    kept.add(ENTRY)
    await written(kept)
    await store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as later:
        later.execute("PRAGMA user_version = 99")
    assert len(read(tmp_path)) == 1


async def test_a_reader_changes_nothing(tmp_path: Path, store: Store) -> None:
    kept = history(store)
    kept.add(ENTRY)
    await written(kept)
    with HistoryReader(tmp_path / FILE_NAME) as reader:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._connection.execute("DELETE FROM history")
        kept.add(ENTRY)
        await written(kept)
        assert len(reader.read(Query())) == 2
