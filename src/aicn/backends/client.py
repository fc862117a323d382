"""HTTP client to the model servers of this machine: bytes pass, redirects are not followed, every wait is bounded.

Written for this one purpose, because it is on the way of every token: a general client took 40 % of a Worker's
time per request and 10 MB of its memory (measured by `make bench`).
"""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from aicn import defaults
from aicn.backends.connection import BackendConnection
from aicn.errors import BackendBroken, BackendError, BackendRefused, BackendUnreachable, MalformedFrame, Overloaded
from aicn.wire.http_frames import LAST_CHUNK, RequestHead, encode_chunk, encode_request_head

_HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""RFC 9110, section 7.6.1: these describe one connection, not the message."""

_NEVER_A_BODY: Final = frozenset({204, 304})

_FAILED: Final = 400
"""Statuses from here on are refusals and failures."""

_SERVER_ERRORS: Final = 500

CANNOT_WORK: Final = frozenset({502, 503, 504})
"""What a server says that has no model yet, or nobody behind it. All other statuses are from somebody who can work."""

_URLS_REMEMBERED: Final = 256

_OUR_OWN_FAULT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""This machine cannot make a connection to anybody; the model server has nothing to do with it."""


Headers = Sequence[tuple[bytes, bytes]]
"""(lower-case name, value) pairs."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a URL leads: the key of the pool, and what goes into the request."""

    host: str
    port: int
    tls: bool


@functools.lru_cache(maxsize=_URLS_REMEMBERED)
def _parts(url: str) -> tuple[_Place, bytes, bytes]:
    """Return place, request target and Host header of a URL that the registry has accepted."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    place = _Place(parts.hostname or "", parts.port or (443 if tls else 80), tls)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return place, target.encode(), parts.netloc.rpartition("@")[2].encode()


class BackendReply:
    """An answer of a model server, of which only the head has been read.

    Attributes:
        status: HTTP status code.
        reason: reason phrase, may be empty.
        headers: end-to-end headers as (lower-case name, value); Content-Length is among them when it was sent.
        length_bytes: the length of the body: as declared, 0 where HTTP allows no body, None when it is chunked or
            delimited by close.
    """

    def __init__(self, connection: BackendConnection, status: int, reason: bytes, headers: Headers) -> None:
        """Take over the head of an answer."""
        self.status = status
        self.reason = reason
        self.headers = tuple(pair for pair in headers if pair[0] not in _HOP_BY_HOP)
        length = next((int(value) for name, value in headers if name == b"content-length"), None)
        self.length_bytes = 0 if status in _NEVER_A_BODY else length
        self.take_ready = connection.take_ready
        self.read_some = connection.read_some


class BackendClient:
    """HTTP client with one connection pool, to be closed by its owner.

    Attributes:
        heard: called with the URL of a request that was answered, other than by a failure of the server.
        missed: called with the URL of a request that failed before its answer was whole, or that was answered with one
            of `CANNOT_WORK`, and the reason. Neither may block or raise.
    """

    def __init__(self, *, idle_timeout_s: float = defaults.BACKEND_IDLE_TIMEOUT_S) -> None:
        """`idle_timeout_s` bounds the silence before the head and between two reads of the body."""
        self._idle_timeout_s = idle_timeout_s
        self._resting: defaultdict[_Place, deque[tuple[BackendConnection, asyncio.TimerHandle]]] = defaultdict(deque)
        self._open: set[BackendConnection] = set()
        self._slots = asyncio.Semaphore(defaults.BACKEND_MAX_CONNECTIONS)
        self.heard: Callable[[str], None] | None = None
        self.missed: Callable[[str, BackendError], None] | None = None

    @asynccontextmanager
    async def exchange(
        self, method: str, url: str, headers: Headers, body: bytes | AsyncIterator[bytes]
    ) -> AsyncIterator[BackendReply]:
        """Send one request; the block gets the answer's head and reads its body.

        Leaving the block before the body is read, or being cancelled, closes the connection at once: that is
        how a model server learns that nobody listens any more.

        Args:
            method: HTTP method.
            url: the model's URL, used as it is.
            headers: end-to-end headers; hop-by-hop ones and Host are dropped.
            body: all of it, or an iterator when it is still arriving.

        Raises:
            BackendUnreachable, BackendTimeout, BackendBroken
            Overloaded: as many requests are under way as may be.
        """
        place, target, host = _parts(url)
        async with self._slot():
            connection = self._rested(place)
            if connection is None:
                try:
                    connection = await self._connect(place)
                except BackendError as error:
                    self._tell(url, error)
                    raise
            self._open.add(connection)
            uploading: asyncio.Task[None] | None = None
            kept = False
            try:
                connection.begin()
                head = _request(method, target, host, headers, body)
                if isinstance(body, bytes):
                    connection.send(head + body)
                    connection.sent()
                else:
                    connection.send(head)
                    chunked = not any(name == b"content-length" for name, _ in headers)
                    uploading = asyncio.create_task(_upload(connection, body, chunked=chunked))
                answered = await connection.read_head()
                self._note(url, answered.status)
                if uploading is not None and answered.status >= _FAILED:
                    # The model server has seen enough of the request.
                    uploading.cancel()
                yield BackendReply(connection, answered.status, answered.reason, answered.headers)
                if connection.reusable:
                    self._rest(place, connection)
                    kept = True
            except BackendError as error:
                self._tell(url, error)
                raise
            finally:
                # First what cannot be cancelled: a caller that leaves may be cancelled while it waits below.
                if not kept:
                    self._open.discard(connection)
                    connection.abort()
                if uploading is not None:
                    uploading.cancel()
                    await asyncio.wait((uploading,))

    async def close(self) -> None:
        """Close every connection. Idempotent."""
        for connections in self._resting.values():
            for _, timer in connections:
                timer.cancel()
        self._resting.clear()
        for connection in self._open:
            connection.abort()
        self._open.clear()

    def _slot(self) -> asyncio.Semaphore:
        if self._slots.locked():
            # Whoever waited here would wait for the slowest of many; another node can answer at once.
            raise Overloaded("this node asks its model servers as many questions at once as it may")
        return self._slots

    def _rested(self, place: _Place) -> BackendConnection | None:
        """Return a connection that rests, the one used last first; None if none does."""
        resting = self._resting.get(place)
        while resting:
            connection, timer = resting.pop()
            timer.cancel()
            if connection.reusable:
                return connection
            self._open.discard(connection)
        return None

    def _rest(self, place: _Place, connection: BackendConnection) -> None:
        connection.release()
        timer = asyncio.get_running_loop().call_later(defaults.BACKEND_KEEPALIVE_S, self._retire, place)
        self._resting[place].append((connection, timer))

    def _retire(self, place: _Place) -> None:
        """Close the connection that has rested longest, whose time has come."""
        connection, _ = self._resting[place].popleft()
        if not self._resting[place]:
            del self._resting[place]
        self._open.discard(connection)
        connection.abort()

    def _note(self, url: str, status: int) -> None:
        if status in CANNOT_WORK:
            self._tell(url, BackendRefused(f"it answers {status}"))
        elif self.heard is not None and status < _SERVER_ERRORS:
            self.heard(url)

    def _tell(self, url: str, error: BackendError) -> None:
        if self.missed is not None:
            self.missed(url, error)

    async def _connect(self, place: _Place) -> BackendConnection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(defaults.BACKEND_CONNECT_TIMEOUT_S):
                _, connection = await loop.create_connection(
                    lambda: BackendConnection(self._idle_timeout_s), place.host, place.port, ssl=place.tls or None
                )
        except TimeoutError as error:
            raise BackendUnreachable(
                f"the model server did not accept a connection within {defaults.BACKEND_CONNECT_TIMEOUT_S:g} s"
            ) from error
        except ssl.SSLError as error:
            # Its number is none of the system's.
            reason = getattr(error, "verify_message", "") or error.reason or "no TLS"
            raise BackendUnreachable(f"the model server's TLS is refused ({reason})", refused=True) from error
        except OSError as error:
            # The system's own word for the number: the event loop's text names the address, which is private.
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else "no connection"
            refused = error.errno not in _OUR_OWN_FAULT
            raise BackendUnreachable(f"the model server cannot be reached ({reason})", refused=refused) from error
        return connection


def _request(method: str, target: bytes, host: bytes, headers: Headers, body: bytes | AsyncIterator[bytes]) -> bytes:
    sent = [(b"host", host), *(pair for pair in headers if pair[0] not in _HOP_BY_HOP and pair[0] != b"host")]
    if not any(name == b"content-length" for name, _ in sent):
        if isinstance(body, bytes):
            sent.append((b"content-length", b"%d" % len(body)))
        else:
            sent.append((b"transfer-encoding", b"chunked"))
    try:
        return encode_request_head(RequestHead(method, target, tuple(sent)))
    except MalformedFrame as error:
        raise BackendBroken(f"the request cannot be passed on: {error}") from error


async def _upload(connection: BackendConnection, body: AsyncIterator[bytes], *, chunked: bool) -> None:
    async for part in body:
        connection.send(encode_chunk(part) if chunked else part)
        await connection.drain()
        connection.progress()
    if chunked:
        connection.send(LAST_CHUNK)
    connection.sent()
