"""What callers of `/v1` send and get, as types: enough to ask and to read a refusal.

The full descriptions are OpenAI's and Anthropic's own. Imported when somebody asks for the document, not before.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from aicn.api.schemas import ChatMessage

ModelId = Annotated[
    str,
    Meta(
        min_length=1,
        description="`model` where only one project serves it, else `project/model`; see `GET /v1/models`.",
        examples=["llama"],
    ),
]
Streamed = Annotated[bool | UnsetType, Meta(description="Answer with server-sent events, each when it is written.")]
Theirs = Annotated[Any, Meta(description="For the model server.")]
File = Annotated[str, Meta(description="A file.", extra_json_schema={"format": "binary"})]


# --- what callers send ------------------------------------------------------------------------------------


class ChatCompletionRequest(msgspec.Struct):
    """OpenAI's. All other fields are the model server's and are passed on, known or not."""

    model: ModelId
    messages: Annotated[list[ChatMessage], Meta(description="The conversation so far.")] = []
    stream: Streamed = UNSET
    stream_options: Theirs = UNSET
    tools: Theirs = UNSET
    response_format: Theirs = UNSET
    max_tokens: Theirs = UNSET


class CompletionRequest(msgspec.Struct):
    """OpenAI's. All other fields are the model server's and are passed on, known or not."""

    model: ModelId
    prompt: Theirs = UNSET
    stream: Streamed = UNSET
    max_tokens: Theirs = UNSET


class ResponseRequest(msgspec.Struct):
    """OpenAI's. All other fields are the model server's and are passed on, known or not."""

    model: ModelId
    input: Theirs = UNSET
    instructions: Theirs = UNSET
    stream: Streamed = UNSET


class EmbeddingRequest(msgspec.Struct):
    """OpenAI's. All other fields are the model server's and are passed on, known or not."""

    model: ModelId
    input: Theirs = UNSET
    encoding_format: Theirs = UNSET


class ImageRequest(msgspec.Struct):
    """OpenAI's. All other fields are the model server's and are passed on, known or not."""

    model: ModelId
    prompt: Theirs = UNSET
    n: Theirs = UNSET
    size: Theirs = UNSET
    response_format: Theirs = UNSET


class SpeechRequest(msgspec.Struct):
    """OpenAI's. All other fields are the model server's and are passed on, known or not."""

    model: ModelId
    input: Theirs = UNSET
    voice: Theirs = UNSET
    response_format: Theirs = UNSET


class MessagesRequest(msgspec.Struct):
    """Anthropic's. All other fields are the model server's and are passed on, known or not."""

    model: ModelId
    messages: Annotated[list[ChatMessage], Meta(description="The conversation so far.")] = []
    max_tokens: Theirs = UNSET
    system: Theirs = UNSET
    stream: Streamed = UNSET


class CountTokensRequest(msgspec.Struct):
    """Anthropic's. All other fields are the model server's and are passed on, known or not."""

    model: ModelId
    messages: Annotated[list[ChatMessage], Meta(description="The conversation so far.")] = []
    system: Theirs = UNSET
    tools: Theirs = UNSET


class ImageEditRequest(msgspec.Struct):
    """A form. Every part is passed on as it is, in its order; which ones are needed is the model server's to say."""

    model: ModelId
    image: File
    prompt: Annotated[str, Meta(description="What to change.", examples=["add a hat"])]
    mask: File | UnsetType = UNSET


class ImageVariationRequest(msgspec.Struct):
    """A form. Every part is passed on as it is, in its order; which ones are needed is the model server's to say."""

    model: ModelId
    image: File


class AudioRequest(msgspec.Struct):
    """A form. Every part is passed on as it is, in its order; which ones are needed is the model server's to say."""

    model: ModelId
    file: File
    response_format: Annotated[str | UnsetType, Meta(description="`json`, `text`, `srt`, `vtt` …")] = UNSET


# --- what they get ----------------------------------------------------------------------------------------


class OpenAiErrorBody(msgspec.Struct):
    """What went wrong."""

    message: Annotated[str, Meta(description="One sentence for a person: what, where, what to do.")]
    type: Annotated[str, Meta(description="The kind of failure, in OpenAI's words.")]
    param: Annotated[str | None, Meta(description="The field of the request that is to blame.")]
    code: Annotated[str | None, Meta(description="What went wrong, in a word.")]


class OpenAiError(msgspec.Struct):
    """Why a request failed, in OpenAI's form."""

    error: OpenAiErrorBody


class AnthropicErrorBody(msgspec.Struct):
    """What went wrong."""

    type: Annotated[str, Meta(description="The kind of failure, in Anthropic's words.")]
    message: Annotated[str, Meta(description="One sentence for a person: what, where, what to do.")]


class AnthropicError(msgspec.Struct):
    """Why a request failed, in Anthropic's form."""

    type: Literal["error"]
    error: AnthropicErrorBody


class ModelCard(msgspec.Struct):
    """A model, in OpenAI's and Anthropic's form at once."""

    id: ModelId
    object: Literal["model"]
    created: Annotated[int, Meta(description="Unix time since when this node answers for it.")]
    owned_by: Annotated[str, Meta(description="The project.", examples=["demo"])]
    type: Literal["model"]
    display_name: str
    created_at: str


class ModelCards(msgspec.Struct):
    """All models."""

    object: Literal["list"]
    data: list[ModelCard]
    has_more: Literal[False]
    first_id: str | None
    last_id: str | None
