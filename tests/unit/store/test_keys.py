from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from aicn.errors import StoreError, StoreMissing, UsageError
from aicn.store import KeyFile, KeyLimits, Store, list_keys
from aicn.store.database import FILE_NAME, SCHEMA
from aicn.store.keys import SECRET_PREFIX, hash_of, read_keys

NOW_S = 1_700_000_000


def test_a_key_is_kept_without_its_secret(tmp_path: Path) -> None:
    limits = KeyLimits(1, 2, 3, 4)
    with KeyFile(tmp_path) as file:
        key, secret = file.add(
            "Ann", NOW_S, admin=True, expires_unix_s=NOW_S + 10, models=("P/*", "Q/m"), limits=limits
        )
        assert file.all() == (key,)
    with KeyFile(tmp_path) as file:
        assert file.all() == (key,)
    assert secret.startswith(SECRET_PREFIX)
    assert len(secret) == len(SECRET_PREFIX) + 43
    assert (key.hash, key.shown) == (hash_of(secret), secret[:12])
    assert key.limits == limits
    for path in tmp_path.iterdir():
        assert secret.encode()[12:] not in path.read_bytes()


def test_validity() -> None:
    with_end = ("id", "n", b"", "s", False, 0)
    from aicn.store import ApiKey  # noqa: PLC0415 - read where it is used

    key = ApiKey(*with_end, NOW_S, None, (), KeyLimits())
    assert key.is_valid(NOW_S - 1)
    assert not key.is_valid(NOW_S)
    assert key._replace(expires_unix_s=None).is_valid(10**12)
    assert not key._replace(expires_unix_s=None, revoked_unix_s=1).is_valid(0)


def test_a_key_is_revoked_by_id_or_name_and_forgotten_on_demand(tmp_path: Path) -> None:
    with KeyFile(tmp_path) as file:
        ann, _ = file.add("Ann", NOW_S)
        bob, _ = file.add("Bob", NOW_S)
        file.add("Bob", NOW_S)
        with pytest.raises(UsageError, match="2 keys with the id or name 'Bob'"):
            file.revoke("Bob", NOW_S)
        with pytest.raises(UsageError, match="no key with the id or name 'Carl'"):
            file.revoke("Carl", NOW_S)
        assert file.revoke("Ann", NOW_S + 1) == ann
        file.revoke("Ann", NOW_S + 2)
        (found,) = (key for key in file.all() if key.name == "Ann")
        assert found.revoked_unix_s == NOW_S + 1, "the first time counts"
        file.revoke(bob.id, NOW_S, forget=True)
        assert bob.id not in {key.id for key in file.all()}


async def test_keys_are_changed_while_a_node_uses_the_datastore(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    before = await store.read(lambda connection: connection.execute("PRAGMA data_version").fetchone())
    with KeyFile(tmp_path) as file:
        key, _ = file.add("Ann", NOW_S)
    after = await store.read(lambda connection: connection.execute("PRAGMA data_version").fetchone())
    assert before != after
    assert await store.read(read_keys) == (key,)
    await store.close()


async def test_a_datastore_that_is_written_to_all_the_time_is_none_that_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aicn.store.keys._BUSY_TIMEOUT_S", 0.01)
    store = await Store.open(tmp_path)
    await store.read(lambda connection: connection.execute("BEGIN IMMEDIATE"))
    with KeyFile(tmp_path) as file, pytest.raises(StoreError, match=r"\(database is locked\); try again in a moment"):
        file.add("Ann", NOW_S)
    await store.close()


def test_there_is_no_datastore(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no datastore at"):
        KeyFile(tmp_path / "nowhere")


async def test_a_node_of_an_earlier_version_is_running(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    with sqlite3.connect(tmp_path / FILE_NAME) as older:
        older.execute("PRAGMA user_version = 3")
    older.close()
    with pytest.raises(StoreError, match="in use by an earlier version"):
        KeyFile(tmp_path)
    with sqlite3.connect(tmp_path / FILE_NAME) as older:
        older.execute(f"PRAGMA user_version = {len(SCHEMA)}")
    older.close()
    await store.close()


def test_too_many_keys_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aicn.defaults.KEYS_MAX", 1)
    with KeyFile(tmp_path) as file:
        file.add("Ann", NOW_S)
        with pytest.raises(UsageError, match="there are 1 keys"):
            file.add("Bob", NOW_S)
        assert len(file.all()) == 1


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


async def test_keys_are_listed_while_a_node_runs_and_after_it(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    with KeyFile(tmp_path) as file:
        key, _ = file.add("Ann", NOW_S)
    assert list_keys(tmp_path) == (key,)
    await store.close()
    assert list_keys(tmp_path) == (key,)


def test_a_list_of_keys_begins_no_database(tmp_path: Path) -> None:
    with pytest.raises(StoreMissing, match=r"there is no datastore at .*; start the node once"):
        list_keys(tmp_path)
    assert files(tmp_path) == {}


@pytest.mark.parametrize("damage", ["head", "page"])
def test_a_list_of_keys_leaves_a_damaged_database_where_it_is(tmp_path: Path, damage: str) -> None:
    with KeyFile(tmp_path) as file:
        for number in range(200):
            file.add(f"{number}" * 20, NOW_S)
    good = (tmp_path / FILE_NAME).read_bytes()
    bad = {"head": b"no database at all" + good[18:], "page": good[:4096] + b"\xff" * (len(good) - 4096)}[damage]
    (tmp_path / FILE_NAME).write_bytes(bad)
    with pytest.raises(StoreError, match="is damaged or no datastore"):
        list_keys(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == bad
    assert not list(tmp_path.glob("*.corrupt-*"))


def test_a_list_of_keys_of_an_earlier_version(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE_NAME) as older:
        older.execute("PRAGMA user_version = 3")
    older.close()
    with pytest.raises(StoreError, match="made by an earlier version of aicn; start the node once"):
        list_keys(tmp_path)
