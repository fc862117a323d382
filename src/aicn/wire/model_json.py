"""Requests to models and their answers, between the two forms they travel in: JSON over HTTP, protobuf over gossip.

Gossip carries less than JSON does. What it cannot carry is named in the error, never left out in silence.
"""

from __future__ import annotations

import struct
from typing import Any, Final, TypeVar

import msgspec

from aicn.errors import MalformedMessage
from aicn.wire.codes import Code
from aicn.wire.json_members import NO_JSON
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
)

T = TypeVar("T")

_INT32_MAX: Final = 2**31 - 1

_LEAST_FLOAT: Final = 1e-6
"""Stands for a temperature or top_p of 0, which proto3 cannot tell from one that was not given."""

_WALLET_FIELDS: Final = ("wallet", "signature", "hash")


# --- a request over gossip, for the model server ----------------------------------------------------------


def chat_request_to_json(asked: ChatCompletionRequest) -> bytes:
    """Return the body that the model server gets; a field that was not set is not there.

    Raises:
        MalformedMessage: the content of a message is not JSON, or a number is none.
    """
    body: dict[str, Any] = {
        "model": asked.model,
        "messages": [
            {"role": message.role, "content": _checked_json(number, message.content)}
            for number, message in enumerate(asked.messages)
        ],
        "stream": False,
        "temperature": _short(asked.temperature),
        "top_p": _short(asked.top_p),
        **_wallet_to_json(asked.wallet),
    }
    return msgspec.json.encode({name: value for name, value in body.items() if value is not None})


def image_request_to_json(asked: ImageGenerationRequest) -> bytes:
    """Return the body that the model server gets; a field that was not set is not there."""
    body: dict[str, Any] = {
        "model": asked.model,
        "prompt": asked.prompt,
        "n": asked.number or None,
        "size": asked.size or None,
        "width": asked.width or None,
        "height": asked.height or None,
        "step": asked.step or None,
        "response_format": asked.response_format or None,
        **_wallet_to_json(asked.wallet),
    }
    return msgspec.json.encode({name: value for name, value in body.items() if value is not None})


def _checked_json(number: int, content: bytes) -> msgspec.Raw:
    try:
        msgspec.json.decode(content)
    except NO_JSON:
        raise MalformedMessage(f"the content of message {number} is not JSON") from None
    return msgspec.Raw(content)


def _short(number: float) -> float | None:
    """Return a 32-bit number as somebody has written it: 0.7 and not 0.699999988; None for 0, which is no number."""
    if number == 0:
        return None
    if number - number != 0:
        raise MalformedMessage("temperature and top_p must be finite numbers")
    exact = struct.pack("f", number)
    written = (float(f"{number:.{digits}g}") for digits in range(6, 10))
    return next((short for short in written if struct.pack("f", short) == exact), number)


def _wallet_to_json(wallet: Wallet | None) -> dict[str, str]:
    if wallet is None:
        return {}
    return {name: value for name in _WALLET_FIELDS if (value := getattr(wallet, name))}


# --- the answer of a model server, for a reply over gossip ------------------------------------------------


class _Message(msgspec.Struct):
    role: str | None = None
    content: str | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    message: _Message | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    completion_tokens: int | None = None
    prompt_tokens: int | None = None
    total_tokens: int | None = None


class _ChatAnswer(msgspec.Struct):
    choices: list[_Choice]
    id: str | None = None
    object: str | None = None
    created: float | None = None
    usage: _Usage | None = None


class _Image(msgspec.Struct):
    url: str | None = None
    b64_json: str | None = None
    revised_prompt: str | None = None


class _ImageAnswer(msgspec.Struct):
    data: list[_Image]
    created: float | None = None


def chat_answer_from_json(body: bytes) -> ChatCompletionResponse:
    """Read the answer of a model server.

    Raises:
        MalformedMessage: it is no chat completion.
    """
    answer = _decoded(body, _ChatAnswer, "chat completion")
    usage = answer.usage
    return ChatCompletionResponse(
        created=int(answer.created or 0),
        choices=tuple(
            ChatChoice(
                place if choice.index is None else choice.index,
                None
                if choice.message is None
                else ChatReplyMessage(choice.message.role or "", choice.message.content or ""),
                choice.finish_reason or "",
            )
            for place, choice in enumerate(answer.choices)
        ),
        usage=None
        if usage is None
        else ChatUsage(usage.completion_tokens or 0, usage.prompt_tokens or 0, usage.total_tokens or 0),
        id=answer.id or "",
        object=answer.object or "",
    )


def image_answer_from_json(body: bytes) -> ImageGenerationResponse:
    """Read the answer of a model server.

    Raises:
        MalformedMessage: it holds no images.
    """
    answer = _decoded(body, _ImageAnswer, "list of images")
    return ImageGenerationResponse(
        int(answer.created or 0),
        tuple(ImageChoice(one.url or "", one.b64_json or "", one.revised_prompt or "") for one in answer.data),
    )


def failure_in(status: int, body: bytes) -> tuple[int, str] | None:
    """Return code and message if the answer of a model server is a failure, else None.

    That is an HTTP status from 400 on, and a `code` other than 0 in the JSON whatever the status.

    Args:
        status: HTTP status.
        body: of the answer.
    """
    try:
        fields = msgspec.json.decode(body, type=dict[str, Any])
    except NO_JSON:
        fields = {}
    code = fields.get("code")
    code = code if isinstance(code, int) and not isinstance(code, bool) else 0
    if code == 0 and status < 400:  # noqa: PLR2004
        return None
    error = fields.get("error")
    told = (fields.get("message"), error.get("message") if isinstance(error, dict) else error, fields.get("detail"))
    silence = f"the model server answered with HTTP status {status}"
    text: str = next((one for one in told if isinstance(one, str) and one), silence)
    return code if 0 < abs(code) <= _INT32_MAX else int(Code.MODEL), text


def _decoded(body: bytes, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except NO_JSON as error:
        raise MalformedMessage(f"the answer of the model server is no {what}: {error}") from None


# --- a request over HTTP, for a question over gossip ------------------------------------------------------


class _WalletFields(msgspec.Struct, forbid_unknown_fields=True):
    wallet: str | None = None
    signature: str | None = None
    hash: str | None = None


class _AskedMessage(msgspec.Struct, forbid_unknown_fields=True):
    role: str
    content: msgspec.Raw = msgspec.Raw(b"null")


class _ChatFields(_WalletFields, forbid_unknown_fields=True):
    model: str = ""
    messages: list[_AskedMessage] = []
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None


class _ImageFields(_WalletFields, forbid_unknown_fields=True):
    model: str = ""
    prompt: str = ""
    n: int | None = None
    size: str | None = None
    width: int | None = None
    height: int | None = None
    step: int | None = None
    response_format: str | None = None


def chat_request_from_json(body: bytes, project: str, model: str, cid: str) -> ChatCompletionRequest:
    """Return a request as a question over gossip.

    Raises:
        MalformedMessage: it is not JSON, or says something that gossip cannot carry, a stream among that.
    """
    asked = _carried(body, _ChatFields)
    if asked.stream:
        raise MalformedMessage("it wants a stream")
    return ChatCompletionRequest(
        project=project,
        model=model,
        messages=tuple(ChatRequestMessage(each.role, bytes(each.content)) for each in asked.messages),
        cid=cid,
        temperature=_set(asked.temperature),
        top_p=_set(asked.top_p),
        wallet=_wallet_from_json(asked),
    )


def image_request_from_json(body: bytes, project: str, model: str, cid: str) -> ImageGenerationRequest:
    """Return a request as a question over gossip.

    Raises:
        MalformedMessage: it is not JSON, or says something that gossip cannot carry, images themselves among that.
    """
    asked = _carried(body, _ImageFields)
    if asked.response_format == "b64_json":
        raise MalformedMessage("it wants the images themselves, not their URLs")
    return ImageGenerationRequest(
        project=project,
        model=model,
        prompt=asked.prompt,
        number=asked.n or 0,
        size=asked.size or "",
        width=asked.width or 0,
        height=asked.height or 0,
        response_format=asked.response_format or "",
        cid=cid,
        step=asked.step or 0,
        wallet=_wallet_from_json(asked),
    )


def _carried(body: bytes, kind: type[T]) -> T:
    """Decode a request that has only fields that gossip carries; a field that is null says nothing."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        told = {name: value for name, value in fields.items() if bytes(value).strip() != b"null"}
        return msgspec.json.decode(msgspec.json.encode(told), type=kind)
    except NO_JSON as error:
        raise MalformedMessage(str(error)) from None


def _set(number: float | None) -> float:
    if number is None:
        return 0.0
    return number if number != 0 else _LEAST_FLOAT


def _wallet_from_json(asked: _WalletFields) -> Wallet | None:
    if not (asked.wallet or asked.signature or asked.hash):
        return None
    return Wallet(asked.wallet or "", asked.signature or "", asked.hash or "")


# --- a reply over gossip, for an answer over HTTP ---------------------------------------------------------


def chat_answer_to_json(answer: ChatCompletionResponse) -> bytes:
    """Return a chat completion as the reference writes it."""
    usage = answer.usage or ChatUsage()
    return msgspec.json.encode(
        {
            "id": answer.id,
            "object": answer.object,
            "created": answer.created,
            "choices": [
                {
                    "index": choice.index,
                    "message": {
                        "role": choice.message.role if choice.message else "",
                        "content": choice.message.content if choice.message else "",
                    },
                    "finish_reason": choice.finish_reason,
                }
                for choice in answer.choices
            ],
            "usage": {
                "completion_tokens": usage.completion_tokens,
                "prompt_tokens": usage.prompt_tokens,
                "total_tokens": usage.total_tokens,
            },
        }
    )


def image_answer_to_json(answer: ImageGenerationResponse) -> bytes:
    """Return images as the reference writes them."""
    return msgspec.json.encode({"created": answer.created, "data": [_image_to_json(one) for one in answer.choices]})


def _image_to_json(image: ImageChoice) -> dict[str, str]:
    told = {"b64_json": image.b64_json, "url": image.url, "revised_prompt": image.revised_prompt}
    return {name: value for name, value in told.items() if value}
