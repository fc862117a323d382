"""What machine this is: read apart, in bounded time, and remembered.

A fact that cannot be read is `unknown`, or 0 where a number is meant, or its list is empty. Nothing is read before
somebody asks.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Final

from aicn import defaults
from aicn.upkeep.apart import read_apart
from aicn.upkeep.operating_system import UNKNOWN
from aicn.wire.messages import HostInfoResponse, MemoryInfo, OSInfo

Source = Callable[[], Iterable[tuple[str, Any]]]
"""Reads the facts, one field of `HostInfoResponse` after the other; it may block between them."""


class Hardware:
    """The facts about this machine. One object may be asked by many tasks and loops at once."""

    def __init__(
        self,
        source: Source = read_apart,
        *,
        timeout_s: float = defaults.HARDWARE_TIMEOUT_S,
        max_age_s: float = defaults.HARDWARE_MAX_AGE_S,
    ) -> None:
        """Read nothing yet.

        Args:
            source: what reads the facts.
            timeout_s: how long a caller waits; then it gets what is known so far.
            max_age_s: how long facts are taken for true, in seconds.
        """
        self._source = source
        self._timeout_s = timeout_s
        self._max_age_s = max_age_s
        self._lock = threading.Lock()
        self._facts: dict[str, Any] = {}
        self._done: Future[None] | None = None
        self._begun_s = float("-inf")

    async def read(self) -> HostInfoResponse:
        """Return what is known of this machine, reading it first where that was long ago or never."""
        await asyncio.wait((asyncio.wrap_future(self._begin()),), timeout=self._timeout_s)
        with self._lock:
            facts = dict(self._facts)
        return HostInfoResponse(
            os=facts.get("os") or OSInfo(*[UNKNOWN] * 6),
            cpu=facts.get("cpu") or (),
            memory=facts.get("memory") or MemoryInfo(),
            disk=facts.get("disk") or (),
            gpu=facts.get("gpu") or (),
        )

    def _begin(self) -> Future[None]:
        """Return the reading under way, or the one whose facts are young enough, or a new one."""
        with self._lock:
            old = self._done is not None and self._done.done() and time.monotonic() > self._begun_s + self._max_age_s
            if self._done is None or old:
                self._done = Future()
                self._begun_s = time.monotonic()
                # A thread of its own, which the end of the program does not wait for: a driver that hangs must
                # hold up neither that nor a thread that others need. There is never more than one.
                threading.Thread(target=self._read, args=(self._done,), name="aicn-hardware", daemon=True).start()
            return self._done

    def _read(self, done: Future[None]) -> None:
        try:
            for name, fact in self._source():
                with self._lock:
                    self._facts[name] = fact
        finally:
            done.set_result(None)


_machine: Final = Hardware()
"""There is one machine, however many nodes one process runs."""


async def read_hardware() -> HostInfoResponse:
    """Return operating system, processors, memory, disks and graphics cards of this machine.

    Takes at most `defaults.HARDWARE_TIMEOUT_S`; later calls answer from memory for `defaults.HARDWARE_MAX_AGE_S`.
    Never raises for a fact that cannot be read, which is `unknown`, 0 or missing from its list.
    """
    return await _machine.read()


__all__ = ["Hardware", "Source", "read_hardware"]
