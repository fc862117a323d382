"""Anthropic's SDK: `/v1/messages` of model servers that offer it."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam

from .asks import PICTURE, WEATHER
from .gateway import KEY, PROJECT, TALKER, Gateway
from .python_clients import Clients, asked, asked_blocking

pytestmark = pytest.mark.asyncio(loop_scope="package")

HELLO: list[MessageParam] = [{"role": "user", "content": "Grüße, 世界 🌍"}]
TOOLS: Any = [{"name": "weather", "description": "how it will be", "input_schema": WEATHER}]
VISION: Any = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {
                "type": "image",
                "source": {
                    "type": "base64",
                    "media_type": "image/png",
                    "data": base64.b64encode(PICTURE).decode(),
                },
            },
        ],
    }
]
TOOL_ANSWERED: Any = [
    *HELLO,
    {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_0", "name": "weather", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_0", "content": "rain"}]},
]
ASKS: dict[str, dict[str, Any]] = {
    "words": {},
    "words of the system": {"system": [{"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}}]},
    "pictures": {"messages": VISION},
    "tools": {"tools": TOOLS},
    "a tool's answer": {"messages": TOOL_ANSWERED},
    "thoughts": {"thinking": {"type": "enabled", "budget_tokens": 1_024}, "max_tokens": 2_000},
    "fields that nobody knows": {"extra_body": {"top_k": 40, "große": {"b": 1, "a": [None, 1e-7]}}},
}


@pytest.mark.parametrize("stream", [{}, {"stream": True}], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", ASKS)
async def test_coroutines_get_what_the_model_server_says(
    gateway: Gateway, clients: Clients, direct: Clients, name: str, stream: dict[str, Any]
) -> None:
    ask: dict[str, Any] = {"model": TALKER, "max_tokens": 99, "messages": HELLO, **ASKS[name], **stream}
    wanted = await asked(direct.async_anthropic, "messages.create", **ask)
    assert await asked(clients.async_anthropic, "messages.create", **ask) == wanted
    first, second = gateway.seen()
    assert (second.path, second.body) == (first.path, first.body)
    assert second.header("anthropic-version") == first.header("anthropic-version")
    # The key is between the user and the gateway.
    assert KEY in (first.header("authorization") or "")
    assert second.header("authorization") is None


@pytest.mark.parametrize("stream", [{}, {"stream": True}], ids=["whole", "streamed"])
async def test_those_who_block_get_what_the_model_server_says(
    clients: Clients, direct: Clients, stream: dict[str, Any]
) -> None:
    ask: dict[str, Any] = {"model": TALKER, "max_tokens": 99, "messages": HELLO, "tools": TOOLS, **stream}
    wanted = await asked_blocking(direct.anthropic, "messages.create", **ask)
    assert await asked_blocking(clients.anthropic, "messages.create", **ask) == wanted


async def test_a_chat_of_the_sdks_helper(clients: Clients) -> None:
    async with clients.async_anthropic.messages.stream(model=TALKER, max_tokens=99, messages=HELLO) as stream:
        words = [text async for text in stream.text_stream]
        whole = await stream.get_final_message()
    assert len(words) > 2
    assert "".join(words) == "You said: Grüße, 世界 🌍"
    assert whole.stop_reason == "end_turn"
    assert whole.usage.output_tokens > 0


@pytest.mark.parametrize("name", ["words", "words of the system", "pictures", "tools", "a tool's answer"])
async def test_the_tokens_of_a_message_are_counted(
    gateway: Gateway, clients: Clients, direct: Clients, name: str
) -> None:
    ask: dict[str, Any] = {"messages": HELLO, **ASKS[name]}
    wanted = await asked(direct.async_anthropic, "messages.count_tokens", model=TALKER, **ask)
    counted = await asked(clients.async_anthropic, "messages.count_tokens", model=f"{PROJECT}/{TALKER}", **ask)
    assert counted == wanted
    assert counted["input_tokens"] > 0
    first, second = gateway.seen()
    assert (second.path, second.json()) == (first.path, first.json())


async def test_who_counts_is_refused_in_the_words_of_the_sdk(clients: Clients) -> None:
    with pytest.raises(anthropic.NotFoundError) as refused:
        await clients.async_anthropic.messages.count_tokens(model="nobody/has-it", messages=HELLO)
    assert refused.value.type == "not_found_error"


async def test_a_name_with_its_project(gateway: Gateway, clients: Clients) -> None:
    answer = await clients.async_anthropic.messages.create(model=f"{PROJECT}/{TALKER}", max_tokens=9, messages=HELLO)
    assert answer.model == TALKER
    (seen,) = gateway.seen()
    assert seen.json()["model"] == TALKER


async def test_an_answer_has_an_id(gateway: Gateway, clients: Clients) -> None:
    answer = await clients.async_anthropic.messages.create(model=TALKER, max_tokens=9, messages=HELLO)
    (seen,) = gateway.seen()
    assert answer._request_id == seen.header("x-request-id")


async def test_who_leaves_a_stream_stops_the_model(gateway: Gateway, clients: Clients) -> None:
    stream = await clients.async_anthropic.messages.create(
        model=TALKER,
        max_tokens=99,
        messages=[{"role": "user", "content": "word " * 2_000}],
        stream=True,
        extra_body={"x_mock": {"gap_ms": 50}},
    )
    async with stream:
        async for event in stream:
            if event.type == "content_block_delta":
                break
    seen = await gateway.next_request()
    async with asyncio.timeout(5):
        await seen.gone.wait()
    assert not seen.finished


async def test_the_key_in_its_older_place_stays_at_the_gateway(gateway: Gateway, clients: Clients) -> None:
    await clients.async_anthropic.messages.create(
        model=TALKER, max_tokens=9, messages=HELLO, extra_headers={"x-api-key": KEY}
    )
    (seen,) = gateway.seen()
    assert seen.header("x-api-key") is None
