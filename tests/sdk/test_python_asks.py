"""Through the network an SDK gets what it gets from the model server itself, and the model server the same request.

The model server answers what it is asked (`support.model_answers`), so an answer that is the same tells that the
request was.
"""

from __future__ import annotations

import pytest

from support.image_answers import fields
from support.mock_model_server import Seen

from .asks import ASKS, Ask
from .gateway import KEY, Gateway
from .python_clients import Clients, asked, asked_blocking

pytestmark = [
    pytest.mark.asyncio(loop_scope="package"),
    # OpenAI has new models in mind; other servers still vary images.
    pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning"),
]


def same_request(direct: Seen, through: Seen) -> None:
    """Hold the request that came through the network to the one that came without it."""
    assert through.path == direct.path
    content_type = direct.header("content-type") or ""
    if content_type.startswith("multipart/"):
        # The boundary is another each time.
        wanted = fields(content_type, direct.body)
        assert fields(through.header("content-type") or "", through.body) == wanted
        return
    assert through.header("content-type") == content_type
    wanted = direct.json()
    if wanted.get("stream") and "stream_options" not in wanted:
        # The network asks for the usage that it keeps account of.
        got = through.json()
        assert got.pop("stream_options", None) in ({"include_usage": True}, None)
        assert got == wanted
    else:
        assert through.body == direct.body


@pytest.mark.parametrize("ask", ASKS, ids=lambda ask: ask.name)
async def test_coroutines_get_what_the_model_server_says(
    gateway: Gateway, clients: Clients, direct: Clients, ask: Ask
) -> None:
    wanted = await asked(direct.async_openai, ask.method, **ask.arguments)
    assert await asked(clients.async_openai, ask.method, **ask.arguments) == wanted
    first, second = gateway.seen()
    same_request(first, second)
    # The key is between the user and the gateway.
    assert KEY in (first.header("authorization") or "")
    assert second.header("authorization") is None


@pytest.mark.parametrize("ask", ASKS, ids=lambda ask: ask.name)
async def test_those_who_block_get_what_the_model_server_says(
    gateway: Gateway, clients: Clients, direct: Clients, ask: Ask
) -> None:
    wanted = await asked_blocking(direct.openai, ask.method, **ask.arguments)
    assert await asked_blocking(clients.openai, ask.method, **ask.arguments) == wanted
    same_request(*gateway.seen())
