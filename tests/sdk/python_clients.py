"""The Python SDKs' clients, without retries of their own: a test that wants them says so."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from typing import Any, TypeVar

from anthropic import Anthropic, AsyncAnthropic
from openai import AsyncOpenAI, OpenAI

from .gateway import KEY

TIMEOUT_S = 20.0

Result = TypeVar("Result")


def openai_client(root: str, **settings: Any) -> OpenAI:
    """Return OpenAI's client for who may block."""
    return OpenAI(base_url=f"{root}/v1", **{"api_key": KEY, "max_retries": 0, "timeout": TIMEOUT_S, **settings})


def async_openai_client(root: str, **settings: Any) -> AsyncOpenAI:
    """Return OpenAI's client for coroutines."""
    return AsyncOpenAI(base_url=f"{root}/v1", **{"api_key": KEY, "max_retries": 0, "timeout": TIMEOUT_S, **settings})


def anthropic_client(root: str, **settings: Any) -> Anthropic:
    """Return Anthropic's client for who may block."""
    return Anthropic(base_url=root, **{"api_key": KEY, "max_retries": 0, "timeout": TIMEOUT_S, **settings})


def async_anthropic_client(root: str, **settings: Any) -> AsyncAnthropic:
    """Return Anthropic's client for coroutines."""
    return AsyncAnthropic(base_url=root, **{"api_key": KEY, "max_retries": 0, "timeout": TIMEOUT_S, **settings})


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
