from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aicn.clock import ManualClock
from aicn.errors import StoreError, StoreMissing
from aicn.store import KeyFile, Ledger, Store, Sums
from aicn.store.database import FILE_NAME
from aicn.store.ledger_reader import LedgerRow, read_ledger

DAY = "2023-11-14"
"""Where a `ManualClock` begins."""
ONE = Sums(1, 0, 10, 20, 0)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path)
    yield store
    await store.close()


async def test_sums_grow_by_day_key_model_and_node(store: Store, tmp_path: Path) -> None:
    clock = ManualClock()
    ledger = Ledger(store, clock)
    await ledger.load()
    for node in ("n1", "n1", "n2"):
        ledger.add("key_1", "P", "m", node, ONE)
    await ledger.flush()
    ledger.add("key_1", "P", "m", "n1", Sums(1, 1, 5, 0, 3))
    clock.advance(86_400)
    ledger.add("", "P", "m", "n1", ONE)
    await ledger.flush()
    path = tmp_path / FILE_NAME
    assert read_ledger(path) == (
        LedgerRow(DAY, "key_1", "", "P", "m", "n1", Sums(3, 1, 25, 40, 3)),
        LedgerRow(DAY, "key_1", "", "P", "m", "n2", ONE),
        LedgerRow("2023-11-15", "", "", "P", "m", "n1", ONE),
    )
    assert [row.day for row in read_ledger(path, since="2023-11-15")] == ["2023-11-15"]
    assert {row.key for row in read_ledger(path, key="key_1")} == {"key_1"}


async def test_names_of_keys_are_told_as_long_as_they_are_kept(store: Store, tmp_path: Path) -> None:
    with KeyFile(tmp_path) as file:
        key, _ = file.add("Ann", 1)
    ledger = Ledger(store, ManualClock())
    ledger.add(key.id, "P", "m", "n", ONE)
    await ledger.flush()
    assert [row.key_name for row in read_ledger(tmp_path / FILE_NAME, key="Ann")] == ["Ann"]
    with KeyFile(tmp_path) as file:
        file.revoke(key.id, 2, forget=True)
    assert [(row.key, row.key_name) for row in read_ledger(tmp_path / FILE_NAME)] == [(key.id, "")]


async def test_the_month_is_remembered_and_begins_anew(store: Store) -> None:
    clock = ManualClock()
    ledger = Ledger(store, clock)
    await ledger.load()
    ledger.add("key_1", "P", "m", "n", ONE)
    ledger.add("", "P", "m", "n", ONE)
    assert ledger.month_tokens("key_1") == 30
    await ledger.flush()
    again = Ledger(store, clock)
    await again.load()
    assert (again.month_tokens("key_1"), again.month_tokens("key_2"), again.month_tokens("")) == (30, 0, 0)
    clock.advance(20 * 86_400)
    assert again.month_tokens("key_1") == 0
    again.add("key_1", "P", "m", "n", ONE)
    assert again.month_tokens("key_1") == 30


async def test_a_clock_that_is_set_forgives_nobody_his_month(store: Store) -> None:
    clock = ManualClock()
    ledger = Ledger(store, clock)
    await ledger.load()
    ledger.add("key_1", "P", "m", "n", ONE)
    await ledger.flush()
    clock.advance(20 * 86_400)
    assert ledger.month_tokens("key_1") == 0
    clock.advance(-20 * 86_400)
    ledger.add("key_1", "P", "m", "n", ONE)
    ledger.stop()
    await ledger.run()
    assert ledger.month_tokens("key_1") == 60
    ledger.add("key_1", "P", "m", "n", ONE)
    assert ledger.month_tokens("key_1") == 90


async def test_what_the_disk_does_not_take_is_kept(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    ledger = Ledger(store, ManualClock())
    ledger.add("key_1", "P", "m", "n", ONE)
    await store.run(lambda connection: connection.execute("ALTER TABLE ledger RENAME TO aside"))
    with pytest.raises(StoreError):
        await ledger.flush()
    ledger.add("key_1", "P", "m", "n", ONE)
    await store.run(lambda connection: connection.execute("ALTER TABLE aside RENAME TO ledger"))
    await ledger.flush()
    assert [row.sums.requests for row in read_ledger(tmp_path / FILE_NAME)] == [2]
    await store.close()


async def test_what_the_disk_did_not_take_is_tried_again_though_nobody_asks_for_more(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aicn.defaults.LEDGER_WRITE_DELAY_S", 0.01)
    ledger = Ledger(store, ManualClock())
    await store.run(lambda connection: connection.execute("ALTER TABLE ledger RENAME TO aside"))
    ledger.add("key_1", "P", "m", "n", ONE)
    task = asyncio.create_task(ledger.run())
    async with asyncio.timeout(20.0):
        while not caplog.messages:  # noqa: ASYNC110 - only the log tells
            await asyncio.sleep(0.01)
        await store.run(lambda connection: connection.execute("ALTER TABLE aside RENAME TO ledger"))
        while not read_ledger(tmp_path / FILE_NAME):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert len(caplog.messages) == 1, "and once is enough to say so"
    ledger.stop()
    await task


async def test_it_writes_by_itself_and_what_is_left_at_the_end(store: Store, tmp_path: Path) -> None:
    ledger = Ledger(store, ManualClock())
    task = asyncio.create_task(ledger.run())
    ledger.add("key_1", "P", "m", "n", ONE)
    ledger.stop()
    await task
    assert [row.sums for row in read_ledger(tmp_path / FILE_NAME)] == [ONE]


async def test_places_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aicn.defaults.LEDGER_PENDING_MAX", 2)
    ledger = Ledger(store, ManualClock())
    for name in "abca":
        ledger.add("", "P", name, "n", ONE)
    assert (len(ledger._pending), ledger.lost) == (2, 1)


def test_there_is_no_datastore(tmp_path: Path) -> None:
    with pytest.raises(StoreMissing, match="there is no datastore"):
        read_ledger(tmp_path / FILE_NAME)


async def test_a_day_with_too_many_names_is_summed_up_by_key(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aicn.defaults.LEDGER_PLACES_PER_DAY", 2)
    clock = ManualClock()
    ledger = Ledger(store, clock)
    await ledger.load()
    for name in "abcda":
        ledger.add("key_1", "P", name, "n", ONE)
    await ledger.flush()
    assert [(row.model, row.sums.requests) for row in read_ledger(tmp_path / FILE_NAME)] == [
        ("", 2),
        ("a", 2),
        ("b", 1),
    ]
    # A node that starts anew on the same day has no fresh room, and the next day has.
    again = Ledger(store, clock)
    await again.load()
    again.add("key_1", "P", "e", "n", ONE)
    clock.advance(86_400)
    again.add("key_1", "P", "e", "n", ONE)
    await again.flush()
    assert [row.model for row in read_ledger(tmp_path / FILE_NAME)] == ["", "a", "b", "e"]


async def test_old_days_are_dropped(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aicn.defaults.LEDGER_KEPT_DAYS", 2)
    clock = ManualClock()
    ledger = Ledger(store, clock)
    await ledger.load()
    for _ in range(5):
        ledger.add("key_1", "P", "m", "n", ONE)
        await ledger.flush()
        clock.advance(86_400)
    assert [row.day for row in read_ledger(tmp_path / FILE_NAME)] == ["2023-11-16", "2023-11-17", "2023-11-18"]


async def test_names_that_no_file_can_hold_stop_nothing(store: Store, tmp_path: Path) -> None:
    ledger = Ledger(store, ManualClock())
    await ledger.load()
    ledger.add("", "P\ud800", "m" * 10_000, "n", ONE)
    await ledger.flush()
    (row,) = read_ledger(tmp_path / FILE_NAME)
    assert (row.project, len(row.model)) == ("P?", 256)
