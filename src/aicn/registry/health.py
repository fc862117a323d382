"""Whether the model servers of this node live: asked cheaply, and not at all while they answer requests."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aicn import defaults
from aicn.clock import Clock
from aicn.errors import BackendError, BackendUnreachable
from aicn.registry import liveness
from aicn.registry.liveness import UNKNOWN, Liveness
from aicn.registry.registrar import ModelRegistry

_log = logging.getLogger("aicn.registry")

Probe = Callable[[str], Awaitable[None]]
"""Asks the model server with that registered URL whether it is there.

Raises:
    BackendUnreachable: nobody listens.
    BackendError: it breaks off, or says that it cannot work.
"""


@functools.lru_cache(maxsize=defaults.REGISTRY_MAX_MODELS)
def server_of(url: str) -> str:
    """Return the part of a URL that all endpoints of a model server share."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class HealthMonitor:
    """Withdraws the models of servers that do not answer, and offers them again when they do.

    What counts is in `liveness`; a server that works on a request may be silent as long as it likes, for many do one
    thing at a time. Use from one event loop.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        probe: Probe,
        *,
        interval_s: float,
        clock: Clock,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Watch the servers of `registry`.

        Args:
            registry: whose models are withdrawn.
            probe: asks a server.
            interval_s: a server that nobody used for so long is asked, or somewhat earlier.
            clock: for every age.
            draw: a number from 0 to 1, by which chance shortens an interval.
        """
        self._registry = registry
        self._probe = probe
        self._interval_s = interval_s
        self._clock = clock
        self._draw = draw
        self._states: dict[str, Liveness] = {}
        self._asking: set[str] = set()
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(defaults.HEALTH_PROBES_MAX)
        registry.fault = self.fault
        registry.on_register = self._wake.set

    def fault(self, url: str) -> str:
        """Return why the server with that registered URL is withdrawn; empty while it lives, as far as is known."""
        state = self._states.get(server_of(url), UNKNOWN)
        return "" if liveness.is_up(state) else state.reason

    def answered(self, url: str) -> None:
        """Note that a request to `url` was answered: whoever works need not be asked."""
        server = server_of(url)
        self._set(server, liveness.answered(self._state(server), self._clock.monotonic(), self._rest_s()))

    def failed(self, url: str, error: BackendError) -> None:
        """Note that a request to `url` failed: where nobody listened that is enough, else the server is asked."""
        server, now_s = server_of(url), self._clock.monotonic()
        if isinstance(error, BackendUnreachable) and error.refused:
            self._set(server, liveness.refused(self._state(server), now_s, str(error)))
        else:
            self._set(server, liveness.suspected(self._state(server), now_s))
        self._wake.set()

    async def run(self) -> None:
        """Watch, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                # Nobody waits for these here: a server that is silent must not keep the others from being asked.
                for url in self._due():
                    group.create_task(self._ask(url))
                try:
                    async with asyncio.timeout(self._until_next_s()):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def look(self) -> None:
        """Ask every server whose turn it is, and wait for what they say."""
        async with asyncio.TaskGroup() as group:
            for url in self._due():
                group.create_task(self._ask(url))

    def _due(self) -> list[str]:
        """Return a URL of each server that is to be asked now, and take it for asked."""
        urls = {server_of(model.api): model.api for model in self._registry.models()}
        for gone in self._states.keys() - urls.keys():
            del self._states[gone]
        now_s = self._clock.monotonic()
        due = []
        for server, url in urls.items():
            state = self._state(server)
            if state.next_s <= now_s and server not in self._asking:
                self._asking.add(server)
                self._states[server] = liveness.asked(state, now_s, self._rest_s())
                due.append(url)
        return due

    def _until_next_s(self) -> float:
        servers = {server_of(model.api) for model in self._registry.models()} - self._asking
        next_s = min((self._state(server).next_s for server in servers), default=float("inf"))
        return min(self._interval_s, max(0.0, next_s - self._clock.monotonic()))

    def _rest_s(self) -> float:
        return self._interval_s * (1 - defaults.HEALTH_JITTER * self._draw())

    async def _ask(self, url: str) -> None:
        server = server_of(url)
        try:
            async with self._slots, asyncio.timeout(defaults.HEALTH_TIMEOUT_S):
                await self._probe(url)
        except (BackendError, TimeoutError) as error:
            reason = str(error) or f"it did not answer within {defaults.HEALTH_TIMEOUT_S:g} s"
            if isinstance(error, BackendUnreachable) and error.refused:
                self._set(server, liveness.refused(self._state(server), self._clock.monotonic(), reason))
            elif not self._works(server):
                self._set(server, liveness.silent(self._state(server), reason))
        else:
            self.answered(url)
        finally:
            self._asking.discard(server)
            self._wake.set()

    def _works(self, server: str) -> bool:
        """Whether the server has requests under way, which may be all that it can do."""
        in_flight = self._registry.in_flight
        return any(in_flight.count(model) for model in self._registry.models() if server_of(model.api) == server)

    def _state(self, server: str) -> Liveness:
        return self._states.get(server, UNKNOWN)

    def _set(self, server: str, state: Liveness) -> None:
        was_up = liveness.is_up(self._state(server))
        self._states[server] = state
        if was_up == liveness.is_up(state):
            return
        if was_up:
            _log.warning("the model server %s is withdrawn, with its models: %s", server, state.reason)
        else:
            _log.info("the model server %s answers again; its models are offered", server)
        self._registry.tell()
