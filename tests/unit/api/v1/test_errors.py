"""Every failure has a status, a type and a code that the SDKs of OpenAI and Anthropic know."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aicn import errors
from aicn.api.errors import ApiError, Code, from_exception, from_node
from aicn.api.surface import Refusal, Surface
from aicn.api.v1 import ANTHROPIC, OPENAI, surface_of

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.AicnError)]
OF_THE_NETWORK = (errors.NetworkError, errors.WireError, errors.BackendError, errors.RoutingError)
RESPONSES = surface_of("/v1/responses")
SURFACES = [OPENAI, RESPONSES, ANTHROPIC]


def told(refusal: Refusal) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(refusal.body)
    return decoded


def retry_after(refusal: Refusal) -> list[int]:
    return [int(value) for name, value in refusal.headers if name == b"retry-after"]


def test_surfaces_are_those_of_their_paths() -> None:
    assert surface_of("/v1/chat/completions") is surface_of("/v1/nothing") is OPENAI
    assert surface_of("/v1/messages") is surface_of("/v1/messages/batches") is ANTHROPIC


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_fails_on_the_way_is_never_this_nodes_fault_and_never_good(kind: type[errors.AicnError]) -> None:
    error = from_exception(kind("it failed"))
    refusal = OPENAI.refusal(error)
    assert refusal.status >= 400
    if issubclass(kind, OF_THE_NETWORK):
        assert refusal.status in {502, 503, 504}
    assert told(refusal)["error"]["message"]
    assert bool(retry_after(refusal)) is (refusal.status == 503), "whoever shall come back is told when"
    assert ANTHROPIC.refusal(error).status == refusal.status


@pytest.mark.parametrize("slug", [*(kind.slug for kind in KINDS), "of_a_later_version", "x" * 1_000, ""])
def test_what_another_node_says_is_never_this_nodes_fault(slug: str) -> None:
    refusal = OPENAI.refusal(from_node(slug))
    own = next((OPENAI.refusal(from_exception(kind("it failed"))) for kind in KINDS if kind.slug == slug), None)
    if own is not None and own.status in {404, 502, 503, 504}:
        assert (refusal.status, told(refusal)["error"]["code"]) == (own.status, told(own)["error"]["code"])
    else:
        assert (refusal.status, told(refusal)["error"]["code"]) == (502, "node_unavailable")


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (errors.ModelNotFound, 404, "model_not_found"),
        (errors.WrongKind, 404, "endpoint_unsupported"),
        (errors.EndpointUnsupported, 404, "endpoint_unsupported"),
        (errors.NoCandidate, 503, "no_node_available"),
        (errors.Overloaded, 503, "overloaded"),
        (errors.BackendUnreachable, 503, "model_server_unreachable"),
        (errors.BackendTimeout, 504, "model_server_timeout"),
        (errors.BackendBroken, 502, "model_server_failed"),
        (errors.NetworkTimeout, 504, "node_timeout"),
        (errors.StreamReset, 502, "node_unavailable"),
        (errors.AttemptsExhausted, 502, "node_unavailable"),
    ],
)
def test_rows(kind: type[errors.AicnError], status: int, code: str) -> None:
    refusal = OPENAI.refusal(from_exception(kind("it failed")))
    assert (refusal.status, told(refusal)["error"]["code"]) == (status, code)


def test_where_all_attempts_failed_the_last_ones_failure_is_told() -> None:
    error = errors.AttemptsExhausted("all failed", 2)
    error.__cause__ = errors.NodeUnavailable("the second")
    error.__cause__.__cause__ = errors.BackendTimeout("it was silent")
    refusal = OPENAI.refusal(from_exception(error))
    assert (refusal.status, dict(refusal.headers)[b"x-aicn-attempts"]) == (504, b"2")


@pytest.mark.parametrize(
    ("status", "type_of_openai", "code", "type_of_anthropic"),
    [
        (400, "invalid_request_error", "invalid_request", "invalid_request_error"),
        (401, "invalid_request_error", "invalid_api_key", "authentication_error"),
        (403, "permission_error", "forbidden", "permission_error"),
        (404, "invalid_request_error", "unknown_url", "not_found_error"),
        (405, "invalid_request_error", "method_not_allowed", "invalid_request_error"),
        (408, "invalid_request_error", "request_timeout", "invalid_request_error"),
        (413, "invalid_request_error", "request_too_large", "request_too_large"),
        (415, "invalid_request_error", "unsupported_media_type", "invalid_request_error"),
        (429, "rate_limit_error", "rate_limit_exceeded", "rate_limit_error"),
        (500, "server_error", "internal_error", "api_error"),
        (503, "server_error", "overloaded", "overloaded_error"),
        (504, "server_error", "timeout", "timeout_error"),
    ],
)
def test_statuses(status: int, type_of_openai: str, code: str, type_of_anthropic: str) -> None:
    error = ApiError(Code.PARAMETER, "no", status, param="model")
    assert told(OPENAI.refusal(error)) == {
        "error": {"message": "no", "type": type_of_openai, "param": "model", "code": code}
    }
    assert told(ANTHROPIC.refusal(error)) == {"type": "error", "error": {"type": type_of_anthropic, "message": "no"}}


def test_a_word_of_the_gateway_is_the_code() -> None:
    error = ApiError(
        Code.PERMISSION,
        "used up",
        429,
        slug="insufficient_quota",
        retry_after_s=0.2,
        headers=((b"x-ratelimit-limit-requests", b"5"),),
    )
    refusal = OPENAI.refusal(error)
    assert (told(refusal)["error"]["type"], told(refusal)["error"]["code"]) == ("insufficient_quota",) * 2
    assert retry_after(refusal) == [1], "whole seconds, and never none"
    assert (b"x-ratelimit-limit-requests", b"5") in refusal.headers


# --- what model servers say -----------------------------------------------------------------------------------


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


OPENAIS = as_json({"error": {"message": "no", "type": "t", "param": None, "code": "c", "more": 1}})
ANTHROPICS = as_json({"type": "error", "error": {"type": "t", "message": "no"}, "request_id": "r"})
GOOD = [
    b'{"choices": []}',
    b"[1]",
    b"text",
    b'{"error": null}',
    b'{"code": 0, "data": 1}',
    b'{"code": "x"}',
    b'{"code": 200, "choices": [{}]}',
    b'{"a":{"error":1}}',
]


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("body", GOOD)
def test_what_is_good_stays_as_it_is(surface: Surface, body: bytes) -> None:
    assert surface.answered(200, body) == (200, body)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 429, 503])
def test_a_refusal_in_the_form_of_its_api_passes(status: int) -> None:
    assert OPENAI.answered(status, OPENAIS) == (status, OPENAIS)
    assert ANTHROPIC.answered(status, ANTHROPICS) == (status, ANTHROPICS)


@pytest.mark.parametrize("surface", SURFACES)
def test_a_failure_told_with_success_has_the_status_that_was_meant(surface: Surface) -> None:
    body = as_json({"error": {"message": "too long", "code": "context_length_exceeded"}})
    status, made = surface.answered(200, body, 400)
    assert (status, json.loads(made)["error"]["message"]) == (400, "too long")


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(("status", "told_as"), [(200, 502), (500, 502), (422, 422), (503, 503)])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (as_json({"error": "out of memory"}), "out of memory"),
        (as_json({"error": {"message": "out of memory"}}), "out of memory"),
        (as_json({"code": 7, "message": "out of memory"}), "out of memory"),
        (as_json({"code": -1, "msg": "out of memory"}), "out of memory"),
        (as_json({"code": 7, "message": "out of memory", "choices": None}), "out of memory"),
        (as_json({"code": 7, "message": "out of memory", "choices": []}), "out of memory"),
    ],
)
def test_a_failure_in_any_form_is_a_failure(
    surface: Surface, status: int, told_as: int, body: bytes, words: str
) -> None:
    answered, made = surface.answered(status, body)
    assert answered == told_as
    assert words in json.loads(made)["error"]["message"]


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (as_json({"detail": [{"loc": ["body"], "msg": "field required"}]}), "field required"),
        (as_json({"detail": "Not Found"}), "Not Found"),
        (b"busy", "busy"),
        (b"CUDA out of memory\n\n  tried 2 GiB\r\n", "CUDA out of memory tried 2 GiB"),
        (b"<html>502 Bad Gateway</html>", "without words"),
        (b"\x00\xff", "without words"),
        (b"", "without words"),
        (b"[]", "[]"),
        (b"x" * 100_000, "xxx"),
    ],
)
def test_a_refusal_without_form_is_put_into_one(surface: Surface, body: bytes, words: str) -> None:
    answered, made = surface.answered(404, body)
    assert answered == 404
    message = json.loads(made)["error"]["message"]
    assert words in message
    assert len(message) <= 2_000


# --- in a stream that has begun ---------------------------------------------------------------------------------


@pytest.mark.parametrize("surface", SURFACES)
def test_an_event_tells_what_a_refusal_would(surface: Surface) -> None:
    error = from_exception(errors.StreamReset("it broke off"))
    lines = surface.event(error).split(b"\n")
    assert lines[-2:] == [b"", b""]
    data = json.loads(next(line for line in lines if line.startswith(b"data: ")).removeprefix(b"data: "))
    assert data["error"] == told(surface.refusal(error))["error"]
    if surface is not OPENAI:
        assert lines[0] == b"event: error"
        assert data["type"] == "error"
