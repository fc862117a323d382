"""`/chat-proxy/0.0.1` and `/aicn/inference/0.1.0`, the asking side: one HTTP exchange over one stream to one peer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager

from aicn.errors import NetworkError, NetworkTimeout, TruncatedFrame
from aicn.ids import InstanceId, PeerId
from aicn.p2p.host import Stream
from aicn.routing.answer import Answer
from aicn.routing.ask import Ask
from aicn.routing.body import StreamedBody
from aicn.tripwire import Tripwire
from aicn.wire.http_frames import (
    LAST_CHUNK,
    RequestHead,
    ResponseHead,
    ResponseParser,
    build_model_target,
    encode_chunk,
    encode_request_head,
    path_of,
    protocol_of,
)

_log = logging.getLogger("aicn.routing")

OpenStream = Callable[[PeerId, str, bytes], Awaitable[Stream]]
"""Opens a stream of a protocol to a peer, this node itself included, and hands over its first bytes."""


def ask_peer(
    open_stream: OpenStream, peer: PeerId, cid: InstanceId, ask: Ask, timeout_s: float | None = None
) -> AbstractAsyncContextManager[Answer]:
    """Send `ask` to `peer`; the block gets the answer, of which the head has been read.

    A body that is still arriving is sent on while the answer is awaited and read; an answer that tells of a failure
    ends the sending. A block that ends before the answer is complete, or is cancelled, resets the stream: the peer
    then cancels the request at its model server.

    Args:
        open_stream: opens the stream.
        peer: who is asked.
        cid: for which instance; empty for any.
        ask: what is asked.
        timeout_s: for the head of the answer, if less than `ask` allows.

    Raises:
        NetworkError, WireError: the peer could not be asked, or did not answer.
        Exception: whatever the body raised while it arrived.
    """
    limit_s = ask.first_byte_timeout_s if timeout_s is None else min(timeout_s, ask.first_byte_timeout_s)
    if isinstance(ask.body, bytes):
        return _HeldExchange(open_stream, peer, cid, ask, limit_s)
    return _streamed_exchange(open_stream, peer, cid, ask, ask.body, limit_s)


class _HeldExchange(AbstractAsyncContextManager[Answer]):
    """An exchange whose request is one write. On the way of every chat, hence without generators and stacks."""

    __slots__ = ("_answer", "_ask", "_cid", "_limit_s", "_open_stream", "_peer", "_stream")

    def __init__(self, open_stream: OpenStream, peer: PeerId, cid: InstanceId, ask: Ask, limit_s: float) -> None:
        self._open_stream = open_stream
        self._peer = peer
        self._cid = cid
        self._ask = ask
        self._limit_s = limit_s
        self._stream: Stream | None = None
        self._answer: Answer | None = None

    async def __aenter__(self) -> Answer:
        ask, parser = self._ask, ResponseParser()
        try:
            async with asyncio.timeout(self._limit_s):
                first = _beginning(ask, self._cid)
                self._stream = stream = await self._open_stream(self._peer, protocol_of(ask.endpoint), first)
                head = await _read_head(stream, parser)
        except TimeoutError as error:
            self._reset()
            raise _too_late(self._limit_s) from error
        except BaseException:
            self._reset()
            raise
        self._answer = answer = Answer(stream, self._cid, head, parser, ask)
        answer.watch()
        return answer

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        answer, stream = self._answer, self._stream
        if answer is None or stream is None:
            return
        answer.unwatch()
        try:
            if kind is None and answer.complete and answer.received:
                await stream.close()
        finally:
            self._reset()

    def _reset(self) -> None:
        if self._stream is not None:
            self._stream.reset()


@asynccontextmanager
async def _streamed_exchange(
    open_stream: OpenStream, peer: PeerId, cid: InstanceId, ask: Ask, body: StreamedBody, limit_s: float
) -> AsyncIterator[Answer]:
    parser = ResponseParser()
    stream: Stream | None = None
    try:
        async with AsyncExitStack() as uploading:
            try:
                async with asyncio.timeout(limit_s) as limit:
                    stream = await open_stream(peer, protocol_of(ask.endpoint), _beginning(ask, cid))
                    # The clock of the first byte starts again when the body is through.
                    limit.reschedule(None)
                    upload = _Upload(stream, body, limit, limit_s)
                    await uploading.enter_async_context(Tripwire(upload.run))
                    answered = await _read_head(stream, parser)
            except TimeoutError as error:
                raise _too_late(limit_s) from error
            upload.answered()
            if answered.status >= 400:  # noqa: PLR2004 - the rest of the request changes nothing any more
                await uploading.aclose()
            answer = Answer(stream, cid, answered, parser, ask)
            answer.watch()
            try:
                yield answer
            finally:
                answer.unwatch()
            if answer.complete and answer.received and upload.finished:
                await stream.close()
    finally:
        if stream is not None:
            stream.reset()


def _too_late(limit_s: float) -> NetworkTimeout:
    return NetworkTimeout(f"the peer did not answer within {limit_s:g} s")


def _beginning(ask: Ask, cid: InstanceId) -> bytes:
    """Return the head of the request and what of its body is held."""
    body = ask.body
    data = body if isinstance(body, bytes) else body.beginning
    size_bytes = len(body) if isinstance(body, bytes) else body.size_bytes
    if size_bytes is None:
        length = (b"transfer-encoding", b"chunked")
        data = encode_chunk(data) if data else data
    else:
        length = (b"content-length", b"%d" % size_bytes)
    head = RequestHead(
        "POST",
        build_model_target(path_of(ask.endpoint), ask.project, ask.model, cid),
        ((b"host", b"aicn"), *ask.headers, length, (b"x-aicn-errors", b"1")),
    )
    return encode_request_head(head) + data


async def _read_head(stream: Stream, parser: ResponseParser) -> ResponseHead:
    while (answered := parser.head) is None:
        received = await stream.read()
        if not received:
            parser.eof()
            raise TruncatedFrame("the peer ended the stream without an answer")
        parser.feed(received)
    return answered


class _Upload:
    """Sends the rest of a body, and then starts the clock of the first byte.

    Attributes:
        finished: whether the whole body was sent.
    """

    def __init__(self, stream: Stream, body: StreamedBody, limit: asyncio.Timeout, first_byte_timeout_s: float) -> None:
        self._stream = stream
        self._body = body
        self._limit: asyncio.Timeout | None = limit
        self._first_byte_timeout_s = first_byte_timeout_s
        self.finished = False

    async def run(self) -> None:
        """Send; raises what the body raises."""
        chunked = self._body.size_bytes is None
        try:
            async with aclosing(self._body.take_rest()) as rest:
                async for part in rest:
                    await self._stream.write(encode_chunk(part) if chunked else part)
            if chunked:
                await self._stream.write(LAST_CHUNK)
        except NetworkError as error:
            # Whoever reads the answer learns more: it may have come before the stream broke.
            _log.debug("the rest of a request could not be sent: %s", error)
        else:
            self.finished = True
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time() + self._first_byte_timeout_s)

    def answered(self) -> None:
        """Note that the head of the answer is here, so that its clock has stopped."""
        self._limit = None
