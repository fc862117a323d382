"""One HTTP client for all model servers: bytes pass, redirects are not followed, every wait is bounded."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from aicn import defaults
from aicn.errors import BackendBroken, BackendTimeout, BackendUnreachable

if TYPE_CHECKING:
    import aiohttp

# aiohttp is imported where it is used, in the first request to a model server: it takes 9 MB, which a node that
# serves no models (every plain Input) never needs.

_HOP_BY_HOP = frozenset(
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

_NEVER_A_BODY = frozenset({204, 304})


class BackendReply:
    """An answer of a model server, of which only the head has been read.

    Attributes:
        status: HTTP status code.
        reason: reason phrase, may be empty.
        headers: end-to-end headers as (lower-case name, value); Content-Length is among them when it was sent.
        length_bytes: the length of the body: as declared, 0 where HTTP allows no body, None when it is chunked or
            delimited by close.
    """

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        """Take over the head of `response`."""
        self._content = response.content
        self.status = response.status
        self.reason = (response.reason or "").encode("latin-1", "replace")
        self.headers = tuple(
            (name, value)
            for name, value in ((raw_name.lower(), raw_value) for raw_name, raw_value in response.raw_headers)
            if name not in _HOP_BY_HOP
        )
        self.length_bytes = 0 if response.status in _NEVER_A_BODY else response.content_length

    def take_ready(self) -> bytes:
        """Return what of the body has arrived already, `b""` if nothing; does not wait."""
        with _translated():
            return self._content.read_nowait()

    async def read_some(self) -> bytes:
        """Return whatever of the body has arrived; wait if nothing has; `b""` at the end.

        Raises:
            BackendTimeout: nothing came for the idle time.
            BackendBroken: the model server broke off.
        """
        with _translated():
            return await self._content.readany()


class BackendClient:
    """HTTP client with one connection pool, to be closed by its owner."""

    def __init__(self, *, idle_timeout_s: float = defaults.BACKEND_IDLE_TIMEOUT_S) -> None:
        """`idle_timeout_s` bounds the silence before the head and between two reads of the body."""
        self._idle_timeout_s = idle_timeout_s
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp  # noqa: PLC0415 - see above

        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=defaults.BACKEND_MAX_CONNECTIONS,
                    keepalive_timeout=defaults.BACKEND_KEEPALIVE_S,
                    use_dns_cache=False,
                ),
                timeout=aiohttp.ClientTimeout(
                    total=None, connect=defaults.BACKEND_CONNECT_TIMEOUT_S, sock_read=self._idle_timeout_s
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                # What the client did not send is not sent: a model server sees the request as it was made.
                skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
                read_bufsize=defaults.BACKEND_READ_BUFFER_BYTES,
                max_line_size=defaults.HTTP_HEAD_MAX_BYTES,
                max_field_size=defaults.HTTP_HEAD_MAX_BYTES,
            )
        return self._session

    def warm_up(self) -> None:
        """Load and open now what the first request would have to wait for."""
        self._open()

    @asynccontextmanager
    async def exchange(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | AsyncIterator[bytes],
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
        """
        from yarl import URL  # noqa: PLC0415 - comes with aiohttp

        sent = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in headers
            if name not in _HOP_BY_HOP and name != b"host"
        ]
        with _translated():
            response = await self._open().request(
                method, URL(url, encoded=True), headers=sent, data=body, allow_redirects=False
            )
        try:
            yield BackendReply(response)
        except BaseException:
            response.close()
            raise
        if response.content.at_eof():
            response.release()
        else:
            response.close()

    async def close(self) -> None:
        """Close the pool. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


@contextmanager
def _translated() -> Iterator[None]:
    """Raise aiohttp's errors as ours: the one place where that happens, most specific first.

    The messages travel to the peer that asked, so they name no URL.
    """
    import aiohttp  # noqa: PLC0415 - see above

    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise BackendUnreachable(
            f"the model server did not accept a connection within {defaults.BACKEND_CONNECT_TIMEOUT_S:g} s"
        ) from error
    except (TimeoutError, aiohttp.ServerTimeoutError) as error:
        raise BackendTimeout("the model server sent nothing for too long") from error
    except aiohttp.ClientConnectorError as error:
        # The system's own word for the number: the event loop's text names the address.
        reason = os.strerror(error.errno) if error.errno else "no connection"
        raise BackendUnreachable(f"the model server cannot be reached ({reason})") from error
    except aiohttp.InvalidURL as error:
        raise BackendUnreachable("the model's address is not a URL that can be called") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise BackendBroken(f"the model server broke off its answer ({type(error).__name__})") from error
