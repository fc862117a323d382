"""What was said so far, whichever API says it: words, images and sounds in parts."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Final

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
    read = _READ.get(str(part.get("type")))
    if read is None:
        raise Refused(400, f"a part of type {part.get('type')!r} is unknown", param="messages")
    return read(part)


def _sound(part: dict[str, Any]) -> str:
    sound = part["input_audio"]
    return described(base64.b64decode(sound["data"], validate=True), f"audio/{sound['format']}")


def _source(part: dict[str, Any]) -> str:
    source = part["source"]
    return described(base64.b64decode(source["data"], validate=True), source["media_type"])


def _data_url(url: str) -> str:
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:"):
        raise Refused(400, "images must come in the request, as data:", param="messages")
    kind = head.removeprefix("data:").removesuffix(";base64")
    return described(base64.b64decode(data, validate=True), kind)


_READ: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "text": lambda part: str(part["text"]),
    "input_text": lambda part: str(part["text"]),
    "output_text": lambda part: str(part["text"]),
    "image_url": lambda part: _data_url(part["image_url"]["url"]),
    "input_image": lambda part: _data_url(part["image_url"]),
    "input_audio": _sound,
    "image": _source,
    "tool_use": lambda part: str(part["name"]),
    "tool_result": lambda part: spoken(part.get("content")),
}
