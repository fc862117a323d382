"""A cheap question to a model server, or two: is it there, and can it work."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Container
from typing import Final
from urllib.parse import urlsplit

from aicn import defaults
from aicn.backends.client import CANNOT_WORK, BackendClient
from aicn.endpoints import Endpoint, beside
from aicn.errors import BackendBroken, BackendRefused

_UNWELL: Final = frozenset({503})

_MODELS: Final = "/v1/models"
_HEALTH: Final = "/health"
"""Of llama.cpp, vLLM and SGLang."""


async def probe(client: BackendClient, url: str) -> None:
    """Ask the model server with that registered URL for its list of models, and for its health, whether it has any.

    Some show their list while they load a model, or when the engine behind it has died; where they speak of their
    health they say 503 then. Who has no such route says something else, or nothing, and that means nothing.

    Raises:
        BackendUnreachable: nobody listens.
        BackendError: it breaks off, or says that it cannot work.
    """
    await _ask(client, question(url), CANNOT_WORK)
    parts = urlsplit(url)
    with contextlib.suppress(BackendBroken, TimeoutError):
        async with asyncio.timeout(defaults.HEALTH_WORD_TIMEOUT_S):
            await _ask(client, f"{parts.scheme}://{parts.netloc}{_HEALTH}", _UNWELL)


async def _ask(client: BackendClient, url: str, cannot_work: Container[int]) -> None:
    async with client.exchange("GET", url, ((b"accept", b"application/json"),), b"") as reply:
        if reply.status in cannot_work:
            raise BackendRefused(f"it answers {reply.status}")


def question(url: str) -> str:
    """Return the URL that is asked: the list of models beside an endpoint that is known, else where it usually is."""
    chat = beside(url, Endpoint.CHAT)
    if chat is not None:
        return chat.partition("?")[0].removesuffix(Endpoint.CHAT) + "models"
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{_MODELS}"
