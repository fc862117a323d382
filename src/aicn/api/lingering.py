"""Closing a connection whose client still sends: the last answer must reach it.

A socket that is closed with bytes unread answers with a reset, and a reset makes the other side forget what it had
received and not yet read. Who sends a large body that is refused at its beginning would see a broken connection, and a
proxy would make a failure of its own of it. Source: RFC 9112, section 9.6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aicn import defaults


class LingeringTransport(asyncio.Transport):
    """A transport whose `close` goes on reading for a while, where a request is not whole yet.

    What is read then is the protocol's to pass over; `close` a second time closes at once.
    """

    def __init__(self, transport: asyncio.Transport, is_unread: Callable[[], bool]) -> None:
        """Close `transport` late where `is_unread`."""
        super().__init__()
        self._transport = transport
        self._is_unread = is_unread
        self._end: asyncio.TimerHandle | None = None
        # Called for every part of every answer.
        self.get_extra_info = transport.get_extra_info  # type: ignore[method-assign]
        self.pause_reading = transport.pause_reading  # type: ignore[method-assign]
        self.resume_reading = transport.resume_reading  # type: ignore[method-assign]

    @property
    def lingers(self) -> bool:
        """Whether it is closed but for reading."""
        return self._end is not None

    def is_closing(self) -> bool:
        """Return whether nothing can be written any more."""
        return self._end is not None or self._transport.is_closing()

    def write(self, data: Any) -> None:
        """Write, unless it has been closed."""
        if self._end is None:
            self._transport.write(data)

    def close(self) -> None:
        """Send what was written and then the end; close when the client has heard of it, or after a while."""
        transport = self._transport
        if self._end is not None or transport.is_closing() or not self._is_unread():
            self.lost()
            transport.close()
            return
        self._end = asyncio.get_running_loop().call_later(defaults.LINGER_S, transport.close)
        if transport.can_write_eof():
            transport.write_eof()
        if not transport.is_reading():
            transport.resume_reading()

    def abort(self) -> None:
        """Close at once, whatever was written."""
        self.lost()
        self._transport.abort()

    def lost(self) -> None:
        """The connection is gone: stop the clock. Idempotent."""
        if self._end is not None:
            self._end.cancel()
