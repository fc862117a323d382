"""What was used, by day, key, model and node: sums that are kept for good and written behind.

A request costs an addition in memory; what has gathered is written about once a second. A node that is killed loses
that second. What a day may have is bounded, and so is how many days are kept: names come from strangers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from aicn import defaults
from aicn.clock import Clock
from aicn.errors import StoreError
from aicn.store.kv import Store

_log = logging.getLogger("aicn.store")

Place = tuple[str, str, str, str, str]
"""day as 2026-11-23, key, project, model, node"""


class Sums(NamedTuple):
    """What was used at one place."""

    requests: int = 0
    failed: int = 0
    """Of the requests, those that did not end well."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    images: int = 0

    def __add__(self, other: object) -> Sums:
        """Return the sums of both."""
        if not isinstance(other, Sums):
            return NotImplemented
        return Sums(*(one + more for one, more in zip(self, other, strict=True)))


PLACE_COLUMNS: Final = ("day", "key", "project", "model", "node")
SUM_COLUMNS: Final = Sums._fields

_UPSERT: Final = (
    f"INSERT INTO ledger ({', '.join((*PLACE_COLUMNS, *SUM_COLUMNS))}) "  # noqa: S608 - our words
    f"VALUES ({', '.join('?' * (len(PLACE_COLUMNS) + len(SUM_COLUMNS)))}) "
    f"ON CONFLICT ({', '.join(PLACE_COLUMNS)}) DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in SUM_COLUMNS)
)


class Ledger:
    """Takes sums at any time and writes them in `run`. Use from one event loop.

    Attributes:
        lost: sums that could not be kept, because too many places waited while the disk failed.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        """Write to `store`."""
        self._store = store
        self._clock = clock
        self._pending: dict[Place, Sums] = {}
        self._month = ""
        self._is_month_read = False
        """Whether the next one has what is in the file: clocks that are set come back to months that have been."""
        self._month_tokens: dict[str, int] = {}
        self._today = ""
        self._places: set[Place] = set()
        self._pruned = ""
        self._some = asyncio.Event()
        self._stop = asyncio.Event()
        self.lost = 0

    async def load(self) -> None:
        """Read what each key has used this month, and which sums there are of today.

        Raises:
            StoreError: it cannot be read.
        """
        self._today = today = self._day()
        self._places = await self._store.read(lambda connection: _places(connection, today))
        self._turn_month(today)
        await self._read_month()

    def add(self, key: str, project: str, model: str, node: str, sums: Sums) -> None:
        """Take in what one request has used. Never waits, never raises."""
        day = self._day()
        place = self._place(day, key, project, model, node)
        if place not in self._pending and len(self._pending) >= defaults.LEDGER_PENDING_MAX:
            self.lost += 1
        else:
            self._pending[place] = self._pending.get(place, Sums()) + sums
            self._some.set()
        self._turn_month(day)
        if key:
            self._month_tokens[key] = self._month_tokens.get(key, 0) + sums.prompt_tokens + sums.completion_tokens

    def month_tokens(self, key: str) -> int:
        """Return the tokens that `key` has used in this calendar month, UTC."""
        self._turn_month(self._day())
        return self._month_tokens.get(key, 0)

    def stop(self) -> None:
        """Let `run` write what is left and return. Idempotent."""
        self._stop.set()
        self._some.set()

    async def run(self) -> None:
        """Write what has come, until `stop`."""
        failing = False
        while True:
            stopping = self._stop.is_set()
            try:
                await self.flush()
                if not self._is_month_read:
                    await self._read_month()
            except StoreError as error:
                if not failing:
                    _log.warning("the ledger cannot be written, and is kept in memory: %s", error)
                failing = True
                self._some.set()
            else:
                failing = False
            if stopping:
                return
            await self._some.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(defaults.LEDGER_WRITE_DELAY_S):
                    await self._stop.wait()

    async def flush(self) -> None:
        """Write what waits.

        Raises:
            StoreError: the store does not take it; it still waits.
        """
        self._some.clear()
        pending, self._pending = self._pending, {}
        if not pending:
            return
        rows = [(*place, *sums) for place, sums in pending.items()]
        today = self._day()
        oldest = _days_before(today, defaults.LEDGER_KEPT_DAYS) if today != self._pruned else ""

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(_UPSERT, rows)
            if oldest:
                connection.execute("DELETE FROM ledger WHERE day < ?", (oldest,))

        try:
            await self._store.run(write)
            self._pruned = today
        except BaseException:
            for place, sums in pending.items():
                self._pending[place] = self._pending.get(place, Sums()) + sums
            raise

    async def _read_month(self) -> None:
        """Add up what each key has used this month: what is in the file, and what waits to be written there.

        Raises:
            StoreError: it cannot be read.
        """
        month = self._month
        used = await self._store.read(lambda connection: _month_tokens(connection, month))
        if month != self._month:
            return
        for (day, key, *_), sums in self._pending.items():
            if key and day.startswith(month):
                used[key] = used.get(key, 0) + sums.prompt_tokens + sums.completion_tokens
        self._month_tokens, self._is_month_read = used, True

    def _place(self, day: str, key: str, project: str, model: str, node: str) -> Place:
        """Return what to add to: the sum of exactly that or, where a day has too many, that of the key."""
        if day != self._today:
            self._today = day
            self._places.clear()
        place = (day, key, _named(project), _named(model), node)
        if place not in self._places:
            if len(self._places) >= defaults.LEDGER_PLACES_PER_DAY:
                return (day, key, "", "", "")
            self._places.add(place)
        return place

    def _day(self) -> str:
        return datetime.fromtimestamp(self._clock.unix(), UTC).date().isoformat()

    def _turn_month(self, day: str) -> None:
        if day[:7] != self._month:
            self._month, self._is_month_read = day[:7], False
            self._month_tokens.clear()
            self._some.set()


def _named(text: str) -> str:
    """Return what of a name can be kept: not too long, and nothing that UTF-8 cannot hold."""
    cut = text[: defaults.LEDGER_NAME_MAX_CHARS]
    return cut if cut.isascii() else cut.encode(errors="replace").decode()


def _days_before(day: str, days: int) -> str:
    return (date.fromisoformat(day) - timedelta(days=days)).isoformat()


def _places(connection: sqlite3.Connection, day: str) -> set[Place]:
    query = f"SELECT {', '.join(PLACE_COLUMNS)} FROM ledger WHERE day = ? LIMIT ?"  # noqa: S608 - our words
    return set(connection.execute(query, (day, defaults.LEDGER_PLACES_PER_DAY)).fetchall())


def _month_tokens(connection: sqlite3.Connection, month: str) -> dict[str, int]:
    rows = connection.execute(
        "SELECT key, sum(prompt_tokens + completion_tokens) FROM ledger "
        "WHERE key != '' AND substr(day, 1, 7) = ? GROUP BY key",
        (month,),
    )
    return dict(rows.fetchall())
