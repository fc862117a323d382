"""Who may use this node as an Input, and what was used: keys, limits and ledger, kept in step with the datastore."""

from __future__ import annotations

import asyncio
import logging
import sqlite3

from aicn import defaults
from aicn.api import Admission, FairQueue, Keyring
from aicn.clock import Clock
from aicn.config import LimitsConfig
from aicn.errors import StoreError
from aicn.node.background import Background
from aicn.store import ApiKey, Ledger, Store, Sums, read_keys
from aicn.telemetry import Metrics, Outcome, Spent, metrics

_log = logging.getLogger("aicn.node")


class Accounts:
    """Owns the keyring, the admission of requests and the ledger.

    Attributes:
        keyring: the keys as they are now.
        admission: lets requests in.
    """

    def __init__(self, settings: LimitsConfig, clock: Clock) -> None:
        """Know no keys before `start`."""
        self._clock = clock
        self._ledger: Ledger | None = None
        self.keyring = Keyring()
        queue = FairQueue(settings.max_concurrent, settings.queue_length, settings.queue_timeout_s)
        self.admission = Admission(queue, clock, self._month_tokens)

    async def start(self, background: Background, store: Store, counted: Metrics) -> None:
        """Read what is in the datastore, and follow it.

        Raises:
            StoreError: it cannot be read.
        """
        self._ledger = ledger = Ledger(store, self._clock)
        await ledger.load()
        watch = _KeyWatch(store, self.keyring)
        await watch.look()
        background.spawn("keys", watch.run(), watch.stop)
        background.spawn("ledger", ledger.run(), ledger.stop)
        queue = self.admission.queue
        counted.read(metrics.QUEUED, lambda: [((), float(queue.waiting))])

    async def close(self) -> None:
        """Write what was used since the ledger's task has ended. The store must still be open."""
        if self._ledger is not None:
            try:
                await self._ledger.flush()
            except StoreError as error:
                _log.warning("the last requests are not in the ledger: %s", error)

    def spend(self, spent: Spent) -> None:
        """Take in what a request of a user has cost; an `aicn.telemetry.Spend`."""
        occasion = spent.occasion
        # A Worker says how many there were; one that lies may cost a key much, but not its years.
        prompt = min(spent.prompt_tokens, defaults.REQUEST_TOKENS_MAX)
        completion = min(spent.completion_tokens, defaults.REQUEST_TOKENS_MAX)
        if self._ledger is not None and spent.outcome not in {Outcome.LIMITED, Outcome.REFUSED}:
            sums = Sums(1, int(spent.outcome is not Outcome.OK), prompt, completion, spent.images)
            # What nobody answers has names that only the client knows: a table of them would grow as it likes.
            names = (occasion.project, occasion.model) if spent.peer else ("", "")
            self._ledger.add(occasion.key, *names, spent.peer, sums)
        key = self.keyring.by_id(occasion.key) if occasion.key else None
        if key is not None:
            self.admission.spent(key.id, key.limits, prompt + completion)

    def _month_tokens(self, key: str) -> int:
        return 0 if self._ledger is None else self._ledger.month_tokens(key)


class _KeyWatch:
    """Reads the keys again when another process, the command line say, has changed the datastore."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring
        self._version = -1
        self._stop = asyncio.Event()

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        failing = False
        while not self._stop.is_set():
            try:
                await self.look()
            except StoreError as error:
                if not failing:
                    _log.warning("changes of the API keys are not noticed: %s", error)
                failing = True
            else:
                failing = False
            try:
                async with asyncio.timeout(defaults.KEYS_POLL_S):
                    await self._stop.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        known = self._version
        version, keys = await self._store.read(lambda connection: _changed(connection, known))
        if keys is not None:
            self._keyring.replace(keys)
        self._version = version


def _changed(connection: sqlite3.Connection, known: int) -> tuple[int, tuple[ApiKey, ...] | None]:
    """Return the number of changes by others, and the keys if there were any since `known`."""
    (version,) = connection.execute("PRAGMA data_version").fetchone()
    return version, None if version == known else read_keys(connection)
