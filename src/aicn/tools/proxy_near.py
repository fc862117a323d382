"""The near side of the HTTP proxy: an HTTP forward proxy on this machine whose requests a peer makes.

One request for each connection of a client, which HTTP/1.1 allows (`Connection: close`): what is under way then is the
connection and a stream, and the end of one is the end of the other. A cut answer never looks like a whole one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, Self

from aicn import defaults
from aicn.errors import ListenFailed, MalformedFrame, NetworkError, NetworkTimeout, StreamReset, TruncatedFrame
from aicn.p2p.host import Stream
from aicn.tools.proxy_message import encode_error, end_to_end, split_absolute
from aicn.tripwire import Tripwire
from aicn.wire.http_frames import (
    LAST_CHUNK,
    Headers,
    RequestHead,
    RequestParser,
    ResponseHead,
    ResponseParser,
    encode_chunk,
    encode_request_head,
    encode_response_head,
)

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_NEVER_A_BODY: Final = frozenset({204, 304})
_READ_BYTES: Final = 65_536


class _ClientGone(Exception):
    """The client closed its connection before its answer was whole."""


class NearProxy:
    """The listening side. Use as a context; leaving it ends every exchange."""

    def __init__(self, open_stream: Callable[[bytes], Awaitable[Stream]], host: str, port: int) -> None:
        """Prepare.

        Args:
            open_stream: opens a stream to the far side and hands over its first bytes.
            host: address to listen on.
            port: port to listen on; 0: any free one.
        """
        self._open_stream = open_stream
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are listened on."""
        return self._host, self._port

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            ListenFailed: the address is taken or not of this machine.
        """
        try:
            self._server = await asyncio.start_server(self._accept, self._host, self._port, limit=_READ_BYTES)
        except OSError as error:
            where = f"{self._host}:{self._port}"
            raise ListenFailed(f"{where} cannot be listened on ({error.strerror}); choose another --listen") from error
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(_Client(reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: _Client) -> None:
        try:
            if len(self._tasks) > defaults.HTTP_PROXY_MAX_EXCHANGES:
                await client.refuse(503, "overloaded", "too many requests are under way; ask again later")
            else:
                await self._exchange(client)
        except _ClientGone:
            client.abort()
        except MalformedFrame as error:
            await client.refuse(400, error.slug, str(error))
        except NetworkTimeout as error:
            await client.refuse(504, error.slug, str(error))
        except NetworkError as error:
            await client.refuse(502, error.slug, str(error))
        finally:
            await client.close()

    async def _exchange(self, client: _Client) -> None:
        head = await client.read_head()
        authority, target = split_absolute(head.target)
        framing: Headers = () if not client.chunked else ((b"transfer-encoding", b"chunked"),)
        passed = tuple(pair for pair in end_to_end(head.headers) if pair[0] != b"host")
        asked = RequestHead(head.method, target, ((b"host", authority.host_header.encode()), *passed, *framing))
        stream = await self._open_stream(encode_request_head(asked))
        try:
            async with Tripwire(lambda: client.pump(stream)):
                await _relay(stream, client, head.method)
            await stream.close()
        finally:
            stream.reset()


async def _relay(stream: Stream, client: _Client, method: str) -> None:
    """Pass the answer on as it comes.

    Raises:
        NetworkError: it did not come, broke off, or is no HTTP answer.
    """
    try:
        await _pass_on(stream, client, method)
    except TruncatedFrame as error:
        raise StreamReset("the far side ended the stream before the answer was whole") from error
    except MalformedFrame as error:
        raise StreamReset(f"what the far side answers cannot be read: {error}") from error


async def _pass_on(stream: Stream, client: _Client, method: str) -> None:
    parser = ResponseParser()
    while (head := parser.head) is None:
        await _feed(stream, parser)
    has_body = method != "HEAD" and head.status not in _NEVER_A_BODY
    chunked = has_body and not any(name == b"content-length" for name, _ in head.headers)
    framing = ((b"transfer-encoding", b"chunked"),) if chunked else ()
    headers = (*end_to_end(head.headers), *framing, (b"connection", b"close"))
    await client.write(encode_response_head(ResponseHead(head.status, head.reason, headers)))
    while has_body:
        if part := parser.take_body():
            await client.write(encode_chunk(part) if chunked else part)
        elif parser.complete:
            break
        else:
            await _feed(stream, parser)
    if chunked:
        await client.write(LAST_CHUNK)
    client.whole = True


async def _feed(stream: Stream, parser: ResponseParser) -> None:
    try:
        async with asyncio.timeout(defaults.BACKEND_IDLE_TIMEOUT_S):
            data = await stream.read(_READ_BYTES)
    except TimeoutError as error:
        raise NetworkTimeout(f"the far side sent nothing for {defaults.BACKEND_IDLE_TIMEOUT_S:g} s") from error
    if data:
        parser.feed(data)
    else:
        parser.eof()


class _Client:
    """One connection of a client.

    Attributes:
        chunked: whether the request's body comes in chunks.
        whole: whether the whole answer was handed over.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._parser = RequestParser()
        self._begun = False
        self.chunked = False
        self.whole = False

    async def read_head(self) -> RequestHead:
        first = b""
        try:
            async with asyncio.timeout(defaults.API_HEAD_TIMEOUT_S):
                while (head := self._parser.head) is None:
                    data = await self._read()
                    first = (first + data)[:_READ_BYTES]
                    if first.startswith(b"CONNECT "):
                        raise MalformedFrame(
                            "this proxy makes no tunnels: ask for http://host:443/ and the far side speaks https to it"
                        )
                    self._parser.feed(data)
        except TimeoutError:
            raise _ClientGone from None
        if b" HTTP/1.1\r\n" not in first:
            raise MalformedFrame("this proxy needs requests of HTTP/1.1")
        self.chunked = any(name == b"transfer-encoding" for name, _ in head.headers)
        return head

    async def pump(self, stream: Stream) -> None:
        """Move the body to the stream as it arrives, then watch whether the client stays.

        Raises:
            _ClientGone: it does not.
        """
        head = self._parser.head
        expects = head is not None and any(name == b"expect" for name, _ in head.headers)
        if expects and not self._parser.complete and not self._begun:
            self._writer.write(_CONTINUE)
        try:
            while True:
                if part := self._parser.take_body():
                    await stream.write(encode_chunk(part) if self.chunked else part)
                if self._parser.complete:
                    break
                self._parser.feed(await self._read())
            if self.chunked:
                await stream.write(LAST_CHUNK)
        except StreamReset:
            # The far side wants no more of it. Whether it has answered is seen where the answer is read.
            pass
        while True:
            await self._read()  # bytes behind the request are nobody's: this connection ends with its answer

    async def write(self, data: bytes) -> None:
        """Hand over `data`; wait while the client takes nothing, for a bounded time.

        Raises:
            _ClientGone: it is gone, or has taken nothing for too long.
        """
        self._begun = True
        try:
            self._writer.write(data)
            async with asyncio.timeout(defaults.STALL_TIMEOUT_S):
                await self._writer.drain()
        except (TimeoutError, OSError):
            raise _ClientGone from None

    async def refuse(self, status: int, slug: str, message: str) -> None:
        """Say why there is no answer; cut the connection where half of one is out."""
        if self._begun:
            self.abort()
            return
        head = self._parser.head
        with contextlib.suppress(_ClientGone):
            await self.write(encode_error(status, slug, message, with_body=head is None or head.method != "HEAD"))
            self.whole = True

    def abort(self) -> None:
        """Cut the connection: the client sees that its answer is not whole."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close the connection once the answer is sent and the client has seen it; cut it where it is not whole."""
        try:
            if not self.whole:
                self.abort()
                return
            # To close while a body is still arriving would cut the connection, and with it the answer to that body.
            with contextlib.suppress(OSError, TimeoutError, _ClientGone):
                async with asyncio.timeout(defaults.SHUTDOWN_GRACE_S):
                    self._writer.write_eof()
                    while True:
                        await self._read()
        finally:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    async def _read(self) -> bytes:
        try:
            data = await self._reader.read(_READ_BYTES)
        except OSError:
            raise _ClientGone from None
        if not data:
            raise _ClientGone
        return data
