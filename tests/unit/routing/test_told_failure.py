"""What a failure that was told inside a stream becomes when nothing of the stream has left yet."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aicn.routing.told_failure import as_answer, told_status


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"error": {"message": "m", "type": "BadRequestError", "code": 400}}, 400),
        ({"error": {"message": "m", "type": "BadRequestError", "code": "400"}}, 400),
        ({"error": {"message": "m", "type": "invalid_request_error"}}, 400),
        ({"error": {"message": "m", "code": "context_length_exceeded"}}, 400),
        ({"error": {"message": "m", "type": "server_error", "code": 500}}, 500),
        ({"error": {"message": "m", "code": 503, "type": "unavailable_error"}}, 503),
        ({"error": {"message": "m", "type": "server_error", "code": "rate_limit_exceeded"}}, 429),
        ({"error": {"message": "m", "code": 1007}}, 502),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}, 503),
        ({"type": "error", "error": {"type": "rate_limit_error", "message": "m"}}, 429),
    ],
)
def test_error_object_passes_as_it_is(said: dict[str, Any], status: int) -> None:
    data = json.dumps(said).encode()
    assert as_answer(data) == (status, data)


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        (b'{"type": "error", "code": "rate_limit_exceeded", "message": "m", "param": null}', 429, "m"),
        (b'{"type": "response.failed", "response": {"error": {"code": "server_error", "message": "m"}}}', 502, "m"),
        (b'{"type": "response.failed", "response": {"error": {"code": "invalid_prompt", "message": "m"}}}', 400, "m"),
        (b'{"type": "response.failed", "response": {}}', 502, "the model server failed"),
        (b'{"error": "m"}', 502, "m"),
        (b'{"code": 1007, "message": "m"}', 502, "m"),
        (b"overloaded", 502, "overloaded"),
        (b"", 502, "the model server failed"),
        (b"\xff", 502, "�"),
    ],
)
def test_every_other_shape_becomes_an_error_object(data: bytes, status: int, message: str) -> None:
    answered, body = as_answer(data)
    assert answered == status
    assert json.loads(body)["error"]["message"] == message


@pytest.mark.parametrize("depth", [10, *range(900, 1_000), 100_000])
@pytest.mark.parametrize(
    "around", [b"%b", b'{"error":%b}', b'{"code":5,"message":%b}', b'{"response":{"error":{"a":%b}}}']
)
def test_nesting_without_end_breaks_nothing(around: bytes, depth: int) -> None:
    said = around % (b"[" * depth + b"]" * depth)
    status, body = as_answer(said)
    assert (status, body.startswith(b"{")) == (502, True)
    assert told_status(said) in {None, 502}
