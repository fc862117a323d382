"""What requests have cost is believed within bounds, and keys are those of the datastore."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aicn import defaults
from aicn.clock import ManualClock
from aicn.config import LimitsConfig
from aicn.endpoints import Endpoint
from aicn.ids import InstanceId, ModelName, ProjectName
from aicn.node.accounts import Accounts
from aicn.node.background import Background
from aicn.store import KeyFile, KeyLimits, Store, Sums
from aicn.store.database import FILE_NAME
from aicn.store.ledger_reader import LedgerRow, read_ledger
from aicn.telemetry import Metrics, Occasion, Outcome, Side, Spent


class Books:
    """The accounts of a node, and what is in its datastore in the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.accounts = Accounts(LimitsConfig(), ManualClock())

    def spend(self, outcome: Outcome = Outcome.OK, key: str = "", **spent: Any) -> None:
        names = ProjectName("P"), ModelName("m"), InstanceId("")
        occasion = Occasion(Side.INPUT, Endpoint.CHAT, *names, None, "127.0.0.1", key=key)
        facts = {"peer": "n", "prompt_tokens": 1, "completion_tokens": 2, "images": 0, **spent}
        self.accounts.spend(Spent(occasion, outcome=outcome, **facts))

    async def rows(self) -> tuple[LedgerRow, ...]:
        await self.accounts.close()
        return read_ledger(self.folder / FILE_NAME)


@pytest.fixture
async def books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Books]:
    monkeypatch.setattr("aicn.defaults.KEYS_POLL_S", 0.01)
    with KeyFile(tmp_path) as file:
        file.add("Ann", 1, limits=KeyLimits(tokens_per_minute=defaults.REQUEST_TOKENS_MAX))
    store = await Store.open(tmp_path)
    background = Background()
    made = Books(tmp_path)
    await made.accounts.start(background, store, Metrics())
    yield made
    await background.stop()
    await made.accounts.close()
    await store.close()


async def test_what_was_refused_costs_nothing_and_what_nobody_answered_has_no_name(books: Books) -> None:
    books.spend(Outcome.LIMITED)
    books.spend(Outcome.REFUSED)
    books.spend(Outcome.NO_CANDIDATE, peer="", prompt_tokens=0, completion_tokens=0)
    books.spend()
    assert [(row.project, row.model, row.node, row.sums) for row in await books.rows()] == [
        ("", "", "", Sums(1, 1, 0, 0, 0)),
        ("P", "m", "n", Sums(1, 0, 1, 2, 0)),
    ]


async def test_a_worker_that_lies_about_tokens_costs_a_key_no_more_than_a_request_may(books: Books) -> None:
    for _ in range(3):
        books.spend(prompt_tokens=2**53, completion_tokens=2**53)
    (row,) = await books.rows()
    most = defaults.REQUEST_TOKENS_MAX
    assert (row.sums.prompt_tokens, row.sums.completion_tokens) == (3 * most, 3 * most)


async def test_keys_of_another_process_are_taken_up(books: Books) -> None:
    assert len(books.accounts.keyring) == 1
    with KeyFile(books.folder) as file:
        key, secret = file.add("Bob", 1)
    await until_found(books, secret, known=True)
    with KeyFile(books.folder) as file:
        file.revoke(key.id, 2)
    await until_found(books, secret, known=False)


async def until_found(books: Books, secret: str, *, known: bool) -> None:
    async with asyncio.timeout(20.0):
        while (books.accounts.keyring.find(secret, 3.0) is not None) != known:  # noqa: ASYNC110 - only asking again tells
            await asyncio.sleep(0.01)
