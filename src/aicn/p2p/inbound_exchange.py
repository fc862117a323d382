"""One HTTP exchange over a stream, as whoever answers it sees it: reads the request, ends the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aicn import defaults
from aicn.errors import MalformedFrame, NetworkTimeout, StreamReset
from aicn.p2p.host import Stream
from aicn.wire.http_frames import RequestHead, RequestParser


class InboundExchange:
    """The framing of one stream that carries one HTTP request and one answer. The owner closes or resets the stream.

    A body that is here with its head is taken by `whole_body`, with `raise_when_reset` beside the work on it; one that
    is still arriving by `body`, with `pump_body` beside. Either way one reader watches the stream to its end, so that a
    reset is seen in every phase.
    """

    def __init__(self, stream: Stream) -> None:
        """Read from `stream`."""
        self._stream = stream
        self._parser = RequestParser()
        self._parts: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1)
        self._ended = False

    @property
    def head(self) -> RequestHead | None:
        """The head of the request, None before it is here."""
        return self._parser.head

    @property
    def complete(self) -> bool:
        """Whether the whole request has arrived."""
        return self._parser.complete

    async def read_head(self) -> RequestHead:
        """Wait for the head of the request.

        Raises:
            NetworkTimeout: it did not come within `defaults.STREAM_HEAD_TIMEOUT_S`.
            MalformedFrame: the peer does not speak HTTP.
            StreamReset, TruncatedFrame: the peer broke off.
        """
        try:
            async with asyncio.timeout(defaults.STREAM_HEAD_TIMEOUT_S):
                while (head := self._parser.head) is None:
                    self._feed(await self._stream.read())
        except TimeoutError as error:
            raise NetworkTimeout(
                f"the peer sent no request head within {defaults.STREAM_HEAD_TIMEOUT_S:g} s"
            ) from error
        return head

    async def read_more(self) -> bool:
        """Parse what arrives next; return whether the request goes on behind it.

        Raises:
            NetworkTimeout: nothing came within `defaults.STALL_TIMEOUT_S`.
            MalformedFrame, StreamReset, TruncatedFrame: as `read_head`.
        """
        try:
            async with asyncio.timeout(defaults.STALL_TIMEOUT_S):
                data = await self._stream.read()
        except TimeoutError as error:
            raise NetworkTimeout(f"the peer sent nothing for {defaults.STALL_TIMEOUT_S:g} s") from error
        self._feed(data)
        return not self._parser.complete

    def _feed(self, data: bytes) -> None:
        if data:
            self._parser.feed(data)
        else:
            self._parser.eof()

    def take_body(self) -> bytes:
        """Return what of the body was parsed since the last call."""
        return self._parser.take_body()

    def whole_body(self) -> bytes | None:
        """Return the body if it is here already, as it is for all but large uploads; None while it is arriving."""
        return self._parser.take_body() if self._parser.complete else None

    async def pump_body(self) -> None:
        """Move the body from the stream to `body()` as it arrives, then watch for a reset.

        Raises:
            MalformedFrame: it is longer than `defaults.REQUEST_BODY_MAX_BYTES`.
            NetworkTimeout: it takes longer than `defaults.UPLOAD_TIMEOUT_S`.
            NetworkError, WireError: as `read_more` and `raise_when_reset`.
        """
        try:
            async with asyncio.timeout(defaults.UPLOAD_TIMEOUT_S):
                await self._pump()
        except TimeoutError as error:
            raise NetworkTimeout(f"the request did not arrive within {defaults.UPLOAD_TIMEOUT_S:g} s") from error
        await self.raise_when_reset()

    async def _pump(self) -> None:
        received = 0
        while True:
            part = self._parser.take_body()
            received += len(part)
            if received > defaults.REQUEST_BODY_MAX_BYTES:
                raise MalformedFrame(
                    f"the request body is larger than {defaults.REQUEST_BODY_MAX_BYTES} bytes; send less"
                )
            if part:
                await self._parts.put(part)
            if self._parser.complete:
                break
            await self.read_more()
        await self._parts.put(b"")

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body as `pump_body` moves it."""
        while part := await self._parts.get():
            yield part

    async def raise_when_reset(self) -> None:
        """Wait until the peer resets the stream. A peer that only ends its half still wants the answer.

        Raises:
            StreamReset: it did.
            MalformedFrame: it sent more than one request.
        """
        try:
            more = await self._stream.read()
        except StreamReset:
            if self._ended:  # it was this side that closed it, in peace
                return
            raise
        if more:
            raise MalformedFrame("a stream carries one request, this one has more")

    async def end(self, data: bytes) -> None:
        """Send the last bytes of the answer; close, if the request has ended too."""
        if self._parser.complete:
            await self._stream.finish(data)
            self._ended = True
        else:
            await self._stream.write(data)
            await self._stream.close_write()
