"""Which events are the first content of an answer, which only say that it has begun, and which that it failed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aicn import defaults
from aicn.endpoints import Endpoint
from aicn.routing.first_content import FirstContent, Found

CHAT, COMPLETIONS, RESPONSES, MESSAGES = (
    Endpoint.CHAT,
    Endpoint.COMPLETIONS,
    Endpoint.RESPONSES,
    Endpoint.MESSAGES,
)


def _event(value: dict[str, Any], name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(value)}\n\n".encode()


def _delta(*, finish_reason: str | None = None, **delta: Any) -> bytes:
    return _event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})


def _typed(kind: str, **fields: Any) -> bytes:
    return _event({"type": kind, **fields}, kind)


ROLE = _delta(role="assistant", content="")
BEGUN = [
    pytest.param(CHAT, ROLE, id="role"),
    pytest.param(CHAT, _delta(role="assistant", content=None, tool_calls=None, refusal=None), id="role and nulls"),
    pytest.param(CHAT, _delta(), id="empty delta"),
    pytest.param(CHAT, _event({"choices": [], "prompt_filter_results": []}), id="no choices"),
    pytest.param(CHAT, _event({"choices": [], "usage": {"prompt_tokens": 1}}), id="usage"),
    pytest.param(CHAT, _event({"error": None, "choices": []}), id="error that is null"),
    pytest.param(CHAT, b": comment\n\n", id="comment"),
    pytest.param(CHAT, b"retry: 10\nid: 1\n\n", id="no data"),
    pytest.param(CHAT, b"\n\n\n", id="empty lines"),
    pytest.param(COMPLETIONS, _event({"choices": [{"text": "", "finish_reason": None}]}), id="empty text"),
    pytest.param(RESPONSES, _typed("response.created", response={"error": None}), id="created"),
    pytest.param(RESPONSES, _typed("response.in_progress"), id="in progress"),
    pytest.param(RESPONSES, _typed("response.queued"), id="queued"),
    pytest.param(RESPONSES, _typed("response.output_item.added", item={"type": "message", "content": []}), id="item"),
    pytest.param(RESPONSES, _typed("response.content_part.added", part={"text": ""}), id="part"),
    pytest.param(RESPONSES, _typed("response.reasoning_part.added", part={"text": ""}), id="reasoning part"),
    pytest.param(RESPONSES, _typed("response.output_text.delta", delta=""), id="empty text delta"),
    pytest.param(MESSAGES, _typed("message_start", message={"content": []}), id="message_start"),
    pytest.param(MESSAGES, _typed("ping"), id="ping"),
    pytest.param(MESSAGES, _typed("content_block_delta", delta={"type": "text_delta", "text": ""}), id="empty delta"),
    pytest.param(MESSAGES, _typed("content_block_start", content_block={"type": "text", "text": ""}), id="block"),
]
CONTENT = [
    pytest.param(CHAT, _delta(content="a"), id="content"),
    pytest.param(CHAT, _delta(role="assistant", content="a"), id="role and content"),
    pytest.param(CHAT, _delta(tool_calls=[{"index": 0}]), id="tool call"),
    pytest.param(CHAT, _delta(function_call={"name": "f"}), id="function call"),
    pytest.param(CHAT, _delta(reasoning_content="hm"), id="reasoning_content"),
    pytest.param(CHAT, _delta(reasoning="hm"), id="reasoning"),
    pytest.param(CHAT, _delta(refusal="no"), id="refusal"),
    pytest.param(CHAT, _delta(audio={"id": "a"}), id="audio"),
    pytest.param(CHAT, _delta(finish_reason="stop"), id="finish"),
    pytest.param(CHAT, _event({"choices": [{"message": {"content": "a"}}]}), id="message"),
    pytest.param(CHAT, _event({"content": "a", "stop": False}), id="shape that nobody knows"),
    pytest.param(CHAT, b"data: [DONE]\n\n", id="end"),
    pytest.param(CHAT, b"data: {not json\n\n", id="no JSON"),
    pytest.param(CHAT, b"data: [1]\n\n", id="no object"),
    pytest.param(CHAT, b'data: {"choices":[{"index":0,\ndata: "delta":{"content":"a"}}]}\n\n', id="two lines"),
    pytest.param(CHAT, b"\xef\xbb\xbf" + _delta(content="a"), id="byte order mark"),
    pytest.param(CHAT, _delta(content='{"error": "x"}'), id="word error in a text"),
    pytest.param(COMPLETIONS, _event({"choices": [{"text": "a"}]}), id="text"),
    pytest.param(RESPONSES, _typed("response.output_text.delta", delta="a"), id="text delta"),
    pytest.param(RESPONSES, _typed("response.function_call_arguments.delta", delta="{"), id="arguments"),
    pytest.param(RESPONSES, _typed("response.output_item.added", item={"type": "function_call"}), id="call"),
    pytest.param(RESPONSES, _typed("response.completed", response={"error": None}), id="completed"),
    pytest.param(RESPONSES, _typed("response.incomplete"), id="incomplete"),
    pytest.param(MESSAGES, _typed("content_block_delta", delta={"text": "a"}), id="block delta"),
    pytest.param(MESSAGES, _typed("content_block_start", content_block={"type": "tool_use"}), id="tool use"),
    pytest.param(MESSAGES, _typed("message_delta", delta={"stop_reason": "end_turn"}), id="stop"),
    pytest.param(Endpoint.SPEECH, _typed("speech.audio.delta", audio="AA=="), id="speech"),
    pytest.param(Endpoint.IMAGE_GENERATION, _typed("image_generation.partial_image", b64_json=""), id="image"),
]
FAILURES = [
    pytest.param(CHAT, _event({"error": {"message": "m", "code": 500}}), id="error"),
    pytest.param(CHAT, _event({"error": "m"}), id="error as text"),
    pytest.param(CHAT, _event({"code": 1007, "message": "m"}), id="words of the reference"),
    pytest.param(CHAT, b"event: error\ndata: overloaded\n\n", id="event that is no JSON"),
    pytest.param(RESPONSES, _typed("response.failed", response={"error": {"code": "server_error"}}), id="failed"),
    pytest.param(RESPONSES, _typed("error", code="x", message="m"), id="error event"),
    pytest.param(MESSAGES, _typed("error", error={"type": "overloaded_error"}), id="overloaded"),
]


@pytest.mark.parametrize("pieces", [1, 3, 1 << 20])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize(
    ("endpoint", "event", "expected"),
    [
        pytest.param(*row.values, found, id=str(row.id))
        for rows, found in ((BEGUN, Found.NOTHING), (CONTENT, Found.CONTENT), (FAILURES, Found.FAILURE))
        for row in rows
    ],
)
def test_verdict_however_it_arrives(endpoint: Endpoint, event: bytes, expected: Found, end: bytes, pieces: int) -> None:
    first = FirstContent(endpoint)
    found = Found.NOTHING
    stream = event.replace(b"\n", end)
    for start in range(0, len(stream), pieces):
        found = first.feed(stream[start : start + pieces])
        if found is not Found.NOTHING:
            break
    assert found is expected
    assert (first.failure is not None) == (expected is Found.FAILURE)


def test_first_that_says_something_decides() -> None:
    first = FirstContent(CHAT)
    assert first.feed(b": hello\n\n" + ROLE + _delta(content="a") + _event({"error": "m"})) is Found.CONTENT
    first = FirstContent(CHAT)
    assert first.feed(ROLE) is Found.NOTHING
    assert first.feed(_event({"error": "m"}) + _delta(content="a")) is Found.FAILURE
    assert first.failure == b'{"error": "m"}'


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (b"", Found.NOTHING),
        (ROLE.rstrip(), Found.NOTHING),
        (b"data: [DONE]", Found.CONTENT),
        (_delta(content="a")[:-9], Found.NOTHING),
        (_delta(content="a").rstrip(), Found.CONTENT),
        (_event({"error": "m"}).rstrip(), Found.FAILURE),
    ],
)
def test_last_event_needs_no_empty_line(event: bytes, expected: Found) -> None:
    first = FirstContent(CHAT)
    assert first.feed(event) is Found.NOTHING
    assert first.finish() is expected


def test_nesting_without_end_is_passed_on() -> None:
    depth = 10_000
    assert FirstContent(Endpoint.CHAT).feed(b"data: " + b"[" * depth + b"]" * depth + b"\n\n") is Found.CONTENT


def test_a_preamble_that_repeats_a_long_request_is_no_content() -> None:
    repeated = {"instructions": "x" * 50_000}
    preamble = [_typed(f"response.{name}", response=repeated) for name in ("created", "in_progress")]
    first = FirstContent(RESPONSES, request_bytes=50_000)
    assert [first.feed(event) for event in preamble] == [Found.NOTHING, Found.NOTHING]
    assert first.feed(_typed("response.output_text.delta", delta="a")) is Found.CONTENT


def test_preamble_without_end_is_passed_on() -> None:
    first = FirstContent(CHAT)
    held_bytes = 0
    while first.feed(ROLE) is Found.NOTHING:
        held_bytes += len(ROLE)
        assert held_bytes <= defaults.FIRST_CONTENT_HELD_MAX_BYTES
    assert held_bytes > defaults.FIRST_CONTENT_HELD_MAX_BYTES - 2 * len(ROLE)


def test_long_line_is_passed_on_before_its_end() -> None:
    first = FirstContent(CHAT)
    assert first.feed(b"data: " + b"x" * defaults.FIRST_CONTENT_HELD_MAX_BYTES) is Found.CONTENT
