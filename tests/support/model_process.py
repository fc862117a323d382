"""A programmable model server as a process of its own, which can be killed, frozen and started again on its port.

async with ModelProcess() as server:
    worker = await nodes.worker(entry, models=[("P", "m", server.chat_url)])
    await server.kill()
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from support.mock_model_server import MockModelServer
from support.processes import free_ports

_LISTENING = b"listening\n"


class ModelProcess:
    """Answers as `MockModelServer` does that was given no plan."""

    def __init__(self) -> None:
        (self._port,) = free_ports(1)
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    @property
    def chat_url(self) -> str:
        """What to register as the `api` of a chat model."""
        return f"http://127.0.0.1:{self._port}/v1/chat/completions"

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "support.model_process", str(self._port)),
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[1],
        )
        assert self._process.stdout is not None
        assert await self._process.stdout.readline() == _LISTENING

    async def kill(self) -> None:
        """End it at once, without a word to anybody. Idempotent."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def freeze(self) -> None:
        """Let it stand still: the system goes on to accept connections for it."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


async def _serve(port: int) -> None:
    async with MockModelServer(port=port):
        os.write(sys.stdout.fileno(), _LISTENING)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
