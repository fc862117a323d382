"""Looks at the ports of this machine that model servers are known to listen on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from aicn import defaults
from aicn.errors import BackendBroken, BackendError, BackendRefused
from aicn.registry.discovery.fingerprints import FoundServer, recognise

Fetch = Callable[[str], Awaitable[Any]]
"""Gets a URL; returns the JSON of its answer, None if it answers anything else.

Raises BackendUnreachable if nobody listens there, BackendBroken if who does breaks off, BackendTimeout if it is silent,
BackendRefused if it wants a key.
"""

KNOWN_PORTS: Final = {
    1234: "LM Studio",
    7860: "Automatic1111",
    8000: "vLLM",
    8080: "llama.cpp, LocalAI",
    8188: "ComfyUI",
    11434: "Ollama",
    30000: "SGLang",
}
"""Where each listens unless it is told otherwise. Any of them is recognised on any of the ports."""

_UNKNOWN: Final = "unknown"
"""What is said of a server that does not say what it is."""


class Scanner:
    """Finds model servers. Loopback only: a model server is a neighbour of its node."""

    def __init__(
        self, fetch: Fetch, *, more_ports: Iterable[int] = (), without: Iterable[int] = (), host: str = "127.0.0.1"
    ) -> None:
        """Look by `fetch`.

        Args:
            fetch: gets JSON.
            more_ports: looked at besides `KNOWN_PORTS`.
            without: never looked at, such as the node's own.
            host: address of this machine.
        """
        self._fetch = fetch
        self._ports = sorted({*KNOWN_PORTS, *more_ports} - set(without))
        self._host = host

    @property
    def host(self) -> str:
        """Address that is looked at."""
        return self._host

    async def scan(self) -> tuple[FoundServer, ...]:
        """Return every model server that answers now, by its port."""
        found = await asyncio.gather(*(self._look(port) for port in self._ports))
        return tuple(each for each in found if each is not None)

    async def _look(self, port: int) -> FoundServer | None:
        url = f"http://{self._host}:{port}"

        async def ask(path: str) -> Any:
            try:
                return await self._fetch(f"{url}{path}")
            except BackendBroken:
                # It does not know that route, in its own way.
                return None

        try:
            async with asyncio.timeout(defaults.DISCOVERY_SERVER_TIMEOUT_S):
                return await recognise(ask, url)
        except BackendRefused:
            return FoundServer(_UNKNOWN, url, (), wants_key=True)
        except (BackendError, TimeoutError):
            # Who is silent may have every sign: it is not there now, rather than there without its models.
            return None
