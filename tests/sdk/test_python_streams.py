"""Streams with OpenAI's SDK: each chunk when it is written, and whoever leaves early stops the model."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from support.mock_model_server import Plan, Seen

from .asks import EVERY_BYTE, HELLO, LONG
from .gateway import PAINTER, TALKER, Gateway
from .python_clients import Clients, in_thread

pytestmark = pytest.mark.asyncio(loop_scope="package")

SLOW = {"x_mock": {"gap_ms": 50}}
NEVER = {"x_mock": {"hang": True}}
GONE_TIMEOUT_S = 5.0


async def until_gone(gateway: Gateway) -> Seen:
    """Wait until a model server has seen the client of its request leave."""
    seen = await gateway.next_request()
    async with asyncio.timeout(GONE_TIMEOUT_S):
        await seen.gone.wait()
    assert not seen.finished
    return seen


async def test_chunks_come_when_they_are_written(gateway: Gateway, clients: Clients) -> None:
    stream = await clients.async_openai.chat.completions.create(
        model=TALKER, messages=HELLO, stream=True, extra_body=SLOW
    )
    chunks = aiter(stream)
    first = await anext(chunks)
    second = await anext(chunks)
    seen = await gateway.next_request()
    assert seen.writes < 6
    assert not seen.finished
    rest = [chunk async for chunk in chunks]
    words = [choice.delta.content or "" for chunk in [first, second, *rest] for choice in chunk.choices]
    assert "".join(words) == "You said: Grüße, 世界 🌍"


async def test_coroutines_that_close_a_stream_stop_the_model(gateway: Gateway, clients: Clients) -> None:
    stream = await clients.async_openai.chat.completions.create(
        model=TALKER, messages=LONG, stream=True, extra_body=SLOW
    )
    async with stream:
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
    seen = await until_gone(gateway)
    assert seen.writes < 50


async def test_those_who_block_and_leave_a_stream_stop_the_model(gateway: Gateway, clients: Clients) -> None:
    def two_chunks() -> None:
        with clients.openai.chat.completions.create(
            model=TALKER, messages=LONG, stream=True, extra_body=SLOW
        ) as stream:
            next(stream)
            next(stream)

    await in_thread(two_chunks)
    await until_gone(gateway)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_cancelled_chat_stops_the_model_before_its_first_word(
    gateway: Gateway, clients: Clients, *, stream: bool
) -> None:
    chat: Any = clients.async_openai.chat.completions
    asking = asyncio.ensure_future(chat.create(model=TALKER, messages=HELLO, stream=stream, extra_body=NEVER))
    seen = await gateway.next_request()
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    async with asyncio.timeout(GONE_TIMEOUT_S):
        await seen.gone.wait()


async def test_a_cancelled_image_stops_the_model(gateway: Gateway, clients: Clients) -> None:
    asking = asyncio.ensure_future(
        clients.async_openai.images.generate(model=PAINTER, prompt="a cat", extra_body=NEVER)
    )
    seen = await gateway.next_request()
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    async with asyncio.timeout(GONE_TIMEOUT_S):
        await seen.gone.wait()


async def test_a_cancelled_upload_stops_the_model(gateway: Gateway, clients: Clients) -> None:
    for server in gateway.servers:
        server.plan = Plan(lifelike=True, hang=True)
    asking = asyncio.ensure_future(
        clients.async_openai.audio.transcriptions.create(model=TALKER, file=("sound.wav", EVERY_BYTE))
    )
    seen = await gateway.next_request()
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    async with asyncio.timeout(GONE_TIMEOUT_S):
        await seen.gone.wait()


async def test_a_response_that_is_left_stops_the_model(gateway: Gateway, clients: Clients) -> None:
    stream = await clients.async_openai.responses.create(
        model=TALKER, input="word " * 2_000, stream=True, extra_body=SLOW
    )
    async with stream:
        async for event in stream:
            if event.type == "response.output_text.delta":
                break
    await until_gone(gateway)


async def test_speech_is_heard_while_it_is_made(gateway: Gateway, clients: Clients) -> None:
    speech = clients.async_openai.audio.speech.with_streaming_response
    async with speech.create(model=TALKER, input="Grüße", voice="alloy", extra_body=SLOW) as answer:
        assert answer.headers["content-type"] == "audio/mpeg"
        pieces = answer.iter_bytes()
        heard = len(await anext(pieces))
        seen = await gateway.next_request()
        assert not seen.finished
        heard += sum([len(piece) async for piece in pieces])
    assert heard == 16_000
    assert seen.finished


async def test_speech_that_is_not_heard_to_the_end_stops_the_model(gateway: Gateway, clients: Clients) -> None:
    speech = clients.async_openai.audio.speech.with_streaming_response
    async with speech.create(model=TALKER, input="Grüße", voice="alloy", extra_body=SLOW) as answer:
        await anext(answer.iter_bytes())
    await until_gone(gateway)


async def test_lines_of_a_stream_are_the_model_servers_own(clients: Clients, direct: Clients) -> None:
    async def lines(one: Clients) -> list[str]:
        chat = one.async_openai.chat.completions.with_streaming_response
        with_usage: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
        async with chat.create(model=TALKER, messages=HELLO, **with_usage) as answer:
            return [line async for line in answer.iter_lines()]

    told = await lines(clients)
    assert told == await lines(direct)
    assert told[-2:] == ["data: [DONE]", ""]


async def test_usage_is_told_to_those_only_who_asked(gateway: Gateway, clients: Clients) -> None:
    async def usages(**more: Any) -> list[Any]:
        stream: Any = await clients.async_openai.chat.completions.create(
            model=TALKER, messages=HELLO, stream=True, **more
        )
        return [chunk.usage for chunk in [chunk async for chunk in stream] if not chunk.choices]

    (used,) = await usages(stream_options={"include_usage": True})
    assert used.total_tokens == used.prompt_tokens + used.completion_tokens > 0
    assert await usages() == []
    # The network keeps account either way.
    assert [seen.json()["stream_options"] for seen in gateway.seen()] == [{"include_usage": True}] * 2


async def test_a_chat_of_the_sdks_helper(clients: Clients) -> None:
    async with clients.async_openai.chat.completions.stream(model=TALKER, messages=HELLO) as stream:
        kinds = {event.type async for event in stream}
        whole = await stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert whole.choices[0].message.content == "You said: Grüße, 世界 🌍"


async def test_tools_of_the_sdks_helper(clients: Clients) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": False}
    tool: Any = {"type": "function", "function": {"name": "weather", "parameters": parameters, "strict": True}}
    async with clients.async_openai.chat.completions.stream(model=TALKER, messages=HELLO, tools=[tool]) as stream:
        async for _ in stream:
            pass
        whole = await stream.get_final_completion()
    calls = whole.choices[0].message.tool_calls
    assert calls
    assert len(calls) == 1
    call = calls[0]
    assert call.function.parsed_arguments == {"city": "You said: Grüße, 世界 🌍"}
    assert whole.choices[0].finish_reason == "tool_calls"
