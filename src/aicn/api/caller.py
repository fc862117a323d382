"""One HTTP request as the handlers see it: a body with a limit, a client that may hang up, an answer."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from itertools import count
from typing import Any, Final

import msgspec
from starlette.types import Receive, Scope, Send

from aicn import defaults
from aicn.api.budget import Budget
from aicn.api.errors import ApiError, Code
from aicn.ids import RequestId
from aicn.routing import StreamedBody
from aicn.wire.http_frames import REQUEST_ID_HEADER, header_text, request_id_of
from aicn.wire.http_frames import Headers as WireHeaders

Headers = Sequence[tuple[bytes, bytes]]

_OK = 200

STOPPING: Final = "aicn.stopping"
"""Where in the state of a request the event is that tells of the end of the server."""

_PROCESS = secrets.token_hex(8)
_number = count(1)
"""With it the ids of requests are unique: a number costs a tenth of what chance does."""


def name_of_request(headers: WireHeaders) -> RequestId:
    """Return the id of a request with these headers: the one that its client chose, or one of our own."""
    return request_id_of(headers) or RequestId(f"{_PROCESS}{next(_number):08x}")


class ClientGone(Exception):
    """The client closed its connection. Nobody is left to answer."""


class Caller:
    """Reads one request and writes its answer straight through ASGI, without anything in between.

    Attributes:
        scope: what ASGI tells of the request.
        status: HTTP status of the answer, None before its head has been sent.
        request_id: names the request; empty for one that is not for a model.
        answered: whether something of the answer itself has been sent, which comments are not.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, budget: Budget | None = None) -> None:
        """Wrap the three parts of an ASGI HTTP call; what is held for it is counted in `budget`."""
        self.scope = scope
        self._receive = receive
        self._send = send
        self._budget = budget
        self._held_bytes = 0
        self._counted_bytes = 0
        self.status: int | None = None
        self.request_id = RequestId("")
        self._id_headers: Sequence[bytes] = ()
        self.answered = False
        self._upload_over: asyncio.Event | None = None
        self._releases: list[Callable[[], None]] = []

    def name_request(self, id_headers: Sequence[bytes] = (REQUEST_ID_HEADER,)) -> None:
        """Give the request the id that its client chose, or one of our own; answers tell it in `id_headers`."""
        self._id_headers = id_headers
        self.request_id = name_of_request(self.scope["headers"])

    @property
    def started(self) -> bool:
        """Whether the head of the answer has been sent."""
        return self.status is not None

    @property
    def is_cut_by_node(self) -> bool:
        """Whether a cancellation comes from the node, which stops, and not from the client."""
        stopping = self.scope.get("state", {}).get(STOPPING)
        return stopping is not None and stopping.is_set()

    @property
    def address(self) -> str:
        """The client's address, empty where it has none."""
        client = self.scope.get("client")
        return client[0] if client else ""

    def hold(self, size_bytes: int) -> None:
        """Count bytes that are held for this request, until `release`.

        Raises:
            ApiError: all requests together hold too much.
        """
        self._held_bytes += size_bytes
        more_bytes = self._held_bytes - defaults.HELD_UNCOUNTED_BYTES - self._counted_bytes
        if self._budget is not None and more_bytes > 0:
            self._budget.take(more_bytes)
            self._counted_bytes += more_bytes

    def at_release(self, release: Callable[[], None]) -> None:
        """Have `release` called when the request is over, however it ends."""
        self._releases.append(release)

    def release(self) -> None:
        """The request is over: nothing is held for it any more. Idempotent."""
        while self._releases:
            self._releases.pop()()
        if self._budget is not None and self._counted_bytes:
            self._budget.give_back(self._counted_bytes)
            self._counted_bytes = 0

    async def read_body(self, max_bytes: int = defaults.JSON_BODY_MAX_BYTES) -> bytes:
        """Return the whole request body.

        Raises:
            ApiError: it is longer than `max_bytes` (413), took too long (408), or finds no room (503).
            ClientGone: the client hung up in the middle.
        """
        if (self._declared_bytes() or 0) > max_bytes:
            raise _too_large(max_bytes)
        body, more = await self._read_beginning(max_bytes)
        if more or len(body) > max_bytes:
            raise _too_large(max_bytes)
        return body

    async def read_upload(self) -> bytes | StreamedBody:
        """Return the request body: whole if it is small, else its beginning with the rest to come.

        `defaults.UPLOAD_HELD_MAX_BYTES` are held, give or take one read.

        Raises:
            ApiError: it is longer than `defaults.REQUEST_BODY_MAX_BYTES` (413), took too long (408), or finds no room
                (503). The body raises the first two as well.
            ClientGone: the client hung up in the middle. The body raises this as well.
        """
        max_bytes = defaults.REQUEST_BODY_MAX_BYTES
        size_bytes = self._declared_bytes()
        if size_bytes is not None and size_bytes > max_bytes:
            raise _too_large(max_bytes)
        beginning, more = await self._read_beginning(defaults.UPLOAD_HELD_MAX_BYTES)
        if not more:
            return beginning
        self._upload_over = asyncio.Event()
        return StreamedBody(beginning, self._read_rest(max_bytes - len(beginning), self._upload_over), size_bytes)

    def _declared_bytes(self) -> int | None:
        value = next((value for name, value in self.scope["headers"] if name == b"content-length"), None)
        # The server has checked that it is a number.
        return None if value is None else int(value)

    async def _read_beginning(self, enough_bytes: int) -> tuple[bytes, bool]:
        """Return what of the body came until there was more than enough of it, and whether there is more to come."""
        try:
            async with asyncio.timeout(defaults.BODY_TIMEOUT_S):
                part, more = await self._next_part()
                self.hold(len(part))
                if not more:
                    return part, False
                parts = [part]
                size = len(part)
                while more and size <= enough_bytes:
                    part, more = await self._next_part()
                    self.hold(len(part))
                    parts.append(part)
                    size += len(part)
        except TimeoutError as error:
            raise _too_slow(defaults.BODY_TIMEOUT_S) from error
        return b"".join(parts), more

    async def _read_rest(self, left_bytes: int, over: asyncio.Event) -> AsyncGenerator[bytes]:
        deadline_s = time.monotonic() + defaults.UPLOAD_TIMEOUT_S
        more = True
        try:
            while more:
                wait_s = min(defaults.STALL_TIMEOUT_S, deadline_s - time.monotonic())
                try:
                    async with asyncio.timeout(wait_s):
                        part, more = await self._next_part()
                except TimeoutError as error:
                    raise _too_slow(max(0.0, wait_s)) from error
                left_bytes -= len(part)
                if left_bytes < 0:
                    raise _too_large(defaults.REQUEST_BODY_MAX_BYTES)
                if part:
                    yield part
        finally:
            over.set()

    async def _next_part(self) -> tuple[bytes, bool]:
        """Return the next part of the body, and whether there is more to come."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        return message.get("body", b""), message.get("more_body", False)

    async def raise_when_gone(self) -> None:
        """Wait until the client hangs up; one that takes nothing for too long is hung up on by its connection.

        To be called when the body has been read; while the rest of an upload is read, the upload finds out.

        Raises:
            ClientGone: it has.
        """
        if self._upload_over is not None:
            await self._upload_over.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        raise ClientGone

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head of the answer."""
        self.answered = True
        await self._start(status, headers)

    async def send(self, data: bytes) -> None:
        """Send a part of the body; waits while the client reads too slowly, which its connection puts an end to."""
        self.answered = True
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def _start(self, status: int, headers: Headers) -> None:
        self.status = status
        if self.request_id:
            headers = (*headers, *((name, self.request_id.encode()) for name in self._id_headers))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def comment(self, data: bytes, headers: Headers) -> None:
        """Send a comment of an event stream, and before the first one the head with status 200."""
        if self.status is None:
            await self._start(_OK, headers)
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Send the last part of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def answer(self, status: int, body: bytes, headers: Headers) -> None:
        """Send a whole answer."""
        await self.start(status, (*headers, (b"content-length", b"%d" % len(body))))
        await self.end(body)

    async def answer_json(self, status: int, value: Any, headers: Headers = ()) -> None:
        """Send `value` as JSON."""
        await self.answer(status, msgspec.json.encode(value), ((b"content-type", JSON_TYPE), *headers))


def refuse_encoded(headers: WireHeaders) -> None:
    """Refuse a body that is compressed: its model is to be read, and what it unpacks to has no bound.

    Raises:
        ApiError: it is (415).
    """
    encoding = header_text(headers, b"content-encoding").strip().lower()
    if encoding and encoding != "identity":
        raise ApiError(
            Code.PARAMETER,
            f"the body is encoded as {encoding[:32]!r}; send it as it is, without Content-Encoding",
            415,
            headers=((b"accept-encoding", b"identity"),),
        )


def _too_large(max_bytes: int) -> ApiError:
    return ApiError(Code.PARAMETER, f"the request body is larger than {max_bytes} bytes", 413)


def _too_slow(timeout_s: float) -> ApiError:
    return ApiError(Code.TIMEOUT, f"the request body did not arrive within {timeout_s:g} s", 408)


JSON_TYPE = b"application/json; charset=utf-8"
"""As the reference sends it."""
