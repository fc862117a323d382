"""Who may call what: secure by default, opened by explicit settings.

A caller on this machine may do everything. From elsewhere, the routes that change the node are closed, and
inference is closed unless the configuration opens it. A browser page of another site may do nothing: the
`Host` header must name this machine (no DNS rebinding) and an `Origin` header must match it (no CSRF).
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from aicn.api.caller import JSON_TYPE, Caller
from aicn.api.errors import ApiError, Code
from aicn.api.reference import REFERENCE
from aicn.api.v1 import is_v1, surface_of

_FORBIDDEN = 403

_ADDRESSES_REMEMBERED = 256
"""Parsing an address costs as much as all other checks together; most callers come again."""


class AccessGate:
    """ASGI middleware that lets a request through or answers 403."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        public_paths: Collection[str],
        open_inference: bool,
        allowed_hosts: Collection[str],
    ) -> None:
        """Guard `app`.

        Args:
            app: the application behind the gate.
            public_paths: paths that `open_inference` opens to callers from elsewhere: inference, and what a
                caller needs to find a model.
            open_inference: whether callers from elsewhere may use inference.
            allowed_hosts: names, without port, that this API is reached by from elsewhere. A request that comes
                under such a name counts as from elsewhere even if a reverse proxy on this machine sends it.
        """
        self._app = app
        self._public_paths = frozenset(public_paths)
        self._open_inference = open_inference
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request."""
        if scope["type"] == "http":
            reason = self._refusal(scope)
            if reason is not None:
                error = ApiError(Code.PERMISSION, reason, _FORBIDDEN)
                surface = surface_of(scope["path"]) if is_v1(scope["path"]) else REFERENCE
                refusal = surface.refusal(error)
                headers = ((b"content-type", JSON_TYPE), *refusal.headers)
                await Caller(scope, receive, send).answer(refusal.status, refusal.body, headers)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        host = origin = b""
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
            elif name == b"origin":
                origin = value
        authority = host.decode("latin-1").lower()
        if origin and urlsplit(origin.decode("latin-1").lower()).netloc != authority:
            return "a page of another site may not call this API"
        name = _host_name(authority)
        client = scope.get("client")
        local_caller = client is not None and is_loopback(client[0])
        if local_caller and (name == "localhost" or is_loopback(name)):
            return None
        if not (name in self._allowed_hosts or _is_address(name)):
            return f"this API does not answer under the name {name!r}; add it to AICN.API.AllowedHosts to allow that"
        if scope["path"] not in self._public_paths and not is_v1(scope["path"]):
            return "this route answers callers on the node's own machine only"
        if not self._open_inference:
            return "inference is closed to callers from elsewhere; set AICN.API.OpenInference to open it"
        return None


def _host_name(authority: str) -> str:
    """Return the host of `host[:port]`, brackets of an IPv6 address removed."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]


@functools.lru_cache(maxsize=_ADDRESSES_REMEMBERED)
def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@functools.lru_cache(maxsize=_ADDRESSES_REMEMBERED)
def is_loopback(text: str) -> bool:
    """Tell whether `text` is an address of the loopback network."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
