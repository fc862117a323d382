"""Child processes that a command starts, watches and never leaves behind.

Each child is tied to this process by a pipe (`aicn.tools.tethered`): it ends when this process does, even when this
process is killed. Each writes to a log file of its own, whose last line explains a failure.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aicn.errors import DemoFailed

__all__ = ["Child", "Children"]

STOP_TIMEOUT_S: Final = 6.0
"""A little more than what a tethered module grants itself."""

POLL_S: Final = 0.05
"""Pause between two looks at something that is coming up."""


@dataclass(slots=True)
class Child:
    """One running child.

    Attributes:
        name: what people call it, e.g. `Worker`.
        process: the operating system's view of it.
        log: everything it wrote.
    """

    name: str
    process: asyncio.subprocess.Process
    log: Path

    def last_words(self) -> str:
        """Return the last line of the log that is not blank, or an empty string."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


class Children:
    """The children of one command, in the order in which they were started."""

    def __init__(self, folder: Path) -> None:
        """Keep logs and working directory of every child in `folder`."""
        self._folder = folder
        self._children: list[Child] = []

    async def start(self, name: str, module: str, *words: str) -> Child:
        """Start `python -m module words…`.

        Args:
            name: what people call it.
            module: a module that runs by itself and stops cleanly on SIGTERM.
            words: its command line.

        Returns:
            The child, running.
        """
        log = self._folder / f"{name.lower().replace(' ', '-')}.log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "aicn.tools.tethered",
                module,
                *words,
                stdin=asyncio.subprocess.PIPE,
                stdout=out,
                stderr=asyncio.subprocess.STDOUT,
                cwd=self._folder,
                env=_environment(),
                # Ctrl-C is for the command alone; it stops its children in its own order.
                start_new_session=True,
            )
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def check(self) -> None:
        """Look whether every child still runs.

        Raises:
            DemoFailed: one does not; the message carries its last words.
        """
        for child in self._children:
            status = child.process.returncode
            if status is not None:
                words = child.last_words() or "it said nothing"
                raise DemoFailed(f"the {child.name} stopped with exit status {status}: {words}")

    async def until(self, ready: Callable[[], Awaitable[bool]], what: str, timeout_s: float) -> None:
        """Wait until `ready` says yes, while every child lives.

        Args:
            ready: asked again and again.
            what: for the message, e.g. `the Worker did not answer`.
            timeout_s: how long to wait, in seconds.

        Raises:
            DemoFailed: a child stopped, or the time is over.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while not await ready():
            self.check()
            if loop.time() > deadline_s:
                raise DemoFailed(f"{what} within {timeout_s:.0f} s; what it wrote: {self._words()}")
            await asyncio.sleep(POLL_S)

    async def watch(self) -> None:
        """Wait until a child stops by itself, and say so; returns only by raising.

        Raises:
            DemoFailed: a child stopped.
        """
        waits = [asyncio.ensure_future(child.process.wait()) for child in self._children]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        self.check()

    async def stop(self) -> None:
        """Ask the children to stop, the youngest first, and kill those that do not. Safe to call twice."""
        while self._children:
            child = self._children.pop()
            if child.process.returncode is None:
                child.process.terminate()
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await child.process.wait()
            except TimeoutError:
                child.process.kill()
                await child.process.wait()

    def _words(self) -> str:
        return "; ".join(f"{child.name}: {child.last_words() or 'nothing'}" for child in self._children)


def _environment() -> dict[str, str]:
    # What Python prints must reach the log at once, and in one encoding.
    return {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
