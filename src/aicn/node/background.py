"""The tasks that run as long as the node does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from aicn import defaults

_log = logging.getLogger("aicn.node")


class Background:
    """Owns the tasks of a node: starts them, hears of their failures, ends them in bounded time."""

    def __init__(self) -> None:
        """Own nothing yet. Must be made on the event loop."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._stops: dict[asyncio.Task[None], Callable[[], object]] = {}
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def spawn(self, name: str, work: Coroutine[Any, Any, None], stop: Callable[[], None] | None = None) -> None:
        """Run `work` until the node stops: by `stop`, which lets it finish what it has begun, or by cancellation."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        self._stops[task] = task.cancel if stop is None else stop

    def fail(self, error: BaseException) -> None:
        """Tell whoever waits in `ended` that a part has failed. The first failure counts."""
        if not self._failed.done():
            self._failed.set_exception(error)
            # Retrieved by `ended`, if somebody waits there; the log has it in any case.
            self._failed.exception()
            _log.error("a part of the node failed: %s", error)

    async def ended(self) -> None:
        """Wait until a part fails; a healthy node never returns.

        Raises:
            AicnError: what the part failed with.
        """
        await asyncio.shield(self._failed)

    async def stop(self) -> None:
        """Stop every task; cancel those that do not end within `defaults.TASK_STOP_TIMEOUT_S`."""
        tasks = list(self._tasks)
        for task in tasks:
            self._stops[task]()
        done, late = await asyncio.wait(tasks, timeout=defaults.TASK_STOP_TIMEOUT_S) if tasks else ((), ())
        for task in late:
            _log.warning("%s did not end in %g s and is cancelled", task.get_name(), defaults.TASK_STOP_TIMEOUT_S)
            task.cancel()
        await asyncio.gather(*done, *late, return_exceptions=True)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._stops.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)
