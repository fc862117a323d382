"""`/chat-proxy/0.0.1` and `/aicn/inference/0.1.0`, the asking side: one HTTP exchange over one stream to one peer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

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


@asynccontextmanager
async def ask_peer(open_stream: OpenStream, peer: PeerId, cid: InstanceId, ask: Ask) -> AsyncIterator[Answer]:
    """Send `ask` to `peer`; the block gets the answer, of which the head has been read.

    A body that is still arriving is sent on while the answer is awaited and read; an answer that tells of a failure
    ends the sending. A block that ends before the answer is complete, or is cancelled, resets the stream: the peer
    then cancels the request at its model server.

    Raises:
        NetworkError, WireError: the peer could not be asked, or did not answer.
        Exception: whatever the body raised while it arrived.
    """
    body = ask.body
    parser = ResponseParser()
    stream: Stream | None = None
    upload: _Upload | None = None
    try:
        async with AsyncExitStack() as uploading:
            try:
                async with asyncio.timeout(ask.first_byte_timeout_s) as limit:
                    stream = await open_stream(peer, protocol_of(ask.endpoint), _beginning(ask, cid))
                    if not isinstance(body, bytes):
                        # The clock of the first byte starts again when the body is through.
                        limit.reschedule(None)
                        upload = _Upload(stream, body, limit, ask.first_byte_timeout_s)
                        await uploading.enter_async_context(Tripwire(upload.run))
                    answered = await _read_head(stream, parser)
            except TimeoutError as error:
                raise NetworkTimeout(f"the peer did not answer within {ask.first_byte_timeout_s:g} s") from error
            if upload is not None:
                upload.answered()
                if answered.status >= 400:  # noqa: PLR2004 - the rest of the request changes nothing any more
                    await uploading.aclose()
            answer = Answer(stream, cid, answered, parser, ask)
            answer.watch()
            try:
                yield answer
            finally:
                answer.unwatch()
            if answer.complete and answer.received and (upload is None or upload.finished):
                await stream.close()
    finally:
        if stream is not None:
            stream.reset()


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
