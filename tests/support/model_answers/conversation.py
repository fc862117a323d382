"""What was said so far, whichever API says it: words, images and sounds in parts."""

from __future__ import annotations

import base64
from typing import Any

from support.model_answers.answer import Refused, count, described


def spoken(content: Any) -> str:
    """Return the content of one message as words; images and sounds are named by size and checksum.

    Raises:
        Refused: the content has a form that nobody understands.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(_part(part) for part in content)
    raise Refused(400, "content is neither text nor parts", param="messages")


def reply(messages: list[Any]) -> str:
    """Return what the model says next: what was said last, and by whom if it was a tool.

    Raises:
        Refused: nothing was said.
    """
    if not messages or not all(isinstance(message, dict) for message in messages):
        raise Refused(400, "messages is empty", param="messages", code="empty_array")
    last = messages[-1]
    said = spoken(last.get("content"))
    return f"The tool said: {said}" if last.get("role") == "tool" else f"You said: {said}"


def prompt_tokens(messages: list[Any]) -> int:
    """Return how many tokens the messages are."""
    return sum(count(spoken(message.get("content"))) + 1 for message in messages)


def _part(part: dict[str, Any]) -> str:
    kind = part.get("type")
    if kind in {"text", "input_text", "output_text"}:
        return str(part["text"])
    if kind == "image_url":
        return _data_url(part["image_url"]["url"])
    if kind == "input_image":
        return _data_url(part["image_url"])
    if kind == "image":
        source = part["source"]
        return described(base64.b64decode(source["data"], validate=True), source["media_type"])
    if kind == "input_audio":
        sound = part["input_audio"]
        return described(base64.b64decode(sound["data"], validate=True), f"audio/{sound['format']}")
    if kind == "tool_use":
        return str(part["name"])
    if kind == "tool_result":
        return spoken(part.get("content"))
    raise Refused(400, f"a part of type {kind!r} is unknown", param="messages")


def _data_url(url: str) -> str:
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:"):
        raise Refused(400, "images must come in the request, as data:", param="messages")
    kind = head.removeprefix("data:").removesuffix(";base64")
    return described(base64.b64decode(data, validate=True), kind)
