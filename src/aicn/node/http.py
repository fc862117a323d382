"""The HTTP listeners of a node: one for everything, one for inference alone where that is wanted, one certificate."""

from __future__ import annotations

import logging
from pathlib import Path

from starlette.routing import Route

from aicn.api import ApiServer, Keyring, TlsFiles, build_app
from aicn.clock import Clock
from aicn.config import Config
from aicn.node.background import Background

_log = logging.getLogger("aicn.node")


class HttpListeners:
    """Owns the servers.

    Attributes:
        api: answers every route.
    """

    def __init__(self, config: Config, routes: list[Route], keyring: Keyring, clock: Clock) -> None:
        """Answer `routes`, for who may use them.

        Raises:
            ConfigError: the certificate cannot be used.
        """
        settings = config.aicn.api
        self._open = settings.open_inference
        self._keyring = keyring
        self._tls: TlsFiles | None = None
        if settings.tls_certificate:
            self._tls = TlsFiles(Path(settings.tls_certificate), Path(settings.tls_key))
        context = None if self._tls is None else self._tls.context

        def server(address: str, setting: str, *, inference_only: bool) -> ApiServer:
            app = build_app(
                routes,
                open_inference=settings.open_inference,
                allowed_hosts=settings.allowed_hosts,
                keyring=keyring,
                clock=clock,
                inference_only=inference_only,
            )
            return ApiServer(app, address, setting=setting, tls=context)

        self.api = server(config.api.addr, "API.Addr", inference_only=False)
        self._inference: ApiServer | None = None
        if settings.inference_addr:
            self._inference = server(settings.inference_addr, "AICN.API.InferenceAddr", inference_only=True)

    @property
    def _servers(self) -> tuple[ApiServer, ...]:
        return (self.api,) if self._inference is None else (self.api, self._inference)

    @property
    def requests_under_way(self) -> int:
        """How many requests are being answered now."""
        return sum(server.requests_under_way for server in self._servers)

    def bind(self) -> None:
        """Take the addresses, without serving yet.

        Raises:
            ListenFailed: one of them is taken, or not of this machine.
        """
        for server in self._servers:
            server.bind()

    async def start(self, background: Background) -> None:
        """Serve."""
        if self._tls is not None:
            background.spawn("certificate", self._tls.run(), self._tls.stop)
        for server in self._servers:
            await server.start()

    async def close(self) -> None:
        """Stop accepting, give requests under way a moment, end. Idempotent."""
        for server in self._servers:
            await server.close()

    def tell(self) -> None:
        """Say in the log where the node is reached, and what keeps it from being."""
        _log.info("HTTP API on %s/api/v0, OpenAI's on %s/v1", self.api.url, self.api.url)
        if self._inference is not None:
            _log.info("inference alone on %s/v1", self._inference.url)
        beyond = next((server for server in self._servers if not server.is_local), None)
        if beyond is None:
            return
        if not self._open and not len(self._keyring):
            _log.warning(
                "%s is reached beyond this machine and answers nobody there; make a key with `aicn keys add`, or set "
                "AICN.API.OpenInference to open inference to all",
                beyond.url,
            )
        if self._tls is None and (self._open or len(self._keyring)):
            _log.warning(
                "%s is reached beyond this machine and is not encrypted; set AICN.API.TLSCertificate, or put a proxy "
                "with a certificate before it: what users write, and their keys, can be read on the way",
                beyond.url,
            )
