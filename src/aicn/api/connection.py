"""One HTTP connection: uvicorn's, with an end to how long and how large all that is no body may be, and to how many."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from aicn import defaults
from aicn.api.access import refuse
from aicn.api.caller import Caller
from aicn.api.errors import ApiError, Code
from aicn.api.lingering import LingeringTransport
from aicn.api.request_parser import RequestParser


def _bare(status: HTTPStatus, slug: str, message: str) -> bytes:
    """Return an answer to what is no whole request: nothing tells of which API it would have been one."""
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": slug}
    body = msgspec.json.encode({"code": int(Code.PARAMETER), "message": message, "error": error})
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json; charset=utf-8\r\n"
    return f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body


_MALFORMED: Final = _bare(
    HTTPStatus.BAD_REQUEST, "invalid_request", "what arrived is no request in HTTP; its lines or its length are wrong"
)
_TOO_LARGE: Final = _bare(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "headers_too_large",
    f"the headers of the request are longer than {defaults.HTTP_HEAD_MAX_BYTES} bytes",
)
_TOO_SLOW: Final = _bare(
    HTTPStatus.REQUEST_TIMEOUT,
    "request_timeout",
    f"the headers of the request did not arrive within {defaults.API_HEAD_TIMEOUT_S:g} s",
)

_log = logging.getLogger("aicn.api")

_MADE_ROOM: Final = 16
"""When all places are taken, this part of them is cleared at once: looking for who is idle costs a look at all."""


class _TooManyPipelined(Exception):
    """More requests wait on one connection than may."""


class BoundedConnection(HttpToolsProtocol):
    """Closes a connection whose request head grows beyond bounds or does not come, or whose client reads no answer.

    When there are as many connections as may be, those that have been idle for longest make room for new ones: else
    whoever opens many and asks for nothing would shut out all others.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what uvicorn gives to each connection."""
        super().__init__(*args, **kwargs)
        self.parser = RequestParser(self)  # type: ignore[assignment] # all of it that is used here
        self._bare_bytes = 0
        """Received since the head of a request began, or since the last part of its body."""
        self._reading_head = True
        self._deadline: asyncio.TimerHandle | None = None
        self._unread_deadline: asyncio.TimerHandle | None = None
        """While the client takes nothing of what waits to be sent."""
        self._idle_since_s = 0.0
        self._lingering: LingeringTransport | None = None
        self._is_refused = False
        """Whether what arrives still is passed over unread: it is no request, or nobody knows where one begins."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of the first head."""
        self._lingering = LingeringTransport(transport, self._is_unread)
        super().connection_made(self._lingering)
        self._idle_since_s = self.loop.time()
        self._await_head()
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            self._make_room(self.limit_concurrency // _MADE_ROOM + 1)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        if self._lingering is not None:
            self._lingering.lost()
        self._head_is_here()
        self._is_read()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and count what is no body: heads, trailers, and what stands between the parts of a body."""
        if self._is_refused:
            return
        self._bare_bytes += len(data)
        super().data_received(data)
        if self._bare_bytes > defaults.HTTP_HEAD_MAX_BYTES:
            # Behind its head a request may be in the middle of its answer, where no other one can begin.
            self._refuse(_TOO_LARGE if self._reading_head else b"")

    def on_message_begin(self) -> None:
        """Called by the parser; the head of a later request on the connection begins.

        What is raised here ends the parsing of all that has arrived.
        """
        if len(self.pipeline) >= defaults.PIPELINED_MAX:
            raise _TooManyPipelined
        super().on_message_begin()
        if not self._reading_head:
            self._await_head()

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._head_is_here()
        super().on_headers_complete()
        # What comes as trailers is not added to the headers of the request: they were judged as they are.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._bare_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        parser: Any = self.parser
        if parser.at_offer:
            return
        super().on_message_complete()
        if self._lingering is not None and self._lingering.lingers:
            self.transport.close()

    def pause_writing(self) -> None:
        """Called by the transport: more waits to be sent than is held. From now on the client must take some of it."""
        super().pause_writing()
        self._unread_deadline = self.loop.call_later(defaults.STALL_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Called by the transport: the client has taken most of it."""
        self._is_read()
        super().resume_writing()

    def _is_read(self) -> None:
        if self._unread_deadline is not None:
            self._unread_deadline.cancel()
            self._unread_deadline = None

    def on_response_complete(self) -> None:
        """Called when an answer has been sent."""
        self._idle_since_s = self.loop.time()
        super().on_response_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Called for each request. Uvicorn's own words for too many are none that an SDK understands."""
        answers: Any = _too_many if app is service_unavailable else app
        super()._start_asgi_task(cycle, answers)

    def send_400_response(self, msg: str) -> None:
        """Called where the parser finds that something is no HTTP; `msg` are uvicorn's words for that."""
        _log.debug("%s", msg)
        self._refuse(_MALFORMED if self.is_idle else b"")  # not in the middle of an answer

    def _await_head(self) -> None:
        self._bare_bytes = 0
        self._reading_head = True
        self._deadline = self.loop.call_later(defaults.API_HEAD_TIMEOUT_S, self._end_with, _TOO_SLOW)

    def _head_is_here(self) -> None:
        self._bare_bytes = 0
        self._reading_head = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, answer: bytes) -> None:
        """End the connection of a client that may be sending still; at once if there is nothing to tell it."""
        self._is_refused = True
        if answer:
            self._end_with(answer)
        else:
            self._head_is_here()
            self.transport.abort()

    def _end_with(self, answer: bytes) -> None:
        self._head_is_here()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()

    def _is_unread(self) -> bool:
        # The parser tells the cycle of the end of a request only while it is not answered.
        return self._is_refused or (self.cycle is not None and self.cycle.more_body)  # type: ignore[redundant-expr]

    def _make_room(self, number: int) -> None:
        """Close so many connections on which no request is under way, those first that have been idle for longest."""
        idle = [each for each in self.connections if isinstance(each, BoundedConnection) and each.is_idle]
        for connection in sorted(idle, key=lambda each: each._idle_since_s)[:number]:  # noqa: SLF001 - of this class
            if connection is not self:
                self.connections.discard(connection)
                connection.transport.abort()

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way, though one may have begun to arrive."""
        return self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr] # None at first


async def _too_many(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request for which there is no room: as many are under way as may be."""
    error = ApiError(
        Code.BUFFER,
        "this node answers as many requests as it may; ask again in a moment",
        503,
        retry_after_s=1.0,
        headers=((b"connection", b"close"),),
    )
    await refuse(Caller(scope, receive, send), error)
