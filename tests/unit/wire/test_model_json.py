"""Requests and answers of models: what JSON says, gossip says too, or it is named in the error."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from aicn.errors import MalformedMessage
from aicn.wire.messages import (
    ChatChoice,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatReplyMessage,
    ChatRequestMessage,
    ChatUsage,
    ImageChoice,
    ImageGenerationRequest,
    ImageGenerationResponse,
    Wallet,
    decode_body,
    encode_body,
    type_of,
)
from aicn.wire.model_json import (
    chat_answer_from_json,
    chat_answer_to_json,
    chat_request_from_json,
    chat_request_to_json,
    failure_in,
    image_answer_from_json,
    image_answer_to_json,
    image_request_from_json,
    image_request_to_json,
)

PARTS = b'[{"type": "text", "text": "\\u00e4"}, {"type": "image_url", "image_url": {"url": "data:,"}}]'
WALLET = Wallet("w", "s", "h")


def test_chat_request_says_what_was_asked_and_nothing_else() -> None:
    asked = ChatCompletionRequest("P", "m", (ChatRequestMessage("user", PARTS),), stream=True, cid="c")
    assert json.loads(chat_request_to_json(asked)) == {
        "model": "m",
        "messages": [{"role": "user", "content": json.loads(PARTS)}],
        "stream": False,
    }
    assert PARTS in chat_request_to_json(asked), "the bytes of content pass as they are"
    asked = ChatCompletionRequest("P", "m", temperature=0.5, top_p=1.0, wallet=WALLET)
    assert json.loads(chat_request_to_json(asked)) == {
        "model": "m",
        "messages": [],
        "stream": False,
        "temperature": 0.5,
        "top_p": 1.0,
        "wallet": "w",
        "signature": "s",
        "hash": "h",
    }


@pytest.mark.parametrize("number", [0.7, 0.1, 1.15, 0.333333, 1e-6, 2.0, 0.9999999, 1 / 3])
def test_numbers_are_what_somebody_wrote(number: float) -> None:
    """The wire has 32 bits: 0.7 comes as 0.699999988."""
    asked = ChatCompletionRequest("P", "m", temperature=number)
    sent = decode_body(type_of(asked), encode_body(asked))
    assert isinstance(sent, ChatCompletionRequest)
    told = json.loads(chat_request_to_json(sent))["temperature"]
    assert struct.pack("f", told) == struct.pack("f", number)
    assert len(repr(told)) <= max(len(repr(number)), 3) or number == 1 / 3


@pytest.mark.parametrize("content", [b"", b"hi", b'"hi', b"\xff", b"[" * 100_000, b'"a" "b"'])
def test_content_that_is_no_json_goes_nowhere(content: bytes) -> None:
    with pytest.raises(MalformedMessage, match="content of message 0"):
        chat_request_to_json(ChatCompletionRequest("P", "m", (ChatRequestMessage("user", content),)))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_goes_nowhere(number: float) -> None:
    with pytest.raises(MalformedMessage):
        chat_request_to_json(ChatCompletionRequest("P", "m", temperature=number))


def test_image_request_says_what_was_asked_and_nothing_else() -> None:
    assert json.loads(image_request_to_json(ImageGenerationRequest("P", "m", "a cat"))) == {
        "model": "m",
        "prompt": "a cat",
    }
    asked = ImageGenerationRequest("P", "m", "a cat", 2, "1x1", 3, 4, "b64_json", "c", 5, WALLET)
    assert json.loads(image_request_to_json(asked)) == {
        "model": "m",
        "prompt": "a cat",
        "n": 2,
        "size": "1x1",
        "width": 3,
        "height": 4,
        "step": 5,
        "response_format": "b64_json",
        "wallet": "w",
        "signature": "s",
        "hash": "h",
    }


def test_chat_answers_go_there_and_back() -> None:
    answer = ChatCompletionResponse(
        7,
        (
            ChatChoice(0, ChatReplyMessage("assistant", "hällo"), "stop"),
            ChatChoice(1, ChatReplyMessage("assistant", ""), "length"),
        ),
        ChatUsage(1, 2, 3),
        "id",
        "chat.completion",
    )
    assert chat_answer_from_json(chat_answer_to_json(answer)) == answer
    assert json.loads(chat_answer_to_json(ChatCompletionResponse())) == {
        "id": "",
        "object": "",
        "created": 0,
        "choices": [],
        "usage": {"completion_tokens": 0, "prompt_tokens": 0, "total_tokens": 0},
    }


def test_chat_answer_of_a_sparing_model_server() -> None:
    body = b'{"choices": [{"message": {"content": null, "tool_calls": []}}, {"finish_reason": null}], "created": 1.9}'
    assert chat_answer_from_json(body) == ChatCompletionResponse(
        1, (ChatChoice(0, ChatReplyMessage()), ChatChoice(1)), None
    )


def test_image_answers_go_there_and_back() -> None:
    answer = ImageGenerationResponse(7, (ImageChoice(url="u", revised_prompt="r"), ImageChoice(b64_json="AA==")))
    assert image_answer_from_json(image_answer_to_json(answer)) == answer
    assert json.loads(image_answer_to_json(answer)) == {
        "created": 7,
        "data": [{"url": "u", "revised_prompt": "r"}, {"b64_json": "AA=="}],
    }


@pytest.mark.parametrize("body", [b"", b"no", b"[]", b"{}", b'{"choices": 1}', b'{"choices": [1]}', b"\xff{"])
def test_what_is_no_answer_is_told_so(body: bytes) -> None:
    with pytest.raises(MalformedMessage, match="no chat completion"):
        chat_answer_from_json(body)
    with pytest.raises(MalformedMessage, match="no list of images"):
        image_answer_from_json(body)


@pytest.mark.parametrize(
    ("status", "body", "failure"),
    [
        (200, b'{"choices": []}', None),
        (200, b'{"code": 0, "message": "fine"}', None),
        (200, b'{"code": true}', None),
        (200, b"no JSON", None),
        (200, b'{"code": 7, "message": "no memory"}', (7, "no memory")),
        (500, b'{"code": -1}', (-1, "the model server answered with HTTP status 500")),
        (200, b'{"code": 99999999999, "message": "m"}', (1007, "m")),
        (400, b'{"error": {"message": "bad role", "code": "x"}}', (1007, "bad role")),
        (400, b'{"error": "bad role"}', (1007, "bad role")),
        (422, b'{"detail": "no prompt"}', (1007, "no prompt")),
        (422, b'{"detail": [{"loc": 1}]}', (1007, "the model server answered with HTTP status 422")),
        (503, b"", (1007, "the model server answered with HTTP status 503")),
        (503, b"[]", (1007, "the model server answered with HTTP status 503")),
    ],
)
def test_failures_of_a_model_server(status: int, body: bytes, failure: tuple[int, str] | None) -> None:
    assert failure_in(status, body) == failure


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}).encode()


def test_chat_over_http_becomes_a_question() -> None:
    asked = chat_request_from_json(
        chat(stream=False, temperature=0.5, top_p=0.25, wallet="w", signature="s", hash="h", tools=None), "P", "m", "c"
    )
    assert asked == ChatCompletionRequest(
        "P", "m", (ChatRequestMessage("user", b'"hi"'),), cid="c", temperature=0.5, top_p=0.25, wallet=WALLET
    )


def test_a_temperature_of_zero_is_not_none() -> None:
    """Proto3 has no zero that was set; next to it is as good."""
    asked = chat_request_from_json(chat(temperature=0), "P", "m", "")
    assert 0 < asked.temperature < 1e-5
    assert asked.top_p == 0


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (chat(stream=True), "stream"),
        (chat(max_tokens=5), "max_tokens"),
        (chat(tools=[]), "tools"),
        (chat(messages=[{"role": "tool", "content": "x", "tool_call_id": "1"}]), "tool_call_id"),
        (chat(messages=[{"content": "x"}]), "role"),
        (chat(temperature="hot"), "temperature"),
        (b"[]", "Expected"),
        (b"\xff", "malformed"),
    ],
)
def test_what_gossip_cannot_carry_is_named(body: bytes, named: str) -> None:
    with pytest.raises(MalformedMessage, match=named):
        chat_request_from_json(body, "P", "m", "")


def test_image_over_http_becomes_a_question() -> None:
    body = {"model": "m", "prompt": "a cat", "n": 2, "size": "1x1", "width": 3, "height": 4, "step": 5}
    asked = image_request_from_json(json.dumps({**body, "response_format": "url"}).encode(), "P", "m", "c")
    assert asked == ImageGenerationRequest("P", "m", "a cat", 2, "1x1", 3, 4, "url", "c", 5)
    with pytest.raises(MalformedMessage, match="not their URLs"):
        image_request_from_json(json.dumps({**body, "response_format": "b64_json"}).encode(), "P", "m", "c")
    with pytest.raises(MalformedMessage, match="quality"):
        image_request_from_json(json.dumps({**body, "quality": "hd"}).encode(), "P", "m", "c")
