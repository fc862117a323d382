"""Cancel a block of code when something else happens first.

`asyncio.timeout` cancels a block when time runs out. `Tripwire` is the same for any other reason: the client
hung up, the peer reset the stream. It is how a cancellation travels from the client to the model server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self


class Tripwire:
    """`async with` block that is cancelled as soon as `watch` raises.

    The exception of `watch` is raised at the end of the block, in place of the cancellation. If `watch`
    returns, the block goes on unwatched. Leaving the block ends and awaits `watch`.

    Example:
        async with Tripwire(lambda: raise_when_reset(stream)):
            await long_work()
    """

    def __init__(self, watch: Callable[[], Awaitable[None]]) -> None:
        """`watch` is called once, in a task of its own, when the block is entered."""
        self._watch = watch
        self._tripped: BaseException | None = None
        self._owner: asyncio.Task[object] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._cancelling = 0

    async def __aenter__(self) -> Self:
        """Start watching."""
        owner = asyncio.current_task()
        if owner is None:
            msg = "Tripwire needs a running task"
            raise RuntimeError(msg)
        self._owner = owner
        self._cancelling = owner.cancelling()
        self._watcher = asyncio.create_task(self._run())
        return self

    async def _run(self) -> None:
        try:
            await self._watch()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - handed to the owner, which raises it
            self._tripped = error
            if self._owner is not None:
                self._owner.cancel()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching; raise what `watch` raised if that ended the block.

        Raises:
            Exception: whatever `watch` raised.
        """
        owner, watcher = self._owner, self._watcher
        self._owner = None  # a watch that trips from here on finds nobody to cancel
        if owner is None or watcher is None:
            return
        if not watcher.done():
            watcher.cancel()
            await asyncio.wait((watcher,))
        if self._tripped is None:
            return
        # The same counting as asyncio.timeout: a cancellation from outside stays a cancellation.
        outer = owner.uncancel() > self._cancelling
        if exc_type is None or (issubclass(exc_type, asyncio.CancelledError) and not outer):
            raise self._tripped from None
