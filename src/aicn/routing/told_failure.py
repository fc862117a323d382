"""A failure that a model server told with status 200: what its status should have been.

One told as the first event of a stream is written as the answer it should have been: no content has left yet, so the
client can still have an honest status.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from aicn.wire.json_members import NO_JSON, lists_any

_UNKNOWN: Final = 502

_STATUSES: Final = {
    "api_error": 502,
    "authentication_error": 401,
    "badrequesterror": 400,
    "billing_error": 403,
    "context_length_exceeded": 400,
    "exceed_context_size_error": 400,
    "insufficient_quota": 429,
    "invalid_prompt": 400,
    "invalid_request_error": 400,
    "not_found_error": 404,
    "notfounderror": 404,
    "overloaded_error": 503,
    "permission_error": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "request_too_large": 413,
    "server_overloaded": 503,
    "timeout_error": 504,
    "unavailable_error": 503,
}
"""Status by the type or code of an error, in lower case: OpenAI's, Anthropic's, and those of vLLM and llama.cpp."""


class _Whole(msgspec.Struct):
    error: Any = None
    code: Any = None
    choices: msgspec.Raw = msgspec.Raw(b"")


_whole: Final = msgspec.json.Decoder(_Whole)


def told_status(body: bytes) -> int | None:
    """Return the status that a whole JSON answer with status 200 should have had; None if it tells no failure.

    It tells one by an error, as OpenAI's API does, or by a code that is a number and not 0, as the reference does.
    """
    if b'"error"' not in body and b'"code"' not in body:
        return None
    try:
        said = _whole.decode(body)
    except NO_JSON:
        return None
    return as_answer(body)[0] if tells_failure(said.error, said.code, answers=lists_any(said.choices)) else None


def tells_failure(error: object, code: object, *, answers: bool) -> bool:
    """Whether an answer with these members says that it failed; one with choices is an answer, whatever its code."""
    return bool(error) or (is_failure_code(code) and not answers)


def is_failure_code(code: object) -> bool:
    """Whether `code` is what the reference and its model servers tell failures by: a number that is not 0."""
    return isinstance(code, int) and not isinstance(code, bool) and code != 0


def as_answer(data: bytes) -> tuple[int, bytes]:
    """Return status and JSON body of the answer that an event with `data` stands for."""
    try:
        said = msgspec.json.decode(data)
    except NO_JSON:
        said = data.decode(errors="replace")
    if not isinstance(said, dict | str):
        said = data.decode(errors="replace")
    fields: dict[str, Any] = said if isinstance(said, dict) else {"error": said}
    response = fields.get("response")
    told = fields.get("error") or (response.get("error") if isinstance(response, dict) else None)
    if isinstance(told, dict):
        error = told
        body = data if fields.get("error") else msgspec.json.encode({"error": told})
    else:
        error = {"message": told or fields.get("message") or "the model server failed"}
        error |= {name: fields[name] for name in ("type", "code", "param") if name in fields}
        body = msgspec.json.encode({**fields, "error": error})
    return _status(error), body


def _status(error: dict[str, Any]) -> int:
    for name in ("status", "status_code", "code", "type"):
        value = error.get(name)
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value)
        if isinstance(value, int) and 400 <= value <= 599:  # noqa: PLR2004 - HTTP's statuses of failures
            return value
        if isinstance(value, str) and value.lower() in _STATUSES:
            return _STATUSES[value.lower()]
    return _UNKNOWN
