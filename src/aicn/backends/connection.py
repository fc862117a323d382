"""One connection to a model server: a request out, an answer in, then perhaps another."""

from __future__ import annotations

import asyncio
from typing import cast

from aicn import defaults
from aicn.errors import BackendBroken, BackendError, BackendTimeout, WireError
from aicn.idleclock import IdleClock
from aicn.wire.http_frames import ResponseHead, ResponseParser


class BackendConnection(asyncio.Protocol):
    """HTTP/1.1 on one socket, one exchange at a time.

    Attributes:
        head: status and headers of the present answer, once they have arrived.
    """

    def __init__(self, idle_timeout_s: float) -> None:
        """`idle_timeout_s` bounds the silence before the head and between two reads of the body."""
        self._transport: asyncio.Transport | None = None
        self._parser = ResponseParser()
        self._clock = IdleClock(idle_timeout_s, self._silent)
        self._idle_timeout_s = idle_timeout_s
        self._arrived: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._error: BackendError | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._reading = True
        self._writing = True
        self._in_use = False
        self._sent_whole = False

    # --- what the pool asks -------------------------------------------------------------------------------

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent on it now."""
        transport = self._transport
        return (
            transport is not None
            and not transport.is_closing()
            and self._error is None
            and (not self._in_use or (self._sent_whole and self._parser.keep_alive and not self._body))
        )

    def begin(self) -> None:
        """Get ready for an exchange."""
        self._in_use = True
        self._sent_whole = False
        self._parser = ResponseParser()
        self._clock.start()

    def release(self) -> None:
        """Rest between two exchanges."""
        self._in_use = False
        self._clock.stop()

    def abort(self) -> None:
        """Close at once: whatever the model server still does is for nobody. Idempotent."""
        self._clock.stop()
        if self._transport is not None:
            self._transport.abort()

    # --- the exchange -------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Hand over bytes of the request; `drain` waits for them to leave."""
        if self._error is None and self._transport is not None:
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait while the model server takes the request too slowly."""
        while not self._writing and self._error is None:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    def progress(self) -> None:
        """Note that a part of the request has left: a model server that takes a request is not silent."""
        if self._arrived is not None:
            self._clock.begin()

    def sent(self) -> None:
        """Note that the request is whole."""
        self._sent_whole = True

    async def read_head(self) -> ResponseHead:
        """Wait for the head of the answer.

        Raises:
            BackendTimeout, BackendBroken: it did not come.
        """
        while (head := self._parser.head) is None:
            if self._error is not None:
                raise self._error
            await self._wait()
        return head

    def take_ready(self) -> bytes:
        """Return what of the body has arrived, `b""` if nothing; does not wait."""
        if not self._body:
            return b""
        data = b"".join(self._body) if len(self._body) > 1 else self._body[0]
        self._body.clear()
        self._body_bytes = 0
        if not self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()
        return data

    async def read_some(self) -> bytes:
        """Return what of the body has arrived; wait if nothing has; `b""` at its end.

        Raises:
            BackendTimeout, BackendBroken: the rest did not come.
        """
        while not (data := self.take_ready()):
            if self._parser.complete:
                return b""
            if self._error is not None:
                raise self._error
            await self._wait()
        return data

    async def _wait(self) -> None:
        self._arrived = asyncio.get_running_loop().create_future()
        self._clock.begin()
        try:
            await self._arrived
        finally:
            self._clock.end()
            self._arrived = None

    def _silent(self) -> None:
        self._fail(BackendTimeout(f"the model server sent nothing for {self._idle_timeout_s:g} s"))

    def _fail(self, error: BackendError) -> None:
        if self._error is None:
            self._error = error
        self._wake()
        self.abort()

    def _wake(self) -> None:
        for waiter in (self._arrived, self._drained):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    # --- what the event loop calls ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        # uvloop's transports are no subclass of asyncio's, only alike.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if not self._in_use:
            self._fail(BackendBroken("the model server spoke without being asked"))
            return
        try:
            self._parser.feed(data)
        except WireError as error:
            self._fail(BackendBroken(f"the model server's answer cannot be read: {error}"))
            return
        body = self._parser.take_body()
        if body:
            self._body.append(body)
            self._body_bytes += len(body)
            if self._body_bytes > defaults.BACKEND_READ_BUFFER_BYTES and self._reading and self._transport is not None:
                self._reading = False
                self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        if self._in_use and exc is not None:
            # A body that has no other end than that of its connection would look whole.
            self._error = self._error or BackendBroken("the model server broke off its answer")
        elif self._in_use:
            try:
                self._parser.eof()
            except WireError:
                self._error = self._error or BackendBroken("the model server broke off its answer")
        self._error = self._error or BackendBroken("the model server closed the connection")
        self._wake()

    def pause_writing(self) -> None:
        """Called by the loop."""
        self._writing = False

    def resume_writing(self) -> None:
        """Called by the loop."""
        self._writing = True
        self._wake()
