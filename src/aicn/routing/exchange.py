"""`/chat-proxy/0.0.1` and `/aicn/inference/0.1.0`, the asking side: one HTTP exchange over one stream to one peer."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field

from aicn import defaults
from aicn.endpoints import Endpoint
from aicn.errors import MalformedFrame, NetworkError, NetworkTimeout, StreamReset, TruncatedFrame
from aicn.idleclock import IdleClock
from aicn.ids import InstanceId, ModelName, PeerId, ProjectName
from aicn.p2p.host import Stream
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

ERROR_HEADER = b"x-aicn-error"
"""Names the error, on an answer that comes from the node and not from its model server."""


_SLUG = re.compile(rb"[a-z_]{1,64}")


@dataclass(frozen=True, slots=True)
class Ask:
    """One request for one model."""

    project: ProjectName
    model: ModelName
    body: bytes | StreamedBody = field(repr=False)
    """The request body exactly as the model server shall see it."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """End-to-end headers for the model server, names in lower case, without Content-Length."""
    endpoint: Endpoint = Endpoint.CHAT
    """What is asked for. The peer finds it at its model server from the URL that is registered."""
    first_byte_timeout_s: float = defaults.FIRST_BYTE_TIMEOUT_S
    """From the end of the request to the head of its answer."""
    idle_timeout_s: float = defaults.ANSWER_IDLE_TIMEOUT_S

    @property
    def repeatable(self) -> bool:
        """Whether it can be sent once more."""
        return isinstance(self.body, bytes) or self.body.repeatable


class Answer:
    """The answer of one peer, as it arrives.

    Attributes:
        peer: who answers.
        cid: the instance that was asked for; empty for any.
        relayed: whether a relay carries the stream.
        status: HTTP status of the model server, or of the node when `node_error` is set.
        headers: end-to-end headers, names in lower case.
        node_error: slug of the node's own error; None when the model server answered.
        attempts: how many peers were tried, this one included. Set by the router.
    """

    def __init__(self, stream: Stream, cid: InstanceId, head: ResponseHead, parser: ResponseParser, ask: Ask) -> None:
        """Take over a stream of which the head has been read."""
        self._stream = stream
        self._parser = parser
        self._idle_timeout_s = ask.idle_timeout_s
        self._ahead = b""
        self._too_late = False
        self._clock = IdleClock(ask.idle_timeout_s, self._give_up)
        self.peer = stream.peer
        self.relayed = stream.relayed
        self.cid = cid
        self.status = head.status
        self.headers = head.headers
        self.attempts = 1
        self.node_error = next((_slug(value) for name, value in head.headers if name == ERROR_HEADER), None)

    async def prefetch(self) -> None:
        """Wait for the first bytes of the body, which `read_some` then returns: the point of no return."""
        self._ahead = await self.read_some()

    async def read_some(self) -> bytes:
        """Return what of the body has arrived; wait if nothing has; `b""` at its end.

        Raises:
            StreamReset, TruncatedFrame: the peer broke off.
            MalformedFrame: the peer does not speak HTTP.
            NetworkTimeout: silence for longer than the idle timeout.
        """
        if self._ahead:
            data, self._ahead = self._ahead, b""
            return data
        while not (data := self._parser.take_body()):
            if self._parser.complete:
                return b""
            self._clock.begin()
            try:
                received = await self._stream.read()
            except StreamReset:
                if self._too_late:
                    raise NetworkTimeout(f"the peer sent nothing for {self._idle_timeout_s:g} s") from None
                raise
            self._clock.end()
            if received:
                self._parser.feed(received)
            else:
                self._parser.eof()
        return data

    def watch(self) -> None:
        """From now until `unwatch`, end the stream if a read waits for longer than the idle timeout."""
        self._clock.start()

    def unwatch(self) -> None:
        """Undo `watch`."""
        self._clock.stop()

    def _give_up(self) -> None:
        self._too_late = True
        self._stream.reset()

    async def read_all(self, max_bytes: int, hold: Callable[[int], None], enough_bytes: int | None = None) -> bytes:
        """Return the rest of the body.

        Args:
            max_bytes: longest body that is accepted.
            hold: told of the bytes of each part before it is kept; what it raises ends the reading.
            enough_bytes: return, `complete` or not, when there are more than this; None: only at the end.

        Raises:
            MalformedFrame: it is longer than `max_bytes`.
            NetworkError, WireError: as `read_some`.
        """
        parts: list[bytes] = []
        size = 0
        while part := await self.read_some():
            size += len(part)
            if size > max_bytes:
                raise MalformedFrame(f"the answer is larger than {max_bytes} bytes")
            hold(len(part))
            parts.append(part)
            if enough_bytes is not None and size > enough_bytes:
                break
        return b"".join(parts) if len(parts) != 1 else parts[0]

    @property
    def complete(self) -> bool:
        """Whether the whole answer has arrived and been taken."""
        return self._parser.complete and not self._ahead


def _slug(value: bytes) -> str:
    """Return a peer's word for its error, which ends up in answers and logs, if it is a word at all."""
    return value.decode("ascii") if _SLUG.fullmatch(value) else "unknown"


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
            if answer.complete and (upload is None or upload.finished):
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
