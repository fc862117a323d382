"""Who asked what of which model, when, how long it took and how it ended: a bounded table, written behind.

The paths of requests pay for putting a request into a queue, some microseconds; a task writes what has gathered.
If the disk is slower than the requests, those that find the queue full are counted as lost, and none waits.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from aicn import defaults
from aicn.clock import Clock
from aicn.errors import StoreError
from aicn.store.kv import Store

_log = logging.getLogger("aicn.store")


class Entry(NamedTuple):
    """One use of a model, as one side saw it. Times in milliseconds, sizes in bytes."""

    at_unix_ms: int
    """When it began."""
    side: str
    """`input`: the node that the client asked. `worker`: the node whose model server answered."""
    kind: str
    """What was asked for, as `aicn.endpoints.Endpoint.operation` says it: `chat`, `embeddings`, `image_edit`…"""
    project: str
    model: str
    cid: str
    """The instance; empty: any."""
    caller: str
    """Who asked: the address of a client, or the peer id of a node."""
    peer: str
    """Who answered; empty if nobody did."""
    attempts: int
    """How many peers were tried."""
    outcome: str
    """How it ended, a value of `aicn.telemetry.observer.Outcome`."""
    status: int | None
    """HTTP status of the answer."""
    first_byte_ms: float | None
    """From its begin to the first content."""
    total_ms: float
    """From its begin to its end."""
    prompt_tokens: int | None
    completion_tokens: int | None
    images: int | None
    answer_bytes: int
    request_id: str = ""
    """Names the request on its whole way."""
    key: str = ""
    """Id of the API key that it came with; empty: none."""
    queue_ms: float = 0.0
    """How long it waited for its turn."""


COLUMNS: Final = Entry._fields

_INSERT: Final = f"INSERT INTO history ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608

Written = tuple[Entry, str | None]
"""An entry, and the words of its request if they are kept."""


class History:
    """Takes entries at any time and writes them in `run`. Use from one event loop.

    Attributes:
        lost: entries that were not written: the queue was full, or the disk failed.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        max_age_s: float,
        max_entries: int,
        max_prompts: int = defaults.HISTORY_PROMPTS_MAX,
        max_pending: int = defaults.HISTORY_PENDING_MAX,
    ) -> None:
        """Write to `store`.

        Args:
            store: where the entries are kept.
            clock: tells which of them are too old.
            max_age_s: older ones are deleted.
            max_entries: so many are kept, the latest.
            max_prompts: of so many, the latest, the words are kept; 0: of none, and those that are there are deleted.
            max_pending: so many may wait to be written.
        """
        self._store = store
        self._clock = clock
        self._max_age_s = max_age_s
        self._max_entries = max_entries
        self._max_prompts = max_prompts
        self._max_pending = max_pending
        self._pending: deque[Written] = deque()
        self._some = asyncio.Event()
        self._stop = asyncio.Event()
        self._pruned_s = 0.0
        self.lost = 0

    @property
    def pending(self) -> int:
        """How many entries wait to be written."""
        return len(self._pending)

    def add(self, entry: Entry, prompt: str | None = None) -> None:
        """Take an entry, and the words of its request if they are to be kept. Never waits, never raises."""
        if len(self._pending) >= self._max_pending:
            self.lost += 1
            return
        self._pending.append((entry, prompt))
        self._some.set()

    def stop(self) -> None:
        """Let `run` write what is left and return. Idempotent."""
        self._stop.set()
        self._some.set()

    async def run(self) -> None:
        """Write what has come and delete what is too old or too much, until `stop`.

        A node does without its history better than it does without itself: if the store fails that is logged,
        once for each time that it begins to fail, and counted.
        """
        failing = False
        while True:
            stopping = self._stop.is_set()
            lost_before = self.lost
            try:
                await self.flush()
                await self._prune()
            except StoreError as error:
                if not failing:
                    _log.warning("requests are not kept in the history: %s", error)
                failing = True
            else:
                if failing or self.lost > lost_before:
                    _log.warning("%d requests are missing in the history", self.lost)
                failing = False
            if stopping:
                return
            await _either(self._some, timeout_s=defaults.HISTORY_PRUNE_GAP_S)
            await _either(self._stop, timeout_s=defaults.HISTORY_WRITE_DELAY_S)

    async def close(self) -> None:
        """Write what has come since `run` has ended. The store must still be open."""
        try:
            await self.flush()
        except StoreError as error:
            _log.warning("the last requests are not kept in the history: %s", error)

    async def flush(self) -> None:
        """Write what waits.

        Raises:
            StoreError: the store does not take it; the batch is lost, what came after it still waits.
        """
        self._some.clear()
        while self._pending:
            batch = [self._pending.popleft() for _ in range(min(len(self._pending), defaults.HISTORY_BATCH_MAX))]
            try:
                await self._store.run(lambda connection, batch=batch: _write(connection, batch))  # type: ignore[misc]
            except StoreError:
                self.lost += len(batch)
                raise

    async def _prune(self) -> None:
        """Delete what is too old or too much, a batch at a time, so that others can write in between."""
        now_s = self._clock.monotonic()
        if self._pruned_s and now_s - self._pruned_s < defaults.HISTORY_PRUNE_GAP_S:
            return
        oldest_unix_ms = int((self._clock.unix() - self._max_age_s) * 1_000)
        while await self._store.run(
            lambda connection: _delete(connection, oldest_unix_ms, self._max_entries, self._max_prompts)
        ):
            continue
        self._pruned_s = now_s


def _write(connection: sqlite3.Connection, batch: Sequence[Written]) -> None:
    if all(prompt is None for _, prompt in batch):
        connection.executemany(_INSERT, (entry for entry, _ in batch))
        return
    for entry, prompt in batch:
        row = connection.execute(_INSERT, entry).lastrowid
        if prompt is not None:
            connection.execute("INSERT INTO history_prompts (id, prompt) VALUES (?, ?)", (row, prompt))


def _delete(connection: sqlite3.Connection, oldest_unix_ms: int, max_entries: int, max_prompts: int) -> bool:
    """Delete a batch of what is too old or too much; return whether there may be more.

    Rows are numbered as they are written, so what is too much is below a number.
    """
    (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM history").fetchone()
    limit = defaults.HISTORY_BATCH_MAX
    may_be_more = False
    for tables, condition, bound in (
        (("history", "history_prompts"), "FROM history WHERE id <= ?", last - max_entries),
        (("history", "history_prompts"), "FROM history WHERE at_unix_ms < ?", oldest_unix_ms),
        (("history_prompts",), "FROM history_prompts WHERE id <= ?", last - max_prompts),
    ):
        gone = connection.execute(f"SELECT id {condition} LIMIT {limit}", (bound,)).fetchall()
        for table in tables:
            connection.executemany(f"DELETE FROM {table} WHERE id = ?", gone)  # noqa: S608 - our words
        may_be_more |= len(gone) == limit
    return may_be_more


async def _either(event: asyncio.Event, *, timeout_s: float) -> None:
    """Wait until `event` is set, for `timeout_s` at most."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
