"""The Python SDKs' clients, without retries of their own: a test that wants them says so."""

from __future__ import annotations

import asyncio
import contextlib
import operator
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from anthropic import Anthropic, AsyncAnthropic
from openai import AsyncOpenAI, OpenAI

from .gateway import KEY

TIMEOUT_S = 20.0

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Clients:
    """A client of each SDK and kind. To make one takes a while, so tests share them and derive from them."""

    openai: OpenAI
    async_openai: AsyncOpenAI
    anthropic: Anthropic
    async_anthropic: AsyncAnthropic


@contextlib.asynccontextmanager
async def opened(root: str) -> AsyncIterator[Clients]:
    """Open clients of what stands at `root`, close them at the end."""
    settings: dict[str, Any] = {"api_key": KEY, "max_retries": 0, "timeout": TIMEOUT_S}
    async with AsyncOpenAI(base_url=f"{root}/v1", **settings) as one, AsyncAnthropic(base_url=root, **settings) as two:
        with OpenAI(base_url=f"{root}/v1", **settings) as three, Anthropic(base_url=root, **settings) as four:
            yield Clients(three, one, four, two)


async def asked(client: Any, method: str, **arguments: Any) -> Any:
    """Call a method of a client for coroutines, named like `chat.completions.create`; return plain values.

    A stream is read to its end and returned as the list of its chunks.
    """
    answer = await operator.attrgetter(method)(client)(**arguments)
    if hasattr(answer, "__aiter__"):
        return [plain(chunk) async for chunk in answer]
    return plain(answer)


async def asked_blocking(client: Any, method: str, **arguments: Any) -> Any:
    """Do as `asked` does with a client that blocks, in a thread of its own."""
    return await in_thread(lambda: _blocking(client, method, arguments))


async def in_thread(work: Callable[[], Result]) -> Result:
    """Run what blocks beside the loop, in which the model servers answer."""
    return await asyncio.to_thread(work)


def plain(answer: Any) -> Any:
    """Return what an SDK returned as values that can be compared."""
    if hasattr(answer, "model_dump"):
        return answer.model_dump()
    return answer.content if hasattr(answer, "content") else answer


def _blocking(client: Any, method: str, arguments: dict[str, Any]) -> Any:
    answer = operator.attrgetter(method)(client)(**arguments)
    if hasattr(answer, "__next__"):
        return [plain(chunk) for chunk in answer]
    return plain(answer)
