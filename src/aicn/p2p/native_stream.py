"""A stream of the Rust core.

It is tried first, without a future: what has arrived, or fits, is dealt with at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from aicn import _native, defaults
from aicn.errors import NetworkTimeout
from aicn.ids import PeerId
from aicn.p2p import native_values


class Operations(Protocol):
    """Who completes the operations of streams: the host."""

    async def operation(self, start: Callable[[int], None]) -> Any:
        """Start an operation and wait for what becomes of it."""
        ...


class NativeStream:
    """A stream of the core; a `Stream`."""

    __slots__ = ("_closed", "_host", "_native", "_peer")

    def __init__(self, host: Operations, native: _native.NativeStream) -> None:
        """Wrap `native`, whose operations `host` completes."""
        self._host = host
        self._native = native
        self._closed = False
        self._peer: PeerId | None = None

    @property
    def peer(self) -> PeerId:
        """The peer at the other end."""
        if self._peer is None:  # the core spells it anew each time
            self._peer = PeerId(self._native.peer)
        return self._peer

    @property
    def protocol(self) -> str:
        """The protocol that was negotiated."""
        return self._native.protocol

    @property
    def relayed(self) -> bool:
        """Whether a relay carries the stream."""
        return self._native.relayed

    async def read(self, max_bytes: int = 65_536) -> bytes:
        """Return what has arrived; wait if nothing has; `b""` at the end."""
        native = self._native
        try:
            while (data := native.try_read(max_bytes)) is None:
                await self._host.operation(native.start_readable)
        except _native.CoreError as error:
            raise native_values.error(*error.args) from None
        return data

    async def write(self, data: bytes) -> None:
        """Hand over `data`; wait while the send buffer is full."""
        native = self._native
        sent = 0
        try:
            while True:
                sent += native.try_write(data, sent)
                if sent >= len(data):
                    return
                await self._until_writable()
        except _native.CoreError as error:
            raise native_values.error(*error.args) from None

    async def finish(self, data: bytes) -> None:
        """Hand over the last bytes and close; the core sends them with the end of the stream."""
        native = self._native
        sent = 0
        try:
            while (sent := sent + native.write_end(data, sent)) < len(data):
                await self._until_writable()
        except _native.CoreError as error:
            raise native_values.error(*error.args) from None
        self._closed = True

    async def _until_writable(self) -> None:
        try:
            async with asyncio.timeout(defaults.STALL_TIMEOUT_S):
                await self._host.operation(self._native.start_writable)
        except TimeoutError as error:
            self.reset()
            raise NetworkTimeout(f"the peer took nothing for {defaults.STALL_TIMEOUT_S:g} s") from error

    async def close_write(self) -> None:
        """Send all that was written, then end this half."""
        await self._host.operation(self._native.start_close_write)

    async def close(self) -> None:
        """End both halves; the core sends what was written, and is not waited for."""
        if not self._closed:
            self._closed = True
            self._native.begin_close()

    def reset(self) -> None:
        """End both halves at once, in error; nothing after `close`."""
        if not self._closed:
            self._closed = True
            self._native.reset()
