"""The answer of one peer, as it arrives: held until its content begins, then passed on."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Final

from aicn import defaults
from aicn.endpoints import WRITTEN
from aicn.errors import MalformedFrame, NetworkError, NetworkTimeout, StreamReset, TruncatedFrame, WireError
from aicn.idleclock import IdleClock
from aicn.ids import InstanceId
from aicn.p2p.host import Stream
from aicn.routing.ask import Ask
from aicn.routing.first_content import FirstContent, Found
from aicn.routing.no_answer import begins_answer, is_answer, is_object
from aicn.routing.told_failure import as_answer, told_status
from aicn.telemetry import TokenReader
from aicn.wire.http_frames import ResponseHead, ResponseParser

ERROR_HEADER: Final = b"x-aicn-error"
"""Names the error, on an answer that comes from the node and not from its model server."""

_SLUG: Final = re.compile(rb"[a-z_]{1,64}")
_JSON: Final = b"application/json"
_EVENTS: Final = b"text/event-stream"
_OK: Final = 200
_SUCCESS_BELOW: Final = 300
_FAILED_FROM: Final = 400

_MAY_BE_JSON: Final = frozenset({b"", b"application/problem+json", b"text/json", b"text/plain"})
"""What servers and the proxies before them call JSON as well."""


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
        is_json: whether it is a whole JSON document, whatever the model server calls it.
        told_status: the status that a failure told with status 200 should have had; None if there was none.
        events: how many events of a stream have been read, about as many as there were tokens.
        waited_s: how long reads have waited for the peer. The rest of the time the reader was busy elsewhere.
        broken: whether it broke off.
        excused: whether a refusal is not for what the client wrote, but for what this node has added to it.
        on_abandon: frees the place of the request. Set by the router.
    """

    def __init__(self, stream: Stream, cid: InstanceId, head: ResponseHead, parser: ResponseParser, ask: Ask) -> None:
        """Take over a stream of which the head has been read."""
        self._stream = stream
        self._parser = parser
        self._endpoint = ask.endpoint
        self._request_bytes = len(ask.body) if isinstance(ask.body, bytes) else 0
        self._told_tokens = 0
        self._idle_timeout_s = ask.idle_timeout_s
        self._ahead = b""
        self._replaced = False
        self._streams = False
        self._too_late = False
        self._clock = IdleClock(ask.idle_timeout_s, self._give_up)
        self.peer = stream.peer
        self.relayed = stream.relayed
        self.cid = cid
        self.status = head.status
        self.headers = head.headers
        self.attempts = 1
        self.is_json = False
        self.told_status: int | None = None
        self.events = 0
        self.waited_s = 0.0
        self.broken = False
        self.excused = False
        self.on_abandon: Callable[[], Awaitable[None]] | None = None
        self.node_error = next((_slug(value) for name, value in head.headers if name == ERROR_HEADER), None)

    async def prefetch(self, timeout_s: float | None = None) -> None:
        """Wait for the first content, which `read_some` then returns with all before it: the point of no return.

        The content of events is what `FirstContent` takes for it. If a failure is told first, the answer becomes that
        failure, with its status. A JSON answer that is not said to be long is awaited whole, as far as it is kept:
        nothing of it leaves before. Of anything else the first bytes are content. What cannot be an answer of the
        endpoint, whatever its status says, becomes the failure that it is.

        Args:
            timeout_s: how long to wait; None: as long as there is no silence.

        Raises:
            TruncatedFrame: the stream of events ended before any content.
            NetworkTimeout: it took too long.
            NetworkError, WireError: as `read_some`.
        """
        if timeout_s is None or self._parser.complete:
            await self._prefetch()
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._prefetch()
        except TimeoutError:
            raise NetworkTimeout("the peer sent no content in time") from None

    async def _prefetch(self) -> None:
        kind = self._header(b"content-type").partition(b";")[0].strip().lower()
        if self._header(b"content-encoding").lower() not in {b"", b"identity"} and self.node_error is None:
            status, body = _ENCODED
            self._become(self.status if self.status >= _FAILED_FROM else status, body)
        elif kind == _EVENTS and self.status == _OK:
            self._streams = True
            await self._until_content(FirstContent(self._endpoint, self._request_bytes))
        elif self.node_error is None and _SUCCESS_BELOW <= self.status < _FAILED_FROM:
            self._become(*_REDIRECT)
        elif (kind == _JSON or self._must_be_json(kind)) and not self._is_long():
            await self._until_whole()
        elif self._claims_success():
            await self._until_begun(kind)
        else:
            self._ahead = await self.read_some()

    def _must_be_json(self, kind: bytes) -> bool:
        return kind in _MAY_BE_JSON and self._claims_success() and is_object(self._endpoint)

    async def _until_whole(self) -> None:
        """Wait for a JSON answer, or for as much of it as is kept, and see whether it is one."""
        await self._gather()
        self.is_json = True
        if not self._parser.complete:
            # Longer than it was said to be, or than anybody said.
            if self._claims_success() and not begins_answer(self._endpoint, _JSON, self._ahead):
                self._become(*_NO_ANSWER)
            return
        if self.status == _OK:
            self.told_status = told_status(self._ahead)
        if self.told_status is not None or not self._claims_success():
            return
        if not is_answer(self._endpoint, self._ahead):
            self._become(*_NO_ANSWER)
            return
        reader = TokenReader()
        reader.feed(self._ahead)
        self._told_tokens = reader.completion_tokens or 0

    def _claims_success(self) -> bool:
        return self.node_error is None and self.status < _SUCCESS_BELOW

    async def _until_begun(self, kind: bytes) -> None:
        """Wait for the first bytes that are more than white space, and see whether an answer begins so."""
        held = bytearray()
        begins = None
        while begins is None and len(held) < defaults.FIRST_CONTENT_HELD_MAX_BYTES:
            part = await self.read_some()
            held += part
            # Of what came before it, none was more than white space.
            begins = begins_answer(self._endpoint, kind, part)
            if not part:
                break
        self._ahead = bytes(held)
        if not begins:
            self._become(*_NO_ANSWER)

    async def _until_content(self, first: FirstContent) -> None:
        # No list of parts: a peer may send a few bytes at a time, and each part takes many more.
        held = bytearray()
        found = Found.NOTHING
        while found is Found.NOTHING:
            part = await self.read_some()
            held += part
            found = first.feed(part) if part else first.finish()
            if not part and found is Found.NOTHING:
                self.broken = True
                raise TruncatedFrame("the model server ended its stream before any content")
        if found is Found.FAILURE:
            self._become(*as_answer(first.failure or b""))
        else:
            self._ahead = bytes(held)

    def _become(self, status: int, body: bytes) -> None:
        """Put an honest failure in the place of what the model server said."""
        self.status, self._ahead = status, body
        self.headers = tuple(pair for pair in self.headers if pair[0] not in _OF_THE_BODY)
        self.headers = ((b"content-type", _JSON), *self.headers)
        self._replaced = self.is_json = True

    def _is_long(self) -> bool:
        length = self._header(b"content-length")
        return length.isdigit() and int(length) > defaults.FIRST_CONTENT_HELD_MAX_BYTES

    async def _gather(self) -> None:
        """Read on until the end, or until there is more than is kept."""
        held = bytearray()
        while len(held) <= defaults.REFUSAL_KEPT_MAX_BYTES and (part := await self.read_some()):
            held += part
        self._ahead = bytes(held)

    async def keep(self) -> bool:
        """Read the rest of a failed answer, so that it can be passed on when its stream is gone.

        Returns:
            False if it is too long, too slow or broken: then there is nothing to pass on.
        """
        try:
            async with asyncio.timeout(defaults.REFUSAL_TIMEOUT_S):
                await self._gather()
        except (TimeoutError, NetworkError, WireError):
            return False
        return self._replaced or self._parser.complete

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
        if self._replaced:
            return b""
        try:
            while not (data := self._parser.take_body()):
                if self._parser.complete:
                    return b""
                began_s = time.monotonic()
                self._clock.begin()
                received = await self._stream.read()
                self._clock.end()
                self.waited_s += time.monotonic() - began_s
                if received:
                    self._parser.feed(received)
                else:
                    self._parser.eof()
        except (NetworkError, WireError) as error:
            self.broken = True
            if self._too_late and isinstance(error, StreamReset):
                raise NetworkTimeout(f"the peer sent nothing for {self._idle_timeout_s:g} s") from None
            raise
        if self._streams:
            self.events += data.count(b"data:")
        return data

    async def abandon(self) -> None:
        """Give up on an answer that broke off: its place is free, and its end is known, before the block ends."""
        if self.on_abandon is not None:
            await self.on_abandon()

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
        held = bytearray()
        while part := await self.read_some():
            if len(held) + len(part) > max_bytes:
                raise MalformedFrame(f"the answer is larger than {max_bytes} bytes")
            hold(len(part))
            held += part
            if enough_bytes is not None and len(held) > enough_bytes:
                break
        return bytes(held)

    @property
    def tokens(self) -> int:
        """How many tokens were written, about; 0 where nothing tells."""
        return self.events if self._streams else self._told_tokens

    @property
    def is_written_whole(self) -> bool:
        """Whether it is a text of which nothing came before all of it was written."""
        return not self._streams and self._endpoint in WRITTEN

    @property
    def complete(self) -> bool:
        """Whether the whole answer has arrived and been taken."""
        return (self._replaced or self._parser.complete) and not self._ahead

    @property
    def received(self) -> bool:
        """Whether the peer has sent all of it."""
        return self._parser.complete

    @property
    def ahead(self) -> bytes:
        """What has been read of the body and not been taken."""
        return self._ahead

    def _header(self, wanted: bytes) -> bytes:
        return next((value for name, value in self.headers if name == wanted), b"")


_NO_ANSWER: Final = as_answer(
    b'{"error":{"message":"the model server said that all is well, and answered with nothing that is an answer",'
    b'"type":"server_error","param":null,"code":"model_server_failed"}}'
)

_REDIRECT: Final = as_answer(
    b'{"error":{"message":"the model server answered with a redirect, and nodes follow none",'
    b'"type":"server_error","param":null,"code":"model_server_failed"}}'
)

_ENCODED: Final = as_answer(
    b'{"error":{"message":"the model server answered in an encoding that nobody has asked for",'
    b'"type":"server_error","param":null,"code":"model_server_failed"}}'
)
"""Nobody here can see whether it is an answer, and a small one may be unpacked to gigabytes."""

_OF_THE_BODY: Final = frozenset({b"content-type", b"content-length", b"content-encoding", b"cache-control"})


def _slug(value: bytes) -> str:
    """Return a peer's word for its error, which ends up in answers and logs, if it is a word at all."""
    return value.decode("ascii") if _SLUG.fullmatch(value) else "unknown"
