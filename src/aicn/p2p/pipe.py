"""Two connected streams inside one process, with the same rules as streams between two nodes."""

from __future__ import annotations

import asyncio

from aicn import defaults
from aicn.errors import NetworkTimeout, StreamReset
from aicn.ids import PeerId


class _Half:
    """One direction: a bounded buffer with one reader and one writer."""

    __slots__ = ("broken", "buffer", "ended", "readable", "writable")

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.ended = False
        """The writer will send no more."""
        self.broken = False
        self.readable: asyncio.Future[None] | None = None
        self.writable: asyncio.Future[None] | None = None

    def wake(self) -> None:
        for waiter in (self.readable, self.writable):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)


class PipeStream:
    """One end of a pipe; a `Stream`."""

    def __init__(self, peer: PeerId, protocol: str, incoming: _Half, outgoing: _Half, *, relayed: bool = False) -> None:
        """Read from `incoming`, write to `outgoing`; `peer` is who is at the other end."""
        self._relayed = relayed
        self._peer = peer
        self._protocol = protocol
        self._in = incoming
        self._out = outgoing
        self._closed = False

    @property
    def peer(self) -> PeerId:
        """The peer at the other end."""
        return self._peer

    @property
    def protocol(self) -> str:
        """The protocol of the stream."""
        return self._protocol

    @property
    def relayed(self) -> bool:
        """Whether a relay carries the stream."""
        return self._relayed

    @property
    def released(self) -> bool:
        """Whether this end was closed or reset."""
        return self._closed

    async def read(self, max_bytes: int = 65_536) -> bytes:
        """Return what has arrived; wait if nothing has; `b""` at the end.

        Raises:
            StreamReset: either end reset the stream.
        """
        half = self._in
        while True:
            if half.broken or self._closed:
                raise StreamReset("the stream was reset")
            if half.buffer:
                data = bytes(half.buffer[:max_bytes])
                del half.buffer[:max_bytes]
                half.wake()
                return data
            if half.ended:
                return b""
            half.readable = asyncio.get_running_loop().create_future()
            try:
                await half.readable
            finally:
                half.readable = None

    async def write(self, data: bytes) -> None:
        """Hand over `data`; wait while the buffer is full.

        Raises:
            StreamReset: either end reset the stream, or this half has ended.
            NetworkTimeout: the other end took nothing for `defaults.STALL_TIMEOUT_S`; the stream is reset.
        """
        half = self._out
        rest = memoryview(data)
        while True:
            if half.broken or half.ended:
                raise StreamReset("the stream was reset")
            room = defaults.STREAM_BUFFER_BYTES - len(half.buffer)
            if room > 0 and rest:
                half.buffer += rest[:room]
                rest = rest[room:]
                half.wake()
            if not rest:
                return
            half.writable = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(defaults.STALL_TIMEOUT_S):
                    await half.writable
            except TimeoutError as error:
                self.reset()
                raise NetworkTimeout(f"the peer took nothing for {defaults.STALL_TIMEOUT_S:g} s") from error
            finally:
                half.writable = None

    async def finish(self, data: bytes) -> None:
        """Hand over the last bytes and close."""
        await self.write(data)
        await self.close()

    async def close_write(self) -> None:
        """End this half."""
        if self._out.broken:
            raise StreamReset("the stream was reset")
        self._out.ended = True
        self._out.wake()

    async def close(self) -> None:
        """End both halves; what was written stays readable at the other end."""
        if self._closed:
            return
        self._closed = True
        self._out.ended = True
        self._out.wake()
        if not self._in.ended:
            # As on the network: whoever goes on writing to an end that was closed learns it by a reset.
            self._in.broken = True
            self._in.wake()

    def reset(self) -> None:
        """End both halves at once, in error."""
        if self._closed:
            return
        self._closed = True
        for half in (self._in, self._out):
            half.broken = True
            half.buffer.clear()
            half.wake()


def stream_pair(
    dialler: PeerId, listener: PeerId, protocol: str, *, relayed: bool = False
) -> tuple[PipeStream, PipeStream]:
    """Return the dialler's end and the listener's end of a new stream."""
    there, back = _Half(), _Half()
    return (
        PipeStream(listener, protocol, back, there, relayed=relayed),
        PipeStream(dialler, protocol, there, back, relayed=relayed),
    )
