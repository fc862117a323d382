"""Whether the model servers of this node live: asked cheaply, and not at all while they answer requests."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aicn import defaults
from aicn.clock import Clock
from aicn.errors import BackendError, BackendUnreachable
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

    A server on whose port nobody listens is withdrawn at once; one that is slow or breaks off, when it does so twice,
    and never while it works on a request: many servers do one thing at a time. Use from one event loop.
    """

    def __init__(self, registry: ModelRegistry, probe: Probe, *, interval_s: float, clock: Clock) -> None:
        """Watch the servers of `registry`; one that nobody used for `interval_s` is asked by `probe`."""
        self._registry = registry
        self._probe = probe
        self._interval_s = interval_s
        self._clock = clock
        self._answered_s: dict[str, float] = {}
        """When a server answered last."""
        self._probed_s: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        """In a row."""
        self._wanted: set[str] = set()
        """To be asked out of turn."""
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(defaults.HEALTH_PROBES_MAX)
        registry.lives = self.lives
        registry.on_register = self._wake.set

    def lives(self, url: str) -> bool:
        """Whether the server with that registered URL answered when it was asked last, as far as is known."""
        return self._is_up(server_of(url))

    def answered(self, url: str) -> None:
        """Note that a request to `url` was answered: whoever works need not be asked."""
        server = server_of(url)
        self._answered_s[server] = self._clock.monotonic()
        was_up = self._is_up(server)
        self._failures.pop(server, None)
        if not was_up:
            _log.info("the model server %s answers again; its models are offered", server)
            self._registry.tell()

    def failed(self, url: str) -> None:
        """Note that nobody listened at `url`: the server is asked out of turn, but not again and again."""
        server = server_of(url)
        if self._clock.monotonic() - self._probed_s.get(server, float("-inf")) >= defaults.HEALTH_REST_S:
            self._wanted.add(server)
            self._wake.set()

    async def run(self) -> None:
        """Watch, until cancelled."""
        while True:
            await self.look()
            try:
                async with asyncio.timeout(self._until_next_s()):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Ask every server whose turn it is."""
        self._wake.clear()
        urls = {server_of(model.api): model.api for model in self._registry.models()}
        for known in (self._answered_s, self._probed_s, self._failures):
            for gone in known.keys() - urls.keys():
                del known[gone]
        due = [url for server, url in urls.items() if server in self._wanted or self._due_in_s(server) <= 0]
        self._wanted.clear()
        if due:
            async with asyncio.TaskGroup() as group:
                for url in due:
                    group.create_task(self._ask(url))

    def _until_next_s(self) -> float:
        servers = {server_of(model.api) for model in self._registry.models()}
        return max(0.0, min((self._due_in_s(server) for server in servers), default=self._interval_s))

    def _due_in_s(self, server: str) -> float:
        never = float("-inf")
        last_s = max(self._answered_s.get(server, never), self._probed_s.get(server, never))
        return last_s + self._interval_s - self._clock.monotonic()

    async def _ask(self, url: str) -> None:
        server = server_of(url)
        async with self._slots:
            self._probed_s[server] = self._clock.monotonic()
            try:
                async with asyncio.timeout(defaults.HEALTH_TIMEOUT_S):
                    await self._probe(url)
            except BackendUnreachable as error:
                self._count(server, defaults.HEALTH_FAILURES, str(error))
            except (BackendError, TimeoutError) as error:
                if not self._works(server):
                    self._count(server, 1, str(error) or f"no answer within {defaults.HEALTH_TIMEOUT_S:g} s")
            else:
                self.answered(url)

    def _works(self, server: str) -> bool:
        """Whether the server has requests under way, which may be all that it can do."""
        in_flight = self._registry.in_flight
        return any(in_flight.count(model) for model in self._registry.models() if server_of(model.api) == server)

    def _count(self, server: str, failures: int, reason: str) -> None:
        was_up = self._is_up(server)
        self._failures[server] = self._failures.get(server, 0) + failures
        if was_up and not self._is_up(server):
            _log.warning("the model server %s does not answer (%s); its models are withdrawn", server, reason)
            self._registry.tell()

    def _is_up(self, server: str) -> bool:
        return self._failures.get(server, 0) < defaults.HEALTH_FAILURES
