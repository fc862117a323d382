"""The HTTP server inside the node's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from aicn import defaults
from aicn.api.access import is_loopback
from aicn.api.caller import STOPPING
from aicn.api.connection import BoundedConnection
from aicn.api.open_files import connections_allowed
from aicn.errors import ConfigError, ListenFailed

_log = logging.getLogger("aicn.api")

_FAREWELL_S: Final = 1
"""For requests that are cut to tell so; whoever does not take it by then is cut without a word."""


class _EmbeddedServer(uvicorn.Server):
    """Uvicorn without its signal handlers: signals belong to the program, not to one of its parts."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def __init__(self, config: uvicorn.Config) -> None:
        """Serve as `config` says."""
        super().__init__(config)
        self.stopping = asyncio.Event()
        """Set before the requests that are still under way are cancelled, so that they can tell why."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept on `sockets`; as uvicorn does, with a bound of our own to how long a TLS handshake takes."""
        config, loop = self.config, asyncio.get_running_loop()
        timeout_s = None if config.ssl is None else defaults.TLS_HANDSHAKE_TIMEOUT_S
        self.servers = [
            await loop.create_server(
                lambda: BoundedConnection(config, self.server_state, {STOPPING: self.stopping}, loop),
                sock=one,
                ssl=config.ssl,
                backlog=config.backlog,
                ssl_handshake_timeout=timeout_s,
            )
            for one in sockets or ()
        ]
        self.started = True


class ApiServer:
    """Serves an ASGI application on one address."""

    def __init__(
        self, app: ASGIApp, address: str, *, setting: str = "API.Addr", tls: ssl.SSLContext | None = None
    ) -> None:
        """Serve `app`.

        Args:
            app: answers.
            address: `host:port`; `[…]` around an IPv6 host; an empty host means all addresses.
            setting: where the configuration has the address.
            tls: for HTTPS; None: plain HTTP.
        """
        self._app = app
        self._address = address
        self._setting = setting
        self._tls = tls
        self._server: _EmbeddedServer | None = None
        self._task: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None

    def bind(self) -> None:
        """Take the address, without serving yet: a port that is taken is found before anything else starts.

        Raises:
            ListenFailed: it is taken, or not of this machine.
            ConfigError: it is no address.
        """
        host, port = split_address(self._address, self._setting)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=defaults.API_MAX_CONNECTIONS)
        except OSError as error:
            # Of what it was told by the system, Python makes a longer text that names the address again.
            reason = error.strerror.partition(" (while")[0] if error.strerror else str(error)
            raise ListenFailed(
                f"the HTTP API cannot listen on {self._address} ({reason}); "
                f"change {self._setting} in the configuration, or stop the program that uses that port"
            ) from error

    @property
    def address(self) -> str:
        """The address that is listened on, the port resolved."""
        if self._socket is None:
            return self._address
        host, port = self._socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def url(self) -> str:
        """Where it is reached, without a slash at the end."""
        return f"{'https' if self._tls is not None else 'http'}://{self.address}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        host, _ = split_address(self._address, self._setting)
        return host == "localhost" or is_loopback(host)

    @property
    def requests_under_way(self) -> int:
        """How many requests are being answered now."""
        return len(self._server.server_state.tasks) if self._server is not None else 0

    async def start(self) -> None:
        """Serve in a task of its own; return when requests are answered."""
        if self._socket is None:
            self.bind()
        tls = self._tls
        config = uvicorn.Config(
            self._app,
            http=BoundedConnection,
            ws="none",
            lifespan="off",
            loop="none",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=connections_allowed(),
            timeout_keep_alive=defaults.API_KEEPALIVE_S,
            timeout_graceful_shutdown=defaults.SHUTDOWN_GRACE_S + _FAREWELL_S,
            ssl_context_factory=None if tls is None else lambda _, __: tls,
        )
        # A cut answer and a client's bad HTTP are told by our own lines; uvicorn's would repeat them as errors.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self._server = _EmbeddedServer(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[s for s in (self._socket,) if s]))
        while not self._server.started:
            if self._task.done():
                await self._task
                raise ListenFailed(f"the HTTP API on {self._address} ended while it started")
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Stop accepting, give requests under way a moment, tell those that are left why they are cut. Idempotent."""
        server, task = self._server, self._task
        self._server = self._task = None
        if server is not None and task is not None:
            server.should_exit = True
            await asyncio.wait((task,), timeout=defaults.SHUTDOWN_GRACE_S)
            if left := list(server.server_state.tasks):
                _log.warning("stopping: requests still under way are cut: %d", len(left))
                server.stopping.set()
                for one in left:
                    one.cancel()
            await task
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def split_address(address: str, setting: str = "API.Addr") -> tuple[str, int]:
    """Return host and port of `host:port`.

    Raises:
        ConfigError: it is not of that form.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65_535:  # noqa: PLR2004
        raise ConfigError(f"{setting} {address!r} is no address; write it as 127.0.0.1:7002")
    return host.removeprefix("[").removesuffix("]"), int(port)
