"""What every route of `/v1` does, in the terms of `aicn.api.operations`, which puts it beside the others."""

from __future__ import annotations

from typing import Any, Final

from aicn.api.operation import EVENTS, FORM, JSON, Failure, Operation, Parameter, Words
from aicn.api.v1 import schemas

_HELLO: Final = [{"role": "user", "content": "Hello!"}]

_WHOSE: Final = (
    "The body passes as it is, but for the bytes of `model`; so does the answer, which is the model server's. Failures "
    "are OpenAI's error objects. "
)

_NAMED: Final = (
    Failure(400, "invalid_request", "the body cannot be read, or names no model"),
    Failure(400, "model_ambiguous", "several projects serve a model of that name; the message lists them"),
    Failure(404, "model_not_found", "no node that was heard of serves such a model"),
    Failure(503, "no_node_available", "nobody who serves the model can be asked now; come back after Retry-After"),
)

_ASKED: Final = (
    *_NAMED,
    Failure(404, "endpoint_unsupported", "the model, or its server, has no such endpoint"),
    Failure(408, "request_timeout", "the body did not arrive in time"),
    Failure(413, "request_too_large", "the body is too large"),
    Failure(
        415,
        "unsupported_media_type",
        "the body is compressed, or no JSON, or no form where one is wanted",
    ),
    Failure(429, "rate_limit_exceeded", "the key has used up what it may for now; Retry-After tells when to come back"),
    Failure(429, "insufficient_quota", "the key has used up its budget"),
    Failure(500, "internal_error", "anything that is not foreseen; the message says what"),
    Failure(502, "model_server_failed", "the model server failed at every node that was tried"),
    Failure(502, "node_unavailable", "every node that was tried broke off"),
    Failure(503, "model_server_unreachable", "the model server of the node is down"),
    Failure(503, "overloaded", "this node, or the one that was asked, holds as many requests as it may"),
    Failure(504, "model_server_timeout", "the model server is silent for too long"),
    Failure(504, "node_timeout", "the node does not answer in time"),
    Failure(504, "timeout", "the request took too long"),
)


def _ask(
    path: str,
    summary: str,
    text: str,
    request: Any,
    *,
    example: dict[str, Any] | None = None,
    answers: tuple[str, ...] = (JSON,),
    words: Words = Words.OPENAI,
) -> Operation:
    return Operation(
        "POST",
        f"/v1/{path}",
        "OpenAI's API",
        summary,
        text,
        public=True,
        request=request,
        request_type=JSON if example is not None else FORM,
        example=example,
        answer=dict[str, Any],
        answer_types=answers,
        relays=True,
        failures=_ASKED,
        words=words,
    )


V1_OPERATIONS: Final = (
    _ask(
        "chat/completions",
        "Chat with a model",
        _WHOSE + "With `stream`, server-sent events ended by `data: [DONE]`. A node that fails before its first "
        "content is replaced by the next best.",
        schemas.ChatCompletionRequest,
        example={"model": "llama", "stream": True, "messages": _HELLO},
        answers=(JSON, EVENTS),
    ),
    _ask(
        "completions",
        "Complete a text",
        _WHOSE + "With `stream`, server-sent events ended by `data: [DONE]`.",
        schemas.CompletionRequest,
        example={"model": "llama", "prompt": "Once upon a time"},
        answers=(JSON, EVENTS),
    ),
    _ask(
        "responses",
        "Chat, in OpenAI's newer form",
        _WHOSE + "With `stream`, server-sent events ended by `response.completed`. The conversation is the model "
        "server's to keep; another node knows nothing of it.",
        schemas.ResponseRequest,
        example={"model": "llama", "input": "Hello!"},
        answers=(JSON, EVENTS),
    ),
    _ask(
        "messages",
        "Chat, in Anthropic's form",
        "The body passes as it is, but for the bytes of `model`, to model servers that offer this. Failures are "
        "Anthropic's error objects.",
        schemas.MessagesRequest,
        example={"model": "llama", "max_tokens": 100, "messages": _HELLO},
        answers=(JSON, EVENTS),
        words=Words.ANTHROPIC,
    ),
    _ask(
        "messages/count_tokens",
        "Count the tokens of a message",
        "The body passes as it is, but for the bytes of `model`, to model servers that offer this. It is a request of "
        "its key and costs no tokens. Failures are Anthropic's error objects.",
        schemas.CountTokensRequest,
        example={"model": "llama", "messages": _HELLO},
        words=Words.ANTHROPIC,
    ),
    _ask(
        "embeddings",
        "Turn texts into vectors",
        _WHOSE.strip(),
        schemas.EmbeddingRequest,
        example={"model": "embedder", "input": ["a cat", "a dog"]},
    ),
    _ask(
        "images/generations",
        "Draw by words",
        _WHOSE.strip(),
        schemas.ImageRequest,
        example={"model": "painter", "prompt": "a cat in the rain", "n": 1, "size": "512x512"},
        answers=(JSON, EVENTS),
    ),
    _ask(
        "images/edits",
        "Change a picture",
        _WHOSE + "The form passes as it arrives, and is never held whole.",
        schemas.ImageEditRequest,
        answers=(JSON, EVENTS),
    ),
    _ask(
        "images/variations",
        "Vary a picture",
        _WHOSE + "The form passes as it arrives, and is never held whole.",
        schemas.ImageVariationRequest,
    ),
    _ask(
        "audio/transcriptions",
        "Write down what is said",
        _WHOSE + "The form passes as it arrives, and is never held whole.",
        schemas.AudioRequest,
        answers=(JSON, "text/plain", EVENTS),
    ),
    _ask(
        "audio/translations",
        "Write down in English what is said",
        _WHOSE + "The form passes as it arrives, and is never held whole.",
        schemas.AudioRequest,
        answers=(JSON, "text/plain"),
    ),
    _ask(
        "audio/speech",
        "Say a text",
        _WHOSE + "The sound comes as it is made.",
        schemas.SpeechRequest,
        example={"model": "speaker", "input": "Hello!", "voice": "alloy"},
        answers=("audio/mpeg", "audio/wav", EVENTS),
    ),
    Operation(
        "GET",
        "/v1/models",
        "OpenAI's API",
        "Models that can be asked",
        "Those that a node serves now, each by a name that can be used as `model`.",
        public=True,
        answer=schemas.ModelCards,
        words=Words.OPENAI,
    ),
    Operation(
        "GET",
        "/v1/models/{model}",
        "OpenAI's API",
        "One model",
        "The name may hold slashes: it is all that stands behind `/v1/models/`.",
        public=True,
        parameters=(
            Parameter("model", "Name of the model.", {"type": "string", "minLength": 1}, required=True, place="path"),
        ),
        answer=schemas.ModelCard,
        failures=(*_NAMED, Failure(404, "unknown_url", "a name with line ends, which no model has")),
        words=Words.OPENAI,
    ),
)
"""Every route of `/v1`, in the order in which a newcomer wants them."""
