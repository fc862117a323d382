"""`/v1/embeddings`: vectors that depend on the text, as numbers or as base64 of 32-bit floats."""

from __future__ import annotations

import base64
import hashlib
import struct
from typing import Any

from support.model_answers.answer import Answer, Refused, Request, count, whole

DIMENSIONS = 8


def vector(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """Return the vector of a text; each number is exact as a 32-bit float."""
    digest = hashlib.shake_256(text.encode()).digest(dimensions)
    return [(byte - 128) / 128 for byte in digest]


def answer(request: Request) -> Answer:
    """Give each text its vector."""
    asked = request.json()
    given = asked.get("input")
    if not given:
        raise Refused(400, "input is missing", param="input")
    texts = [given] if isinstance(given, str) else given
    dimensions = int(asked.get("dimensions") or DIMENSIONS)
    data = [
        {"object": "embedding", "index": index, "embedding": _written(asked, vector(str(text), dimensions))}
        for index, text in enumerate(texts)
    ]
    used = sum(count(str(text)) for text in texts)
    usage = {"prompt_tokens": used, "total_tokens": used}
    return whole({"object": "list", "data": data, "model": asked["model"], "usage": usage})


def _written(asked: dict[str, Any], numbers: list[float]) -> list[float] | str:
    if asked.get("encoding_format") != "base64":
        return numbers
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
