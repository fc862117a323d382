"""Comments while the first token is slow, so that nobody on the way takes a silent stream for a dead one.

The first comment sends the head of the answer, with status 200. Until then a failure has a status of its own; from
then on it is an error event. Source of the format: WHATWG HTML, section 9.2: a line that begins with a colon is
ignored by readers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from aicn.api.caller import Caller

COMMENT: Final = b": waiting for the model\n\n"

EVENT_STREAM_HEADERS: Final = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
"""Proxies on the way must neither keep nor collect events."""

_CONTENT_TYPE: Final = (b"content-type", b"text/event-stream; charset=utf-8")


class KeepAlive:
    """`async with` block around the wait for a stream; `stop` ends it when something else is to be sent.

    Example:
        async with KeepAlive(caller, 10.0, headers) as waiting:
            answer = await first_content()
            await waiting.stop()
            await relay(answer)
    """

    def __init__(self, caller: Caller, every_s: float, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Send a comment to `caller` after each `every_s` of waiting; `headers` go out with the first. 0: never."""
        self._caller = caller
        self._every_s = every_s
        self._headers = headers
        self._over = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to wait."""
        if self._every_s > 0:
            # Most streams begin in time: they cost a timer, and no task.
            self._timer = asyncio.get_running_loop().call_later(self._every_s, self._begin)
        return self

    def _begin(self) -> None:
        self._timer = None
        self._task = asyncio.create_task(self._run())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; at once if the block was cancelled, since then nobody takes what is being sent."""
        if self._task is not None and isinstance(error, asyncio.CancelledError):
            self._task.cancel()
        await self.stop()

    async def stop(self) -> None:
        """Send no more. Idempotent; what is being sent is sent to its end, so that nothing comes in its middle."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        task = self._task
        if task is None:
            return
        self._over.set()
        try:
            await asyncio.wait((task,))
        finally:
            self._task = None
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))
        if not task.cancelled():
            task.result()

    async def _run(self) -> None:
        headers = (_CONTENT_TYPE, *EVENT_STREAM_HEADERS, *self._headers)
        while not self._over.is_set():
            await self._caller.comment(COMMENT, headers)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await self._over.wait()
