"""Sends the heartbeats of this node: at start, at an interval, and soon after something changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aicn import defaults
from aicn.clock import Clock
from aicn.errors import HostClosed, NetworkError

_log = logging.getLogger("aicn.peers")

Wait = Callable[[asyncio.Event, float], Awaitable[None]]
"""Waits until the event is set, or for so many seconds."""


async def wait_for(event: asyncio.Event, seconds: float) -> None:
    """Wait until `event` is set, at most `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


class Heartbeater:
    """Publishes a heartbeat when it is due.

    `poke` may be called at any rate: changes closer together than the gap are sent as one, and each heartbeat
    tells the state of the moment it leaves, so that the last word is always the newest. Use from one event loop.
    """

    def __init__(
        self,
        publish: Callable[[bytes], Awaitable[object]],
        snapshot: Callable[[], bytes],
        interval_s: float,
        *,
        clock: Clock,
        min_gap_s: float = defaults.HEARTBEAT_MIN_GAP_S,
        goodbye: Callable[[], bytes] | None = None,
        wait: Wait = wait_for,
    ) -> None:
        """Prepare; `run` starts.

        Args:
            publish: sends a payload to everyone.
            snapshot: builds the payload of this moment.
            interval_s: seconds between heartbeats while nothing changes.
            clock: measures the gap.
            min_gap_s: seconds that at least lie between two heartbeats.
            goodbye: builds the last payload, which takes back all offers, so that nobody sends requests any more.
            wait: waits for an event or a time; tests bring their own.
        """
        self._publish = publish
        self._snapshot = snapshot
        self._goodbye = goodbye
        self._interval_s = interval_s
        self._min_gap_s = min_gap_s
        self._clock = clock
        self._wait = wait
        self._due = asyncio.Event()
        self._stop = asyncio.Event()

    def poke(self) -> None:
        """Ask for a heartbeat soon, because what it tells has changed. Never waits."""
        self._due.set()

    def stop(self) -> None:
        """Let `run` say goodbye and return. Idempotent."""
        self._stop.set()
        self._due.set()

    async def run(self) -> None:
        """Send heartbeats until `stop`, then the goodbye. A cancellation ends it without one.

        A heartbeat that the network does not take is logged, and sent anew at the next occasion. Once the host
        is closed there is none, and `run` returns.
        """
        try:
            while not self._stop.is_set():
                self._due.clear()
                began_s = self._clock.monotonic()
                await self._send(self._snapshot)
                await self._wait(self._due, self._interval_s)
                rest_s = began_s + self._min_gap_s - self._clock.monotonic()
                if rest_s > 0:
                    await self._wait(self._stop, rest_s)
            if self._goodbye is not None:
                await self._send(self._goodbye)
        except HostClosed:
            _log.debug("heartbeats ended with the host")

    async def _send(self, build: Callable[[], bytes]) -> None:
        try:
            await self._publish(build())
        except HostClosed:
            raise
        except NetworkError as error:
            _log.warning("a heartbeat could not be sent: %s", error)
