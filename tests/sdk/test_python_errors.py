"""Each error has its status and OpenAI's shape, so that the SDKs raise the class that says what it is."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anthropic
import openai
import pytest

from support.mock_model_server import Plan
from support.processes import free_ports

from .asks import ASKS, HELLO, PICTURE, Ask
from .gateway import ODD, PAINTER, TALKER, TWICE, Gateway
from .python_clients import Clients, in_thread

pytestmark = [
    pytest.mark.asyncio(loop_scope="package"),
    pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning"),
]

CLASSES: dict[int, type[openai.APIStatusError]] = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    408: openai.APIStatusError,
    409: openai.ConflictError,
    413: openai.APIStatusError,
    415: openai.APIStatusError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
    502: openai.InternalServerError,
    503: openai.InternalServerError,
    504: openai.InternalServerError,
}
ANTHROPIC_CLASSES: dict[int, type[anthropic.APIStatusError]] = {
    400: anthropic.BadRequestError,
    401: anthropic.AuthenticationError,
    403: anthropic.PermissionDeniedError,
    404: anthropic.NotFoundError,
    422: anthropic.UnprocessableEntityError,
    429: anthropic.RateLimitError,
    502: anthropic.InternalServerError,
}
ONE_OF_EACH = list({ask.method: ask for ask in ASKS}.values())


def wish(**more: Any) -> dict[str, Any]:
    """Return what tells the model server how to answer."""
    return {"x_mock": more}


def about(error: openai.APIStatusError) -> dict[str, Any]:
    """Return the error object of an answer."""
    assert isinstance(error.body, dict)
    return error.body


@pytest.mark.parametrize("how", [{}, {"stream": True}], ids=["whole", "streamed"])
@pytest.mark.parametrize("status", CLASSES)
async def test_what_the_model_server_says_has_its_class(
    gateway: Gateway, clients: Clients, status: int, how: dict[str, Any]
) -> None:
    with pytest.raises(CLASSES[status]) as caught:
        await clients.async_openai.chat.completions.create(
            model=TALKER, messages=HELLO, extra_body=wish(status=status, message="because"), **how
        )
    error = caught.value
    assert type(error) is CLASSES[status]
    assert error.status_code == status
    assert error.request_id
    assert "because" in error.message
    assert gateway.seen()


@pytest.mark.parametrize("status", [400, 422])
async def test_what_is_wrong_with_a_request_is_said_in_the_model_servers_words(clients: Clients, status: int) -> None:
    with pytest.raises(CLASSES[status]) as caught:
        await in_thread(
            lambda: clients.openai.chat.completions.create(
                model=TALKER,
                messages=HELLO,
                extra_body=wish(status=status, message="tools: too many", code="too_many", param="tools"),
            )
        )
    error = caught.value
    assert (about(error)["message"], error.code, error.param, error.type) == (
        "tools: too many",
        "too_many",
        "tools",
        "invalid_request_error",
    )


@pytest.mark.parametrize("status", [429, 503])
async def test_when_to_come_again_is_passed_on(clients: Clients, status: int) -> None:
    with pytest.raises(CLASSES[status]) as caught:
        await clients.async_openai.chat.completions.create(
            model=TALKER, messages=HELLO, extra_body=wish(status=status, retry_after_s=7)
        )
    assert caught.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize("ask", ONE_OF_EACH, ids=lambda ask: ask.method)
async def test_every_endpoint_tells_that_there_is_too_much_to_do(clients: Clients, ask: Ask) -> None:
    arguments = ask.arguments | {"extra_body": {"x_mock": json.dumps({"status": 429})}}
    method: Any = clients.async_openai
    for name in ask.method.split("."):
        method = getattr(method, name)
    with pytest.raises(openai.RateLimitError):
        await method(**arguments)


@pytest.mark.parametrize("ask", ONE_OF_EACH, ids=lambda ask: ask.method)
async def test_every_endpoint_tells_that_there_is_no_such_model(clients: Clients, ask: Ask) -> None:
    method: Any = clients.async_openai
    for name in ask.method.split("."):
        method = getattr(method, name)
    with pytest.raises(openai.NotFoundError) as caught:
        await method(**(ask.arguments | {"model": "nobody-has-this"}))
    assert caught.value.code == "model_not_found"
    assert "nobody-has-this" in caught.value.message


async def test_a_name_that_two_projects_have_must_be_said_in_full(clients: Clients) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await clients.async_openai.chat.completions.create(model=TWICE, messages=HELLO)
    assert "P/twice" in caught.value.message
    assert "Q/twice" in caught.value.message
    assert caught.value.param == "model"


async def test_a_model_server_that_may_have_no_such_endpoint(gateway: Gateway, clients: Clients) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await clients.async_openai.embeddings.create(model=ODD, input="hi")
    assert caught.value.code == "endpoint_unsupported"
    assert gateway.seen() == []
    # Its one endpoint is there all the same.
    await clients.async_openai.chat.completions.create(model=ODD, messages=HELLO)
    assert [seen.path for seen in gateway.seen()] == ["/generate"]


async def test_a_model_that_does_something_else(gateway: Gateway, clients: Clients) -> None:
    with pytest.raises(openai.NotFoundError) as chat:
        await clients.async_openai.chat.completions.create(model=PAINTER, messages=HELLO)
    with pytest.raises(openai.NotFoundError) as edit:
        await clients.async_openai.images.edit(model=PAINTER, prompt="a hat", image=PICTURE)
    assert (chat.value.code, edit.value.code) == ("endpoint_unsupported", "endpoint_unsupported")
    assert gateway.seen() == []


async def test_what_a_model_server_does_not_have_is_said_in_its_words(gateway: Gateway, clients: Clients) -> None:
    for server in gateway.servers:
        server.plan = Plan(status=404, body=b'{"detail":"Not Found"}')
    with pytest.raises(openai.NotFoundError) as caught:
        await clients.async_openai.responses.create(model=TALKER, input="hi")
    assert about(caught.value)["message"] == "Not Found"
    # A user's error: nobody else is asked.
    assert len(gateway.seen()) == 1


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b"out of memory", b'{"error":"out of memory"}', b"[1]"])
async def test_a_failure_in_any_form_is_an_error_object(gateway: Gateway, clients: Clients, body: bytes) -> None:
    for server in gateway.servers:
        server.plan = Plan(status=500, body=body, headers={"Content-Type": "text/html"})
    with pytest.raises(openai.InternalServerError) as caught:
        await clients.async_openai.chat.completions.create(model=TALKER, messages=HELLO)
    # Of a gateway: the fault is another's.
    assert caught.value.status_code == 502
    assert about(caught.value).keys() == {"message", "type", "param", "code"}
    assert ("out of memory" in caught.value.message) == (b"memory" in body)


async def test_a_failure_with_status_200_is_none_of_success(gateway: Gateway, clients: Clients) -> None:
    for server in gateway.servers:
        server.plan = Plan(body=b'{"error":{"message":"out of memory","code":500}}')
    with pytest.raises(openai.InternalServerError) as caught:
        await clients.async_openai.chat.completions.create(model=TALKER, messages=HELLO)
    assert caught.value.status_code == 502
    assert "out of memory" in caught.value.message


async def test_a_route_that_is_not_there(clients: Clients) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await clients.async_openai.fine_tuning.jobs.list()
    assert about(caught.value)["message"]


async def test_a_body_that_is_no_json_type(clients: Clients) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        await clients.async_openai.chat.completions.create(
            model=TALKER, messages=HELLO, extra_headers={"Content-Type": "text/csv"}
        )
    assert caught.value.status_code == 415
    assert about(caught.value)["message"]


async def test_a_name_that_is_no_text(clients: Clients) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await clients.async_openai.chat.completions.create(
            model=TALKER, messages=HELLO, extra_body={"model": {"no": "sense"}}
        )
    assert caught.value.param == "model"


async def test_a_stream_that_breaks_off_ends_with_an_error(clients: Clients) -> None:
    stream = await clients.async_openai.chat.completions.create(
        model=TALKER, messages=HELLO, stream=True, extra_body=wish(die_after=3, gap_ms=50)
    )
    words: list[str | None] = []
    with pytest.raises(openai.APIError) as caught:
        async for chunk in stream:
            words += [choice.delta.content for choice in chunk.choices]
    assert words == ["", "You", " said:"]
    assert caught.value.message
    assert not isinstance(caught.value, openai.APIStatusError)


async def test_those_who_block_are_told_too_that_a_stream_breaks_off(clients: Clients) -> None:
    def read() -> list[Any]:
        stream = clients.openai.chat.completions.create(
            model=TALKER, messages=HELLO, stream=True, extra_body=wish(die_after=3, gap_ms=50)
        )
        chunks: list[Any] = []
        with pytest.raises(openai.APIError):
            chunks.extend(stream)
        return chunks

    assert len(await in_thread(read)) == 3


async def test_nobody_listens(clients: Clients) -> None:
    (port,) = free_ports(1)
    with pytest.raises(openai.APIConnectionError):
        await clients.async_openai.with_options(base_url=f"http://127.0.0.1:{port}/v1").models.list()


async def test_patience_that_ends_ends_the_work(gateway: Gateway, clients: Clients) -> None:
    with pytest.raises(openai.APITimeoutError):
        await clients.async_openai.with_options(timeout=0.3).chat.completions.create(
            model=TALKER, messages=HELLO, extra_body=wish(hang=True)
        )
    seen = await gateway.next_request()
    async with asyncio.timeout(5):
        await seen.gone.wait()


@pytest.mark.parametrize("status", ANTHROPIC_CLASSES)
async def test_what_the_model_server_says_has_anthropics_class(clients: Clients, status: int) -> None:
    with pytest.raises(ANTHROPIC_CLASSES[status]) as caught:
        await clients.async_anthropic.messages.create(
            model=TALKER,
            max_tokens=9,
            messages=[{"role": "user", "content": "hi"}],
            extra_body=wish(status=status, message="because"),
        )
    assert caught.value.status_code == status
    body = caught.value.body
    assert isinstance(body, dict)
    assert body["type"] == "error"
    assert "because" in body["error"]["message"]


async def test_anthropics_sdk_is_told_that_there_is_no_such_model(clients: Clients) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        await clients.async_anthropic.messages.create(
            model="nobody-has-this", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
        )
    body = caught.value.body
    assert isinstance(body, dict)
    assert (body["type"], body["error"]["type"]) == ("error", "not_found_error")


async def test_anthropics_sdk_is_told_that_a_stream_breaks_off(clients: Clients) -> None:
    stream = await clients.async_anthropic.messages.create(
        model=TALKER,
        max_tokens=9,
        messages=[{"role": "user", "content": "hi"}],
        stream=True,
        extra_body=wish(die_after=5, gap_ms=50),
    )
    kinds: set[str] = set()
    with pytest.raises(anthropic.APIError):
        async for event in stream:
            kinds.add(event.type)
    assert "message_stop" not in kinds
    assert "content_block_delta" in kinds
