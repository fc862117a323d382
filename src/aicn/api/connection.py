"""One HTTP connection: uvicorn's, with an end to how long and how large the head of a request may be."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from aicn import defaults

_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedConnection(HttpToolsProtocol):
    """Closes a connection whose request head grows beyond bounds, or does not come."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what uvicorn gives to each connection."""
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._reading_head = True
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of the first head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._head_is_here()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and count while the head is incomplete."""
        if self._reading_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._reading_head and self._head_bytes > defaults.HTTP_HEAD_MAX_BYTES:
            self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Called by the parser; the head of a later request on the connection begins."""
        super().on_message_begin()
        if not self._reading_head:
            self._await_head()

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._head_is_here()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._reading_head = True
        self._deadline = self.loop.call_later(defaults.API_HEAD_TIMEOUT_S, self._refuse, _TOO_SLOW)

    def _head_is_here(self) -> None:
        self._reading_head = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, answer: bytes) -> None:
        self._head_is_here()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()
