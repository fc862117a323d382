"""One HTTP connection: uvicorn's, with an end to how long and how large all that is no body may be, and to how many."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from aicn import defaults
from aicn.api.access import refuse
from aicn.api.caller import Caller
from aicn.api.errors import ApiError, Code
from aicn.api.request_parser import RequestParser

_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

_MADE_ROOM: Final = 16
"""When all places are taken, this part of them is cleared at once: looking for who is idle costs a look at all."""


class BoundedConnection(HttpToolsProtocol):
    """Closes a connection whose request head grows beyond bounds, or does not come.

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
        self._idle_since_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of the first head."""
        super().connection_made(transport)
        self._idle_since_s = self.loop.time()
        self._await_head()
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            self._make_room(self.limit_concurrency // _MADE_ROOM + 1)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._head_is_here()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and count what is no body: heads, trailers, and what stands between the parts of a body."""
        self._bare_bytes += len(data)
        super().data_received(data)
        if self._bare_bytes > defaults.HTTP_HEAD_MAX_BYTES:
            # Behind its head a request may be in the middle of its answer, where no other one can begin.
            self._refuse(_TOO_LARGE if self._reading_head else b"")

    def on_message_begin(self) -> None:
        """Called by the parser; the head of a later request on the connection begins."""
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
        if not parser.at_offer:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Called when an answer has been sent."""
        self._idle_since_s = self.loop.time()
        super().on_response_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Called for each request. Uvicorn's own words for too many are none that an SDK understands."""
        answers: Any = _too_many if app is service_unavailable else app
        super()._start_asgi_task(cycle, answers)

    def _await_head(self) -> None:
        self._bare_bytes = 0
        self._reading_head = True
        self._deadline = self.loop.call_later(defaults.API_HEAD_TIMEOUT_S, self._refuse, _TOO_SLOW)

    def _head_is_here(self) -> None:
        self._bare_bytes = 0
        self._reading_head = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, answer: bytes) -> None:
        self._head_is_here()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()

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
