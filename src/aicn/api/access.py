"""Who may call what: secure by default, opened by keys and by explicit settings.

A caller on this machine may do everything. From elsewhere, inference needs an API key, unless the configuration opens
it to all, and the routes that change the node need an admin's. A browser page of another site may do nothing: the
`Host` header must name this machine (no DNS rebinding), unless a key is sent, which such a page does not have, and an
`Origin` header must match it (no CSRF). What a proxy has passed on comes from elsewhere, even if the proxy runs here.
"""

from __future__ import annotations

import functools
import ipaddress
import logging
from collections.abc import Collection, Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from aicn import defaults
from aicn.api.caller import JSON_TYPE, Caller
from aicn.api.errors import ApiError, Code
from aicn.api.principal import LOCAL, SCOPE_KEY, Keyring, Principal
from aicn.api.reference import REFERENCE
from aicn.api.v1 import is_v1, surface_of
from aicn.clock import Clock, SystemClock
from aicn.store.keys import SECRET_PREFIX, ApiKey

_log = logging.getLogger("aicn.api")

_BAD_REQUEST = 400
_UNAUTHORIZED = 401
_FORBIDDEN = 403
_NOT_FOUND = 404

_FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip"})
"""What proxies add, and callers on this machine do not: some send their target's name as `Host`, `localhost` say."""

_ADDRESSES_REMEMBERED = 256
"""Parsing an address costs as much as all other checks together; most callers come again."""


class AccessGate:
    """ASGI middleware that lets a request through, or answers 401 or 403; who sent it is in the scope behind it."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        public_paths: Collection[str],
        open_inference: bool,
        allowed_hosts: Collection[str],
        keyring: Keyring | None = None,
        clock: Clock | None = None,
        inference_only: bool = False,
        open_paths: Collection[str] = (),
    ) -> None:
        """Guard `app`.

        Args:
            app: the application behind the gate.
            public_paths: paths that are open to callers from elsewhere who have a key: inference, and what a caller
                needs to find a model.
            open_inference: whether they need none.
            allowed_hosts: names, without port, that this API is reached by from elsewhere. A request that comes
                under such a name, or with the address of another caller, counts as from elsewhere even if a reverse
                proxy on this machine sends it.
            keyring: the keys.
            clock: tells which of them have expired.
            inference_only: whether only `public_paths` and `open_paths` exist, and the own machine's callers are like
                all others: it is for what the world may reach, through a tunnel on this machine perhaps.
            open_paths: paths that are open to everybody, under whatever name the node is reached.
        """
        self._app = app
        self._public_paths = frozenset(public_paths)
        self._open_inference = open_inference
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self._keyring = Keyring() if keyring is None else keyring
        self._clock = clock or SystemClock()
        self._inference_only = inference_only
        self._open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request."""
        if scope["type"] == "http":
            try:
                scope[SCOPE_KEY] = self._admitted(scope)
            except ApiError as error:
                caller = Caller(scope, receive, send)
                _log.info("refused %.100r of %s: %s", scope["path"], caller.address, error.message)
                await refuse(caller, error)
                return
        await self._app(scope, receive, send)

    def _admitted(self, scope: Scope) -> Principal:
        """Return who sends the request.

        Raises:
            ApiError: it may not be sent.
        """
        sent = _Sent(scope["headers"])
        if sent.origin and not sent.is_own_page:
            raise _forbidden("a page of another site may not call this API")
        client = scope.get("client")
        address = client[0] if client is not None else ""
        if scope["path"] in self._open_paths:
            return Principal(None, address)
        name = _host_name(sent.authority)
        named_home = name == "localhost" or is_loopback(name)
        is_local = is_loopback(address) and named_home and not sent.forwarded and not self._inference_only
        is_public = scope["path"] in self._public_paths or is_v1(scope["path"])
        if self._inference_only and not is_public:
            raise ApiError(Code.UNSUPPORTED, f"there is no route {scope['path']}", _NOT_FOUND)
        key = self._key(sent.secret, needed=not (is_local or (is_public and self._open_inference)))
        if is_local:
            return LOCAL if key is None else Principal(key)
        if key is None and not (name in self._allowed_hosts or _is_address(name) or named_home):
            raise _forbidden(
                f"this API does not answer under the name {name!r}; add it to AICN.API.AllowedHosts to allow that"
            )
        if is_public:
            if key is None and not self._open_inference:
                raise _unauthorized("inference needs an API key here; send one as `Authorization: Bearer sk-aicn-…`")
            return Principal(key, address)
        if key is None:
            raise _forbidden("this route answers callers on the node's own machine, and those with an admin's key")
        if not key.admin:
            raise _forbidden("this route needs an admin's key; this one is for inference")
        return Principal(key, address)

    def _key(self, secret: str, *, needed: bool) -> ApiKey | None:
        """Return the key that is sent; None: none is.

        Raises:
            ApiError: it opens nothing here.
        """
        if not secret:
            return None
        found = self._keyring.find(secret, self._clock.unix()) if len(secret) <= defaults.KEY_MAX_CHARS else None
        if found is None and (needed or secret.startswith(SECRET_PREFIX)):
            # SDKs do not work without a key: where none is needed, anything that is not ours will do.
            raise _unauthorized("this API key is wrong, expired or revoked; ask the node's owner for another one")
        return found


class _Sent:
    """What the headers of a request say about its sender."""

    __slots__ = ("authority", "forwarded", "origin", "secret")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        host: bytes | None = None
        origin = authorization = api_key = b""
        self.forwarded = False
        for name, value in headers:
            if name == b"host":
                if host is not None:
                    # RFC 9112, 3.2: what stands before this node may have looked at the other one.
                    raise ApiError(Code.PARAMETER, "the request has more than one Host header", _BAD_REQUEST)
                host = value
            elif name == b"origin":
                origin = value
            elif name == b"authorization":
                authorization = value
            elif name == b"x-api-key":
                api_key = value
            elif name in _FORWARDED:
                self.forwarded = True
        self.authority = (host or b"").decode("latin-1").lower()
        self.origin = origin.decode("latin-1").lower()
        scheme, _, token = authorization.partition(b" ")
        bearer = token.strip() if scheme.lower() == b"bearer" else b""
        self.secret = (bearer or api_key).decode("latin-1")

    @property
    def is_own_page(self) -> bool:
        """Whether the page that sends it came from where it is sent to. `null`, of a page from nowhere, is not."""
        page = self.origin.partition("://")[2]
        return bool(page) and page == self.authority


async def refuse(caller: Caller, error: ApiError) -> None:
    """Tell why a request is not let in, in the words of the API that it is for."""
    path = caller.scope["path"]
    surface = surface_of(path) if is_v1(path) else REFERENCE
    caller.name_request(surface.request_id_headers)
    refusal = surface.refusal(error)
    await caller.answer(refusal.status, refusal.body, ((b"content-type", JSON_TYPE), *refusal.headers))


def _forbidden(message: str) -> ApiError:
    return ApiError(Code.PERMISSION, message, _FORBIDDEN)


def _unauthorized(message: str) -> ApiError:
    return ApiError(Code.PERMISSION, message, _UNAUTHORIZED, headers=((b"www-authenticate", b"Bearer"),))


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
