"""What a request for images in OpenAI's words wishes for."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from aicn import defaults
from aicn.errors import MalformedFrame
from aicn.wire.json_members import NO_JSON


class ImageWish(NamedTuple):
    """Images that shall be drawn."""

    prompt: str
    number: int
    size: tuple[int, int] | None
    """Width and height; None: as the one who draws thinks best."""
    fields: dict[str, Any]
    """All fields of the request."""


def read_wish(body: bytes) -> ImageWish:
    """Read a request for images.

    Raises:
        MalformedFrame: it is none, or wishes for too many.
    """
    try:
        asked = msgspec.json.decode(body)
    except NO_JSON:
        asked = None
    if not isinstance(asked, dict) or not isinstance(asked.get("prompt"), str):
        raise MalformedFrame("the body is no JSON object with a `prompt`")
    number = asked.get("n")
    number = number if isinstance(number, int) and number > 0 else 1
    if number > defaults.DRAWN_IMAGES_MAX:
        raise MalformedFrame(f"`n` is {number}; {defaults.DRAWN_IMAGES_MAX} images are drawn at once, no more")
    width, _, height = str(asked.get("size") or "").partition("x")
    size = (int(width), int(height)) if _is_side(width) and _is_side(height) else None
    return ImageWish(asked["prompt"], number, size, asked)


def answer_with(images: Iterable[str]) -> bytes:
    """Return an answer in OpenAI's words, with `images` in base64."""
    return msgspec.json.encode({"created": int(time.time()), "data": [{"b64_json": image} for image in images]})


def _is_side(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5  # noqa: PLR2004 - pixels
