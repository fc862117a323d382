"""One cheap question to a model server: is it there."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from aicn.backends.client import BackendClient
from aicn.endpoints import Endpoint, beside
from aicn.errors import BackendRefused

_CANNOT_WORK: Final = frozenset({502, 503, 504})
"""What a server says that has no model yet, or nobody behind it. All other statuses are from somebody who is there."""

_MODELS: Final = "/v1/models"


async def probe(client: BackendClient, url: str) -> None:
    """Ask the model server with that registered URL for its list of models, whether it has one or not.

    Raises:
        BackendUnreachable: nobody listens.
        BackendError: it breaks off, or says that it cannot work.
    """
    async with client.exchange("GET", question(url), ((b"accept", b"application/json"),), b"") as reply:
        if reply.status in _CANNOT_WORK:
            raise BackendRefused(f"it answers {reply.status}")


def question(url: str) -> str:
    """Return the URL that is asked: the list of models beside an endpoint that is known, else where it usually is."""
    chat = beside(url, Endpoint.CHAT)
    if chat is not None:
        return chat.partition("?")[0].removesuffix(Endpoint.CHAT) + "models"
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{_MODELS}"
