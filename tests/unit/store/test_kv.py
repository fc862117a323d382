from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aicn import defaults
from aicn.errors import StoreClosed, StoreError, StoreLocked, StoreMissing
from aicn.filelock import FileLock
from aicn.store import Store
from aicn.store.database import SCHEMA
from aicn.store.kv import LOCK_NAME


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path)
    yield store
    await store.close()


def quarantined(folder: Path) -> list[Path]:
    return sorted(folder.glob("aicn.db.corrupt-*"))


async def test_what_is_put_is_there_and_in_no_other_namespace(store: Store) -> None:
    assert await store.get("a", "k") is None
    await store.put("a", "k", b"1")
    await store.put("a", "k", b"\x00\xff")
    await store.put("a", "j", b"")
    await store.put("b", "k", b"3")
    assert await store.get("a", "k") == b"\x00\xff"
    assert await store.items("a") == (("j", b""), ("k", b"\x00\xff"))
    await store.delete("a", "k")
    await store.delete("a", "never there")
    assert await store.items("a") == (("j", b""),)
    assert await store.items("b") == (("k", b"3"),)
    assert await store.items("c") == ()


async def test_it_is_there_after_a_restart(tmp_path: Path) -> None:
    for n in range(3):
        store = await Store.open(str(tmp_path))
        await store.put("runs", str(n), b"")
        assert len(await store.items("runs")) == n + 1
        await store.close()
    assert quarantined(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights")
async def test_its_files_are_the_owners_only(tmp_path: Path, store: Store) -> None:
    await store.put("a", "k", b"1")
    files = [one for one in tmp_path.iterdir() if one.is_file()]
    assert {"aicn.db", "aicn.db-wal", "aicn.lock"} <= {one.name for one in files}
    assert {one.stat().st_mode & 0o077 for one in files} == {0}


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreMissing, match=r"nowhere is no folder; make it, or change App\.Datastore"):
        await Store.open(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(StoreMissing):
        await Store.open(tmp_path / "file")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


async def test_a_folder_in_use_names_who_uses_it(tmp_path: Path, store: Store) -> None:
    await store.put("a", "k", b"1")
    with pytest.raises(StoreLocked, match=rf"in use by another process \(pid {os.getpid()}\); stop that one"):
        await Store.open(tmp_path)
    assert await store.get("a", "k") == b"1"
    await store.close()
    await (await Store.open(tmp_path)).close()


async def test_a_folder_that_a_command_uses_for_a_moment_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = FileLock(tmp_path / LOCK_NAME)
    assert command.acquire()
    # It is done when the store would try for the second time.
    monkeypatch.setattr("aicn.filelock.time.sleep", lambda _: command.release())
    await (await Store.open(tmp_path)).close()


async def test_close_waits_for_what_was_asked_and_may_be_called_again(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    puts = [asyncio.ensure_future(store.put("a", str(n), b"x")) for n in range(100)]
    await asyncio.sleep(0)
    await asyncio.gather(store.close(), store.close())
    await store.close()
    await asyncio.gather(*puts)
    for use in (store.put("a", "k", b""), store.get("a", "k"), store.items("a"), store.delete("a", "k")):
        with pytest.raises(StoreClosed):
            await use
    again = await Store.open(tmp_path)
    assert len(await again.items("a")) == 100
    await again.close()


async def test_a_cancelled_close_still_closes(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await store.close()
    await (await Store.open(tmp_path)).close()


async def test_a_cancelled_open_lets_go_of_the_folder(tmp_path: Path) -> None:
    opening = asyncio.create_task(Store.open(tmp_path))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    async with asyncio.timeout(10):
        while True:
            try:
                store = await Store.open(tmp_path)
            except StoreLocked:
                continue
            break
    await store.close()


async def test_a_cancelled_call_leaves_the_store_usable(store: Store) -> None:
    calls = [asyncio.create_task(store.put("a", str(n), b"x")) for n in range(50)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    kept = {key for key, _ in await store.items("a")}
    assert {str(n) for n in range(1, 50, 2)} <= kept


async def test_more_calls_than_places_all_get_their_turn(store: Store) -> None:
    await asyncio.gather(*(store.put("a", f"{n % 500}", b"x") for n in range(defaults.STORE_MAX_PENDING + 500)))
    assert len(await store.items("a")) == 500


@pytest.mark.parametrize(
    ("namespace", "key", "size", "words"),
    [
        ("", "k", 1, "a namespace must have 1 to"),
        ("n" * 513, "k", 1, "a namespace must have 1 to"),
        ("n", "", 1, "a key must have 1 to"),
        ("n", "é" * 257, 1, "a key must have 1 to"),
        ("n", "k", defaults.STORE_VALUE_MAX_BYTES + 1, "are allowed; split it"),
    ],
)
async def test_everything_is_bounded(store: Store, namespace: str, key: str, size: int, words: str) -> None:
    with pytest.raises(StoreError, match=words):
        await store.put(namespace, key, b"x" * size)
    assert await store.items("n") == ()


async def test_a_full_namespace_takes_changes_but_nothing_new(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "STORE_NAMESPACE_MAX_ITEMS", 2)
    await store.put("a", "1", b"x")
    await store.put("a", "2", b"x")
    with pytest.raises(StoreError, match=r"'a' is full \(2 keys\)"):
        await store.put("a", "3", b"x")
    await store.put("a", "2", b"y")
    await store.put("b", "1", b"x")
    assert await store.items("a") == (("1", b"x"), ("2", b"y"))


@pytest.mark.parametrize("damage", ["head", "page", "cut"])
async def test_a_corrupt_file_is_put_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    store = await Store.open(tmp_path)
    for n in range(200):
        await store.put("a", str(n), b"x" * 200)
    await store.close()
    file = tmp_path / "aicn.db"
    good = file.read_bytes()
    bad = {
        "head": b"no database at all" + good[18:],
        "page": good[:4096] + b"\xff" * 8192 + good[12_288:],
        "cut": good[: len(good) // 2],
    }[damage]
    file.write_bytes(bad)
    store = await Store.open(tmp_path)
    assert await store.items("a") == ()
    await store.put("a", "new", b"1")
    await store.close()
    (aside,) = quarantined(tmp_path)
    assert aside.read_bytes() == bad
    (told,) = (record for record in caplog.records if "was corrupt" in record.getMessage())
    assert told.levelno == logging.ERROR
    assert aside.name in told.getMessage()
    assert "without its API keys, ledger and history" in told.getMessage()
    store = await Store.open(tmp_path)
    assert await store.items("a") == (("new", b"1"),)
    await store.close()


async def test_corrupt_files_do_not_pile_up(tmp_path: Path) -> None:
    for n in range(defaults.STORE_QUARANTINED_MAX + 2):
        (tmp_path / "aicn.db").write_bytes(b"junk %d" % n * 100)
        await (await Store.open(tmp_path)).close()
    kept = quarantined(tmp_path)
    assert len(kept) == defaults.STORE_QUARANTINED_MAX
    assert kept[-1].read_bytes().startswith(b"junk 4")


async def test_corrupt_files_keep_their_order_over_the_end_of_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = 1_000_000_000
    for n, now_ns in enumerate((5 * second - 1, 5 * second, 5 * second + 1)):
        monkeypatch.setattr(time, "time_ns", lambda now_ns=now_ns: now_ns)
        (tmp_path / "aicn.db").write_bytes(b"junk %d" % n * 100)
        await (await Store.open(tmp_path)).close()
    assert [file.read_bytes()[:6] for file in quarantined(tmp_path)] == [b"junk 0", b"junk 1", b"junk 2"]


async def test_a_file_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "aicn.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="made by a later version of aicn"):
        await Store.open(tmp_path)
    assert quarantined(tmp_path) == []
    # The lock went with the failure.
    (tmp_path / "aicn.db").unlink()
    await (await Store.open(tmp_path)).close()


async def test_a_file_of_a_later_version_that_has_only_been_added_to_is_used(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    await store.put("a", "k", b"1")
    await store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "aicn.db")) as later:
        later.execute("CREATE TABLE news (word TEXT)")
        later.execute("PRAGMA user_version = 99")
    for _ in range(2):
        store = await Store.open(tmp_path)
        assert await store.get("a", "k") == b"1"
        await store.put("a", "k", b"1")
        await store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "aicn.db")) as later:
        assert later.execute("PRAGMA user_version").fetchone() == (99,)
        later.execute(f"PRAGMA application_id = {len(SCHEMA) + 1}")
    with pytest.raises(StoreError, match="made by a later version of aicn"):
        await Store.open(tmp_path)


async def test_a_database_that_is_a_folder_is_an_error_and_not_corrupt(tmp_path: Path) -> None:
    (tmp_path / "aicn.db").mkdir()
    with pytest.raises(StoreError, match=r"aicn\.db cannot be opened"):
        await Store.open(tmp_path)
    assert quarantined(tmp_path) == []


async def test_a_failure_of_sqlite_is_a_store_error(store: Store) -> None:
    with pytest.raises(StoreError, match="the datastore failed") as failed:
        await store._run(lambda: store._connection.execute("SELECT nonsense"))
    assert isinstance(failed.value.__cause__, sqlite3.OperationalError)
    await store.put("a", "k", b"1")


WRITER = textwrap.dedent("""
    import asyncio, sys
    from aicn.store import Store

    async def main():
        store = await Store.open(sys.argv[1])
        n = len(await store.items("a"))
        while True:
            await store.put("a", f"{n:08d}", b"x" * 500)
            print(n, flush=True)
            n += 1

    asyncio.run(main())
""")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    acknowledged = -1
    for wanted in (1, 30, 80):
        process = subprocess.Popen(  # noqa: ASYNC220, S603 - our own words; nothing else runs in this loop
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                acknowledged = int(line)
                if acknowledged >= wanted:
                    process.send_signal(signal.SIGKILL)
                    break
            acknowledged = int(([str(acknowledged), *process.stdout.read().split()])[-1])
        process.wait()
        store = await Store.open(tmp_path)
        keys = [int(key) for key, _ in await store.items("a")]
        await store.close()
        assert keys == list(range(len(keys)))
        assert len(keys) > acknowledged
    assert quarantined(tmp_path) == []
