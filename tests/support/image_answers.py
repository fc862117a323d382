"""What the model server of the tests answers to requests for images: drawn from the prompt, shaped like OpenAI's."""

from __future__ import annotations

import base64
import email.parser
import email.policy
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from support.drawing import SIGNATURE, draw

GENERATIONS_PATH = "/v1/images/generations"
EDITS_PATH = "/v1/images/edits"
VARIATIONS_PATH = "/v1/images/variations"
FILES_PATH = "/files/"

DEFAULT_SIDE = 64
MAX_IMAGES = 8


@dataclass(slots=True)
class Gallery:
    """The images that answers with `response_format` url point to."""

    base_url: str
    files: dict[str, bytes] = field(default_factory=dict)

    def generated(self, asked: dict[str, Any]) -> tuple[int, bytes]:
        """Return status and body of the answer to a request for images by words."""
        prompt = asked.get("prompt")
        if not isinstance(prompt, str) or not prompt:
            return 400, failure("prompt is missing")
        width, height = _size(asked)
        count = min(int(asked.get("n") or 1), MAX_IMAGES)
        drawn = [draw(prompt, width, height, seed) for seed in range(count)]
        return 200, self._answer(drawn, prompt, str(asked.get("response_format") or "url"))

    def edited(self, content_type: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body of the answer to a form: the very image that came, with the prompt that came."""
        form = fields(content_type, body)
        if "prompt" not in form:
            return 400, failure("prompt is missing")
        return self.varied(content_type, body)

    def varied(self, content_type: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body of the answer to a form that needs no prompt: the very image that came."""
        form = fields(content_type, body)
        # Clients that send several images name each of them so.
        image, prompt = form.get("image", form.get("image[]")), form.get("prompt", b"").decode()
        if image is None:
            return 400, failure("image is missing")
        if not image.startswith(SIGNATURE):
            return 400, failure("the image is no PNG")
        return 200, self._answer([image], prompt, form.get("response_format", b"b64_json").decode())

    def _answer(self, images: list[bytes], prompt: str, response_format: str) -> bytes:
        data = []
        for image in images:
            if response_format == "b64_json":
                data.append({"b64_json": base64.b64encode(image).decode(), "revised_prompt": prompt})
                continue
            name = f"{hashlib.sha256(image).hexdigest()}.png"
            self.files[name] = image
            data.append({"url": f"{self.base_url}{FILES_PATH}{name}", "revised_prompt": prompt})
        return json.dumps({"created": 1_700_000_000, "data": data}).encode()


def received(size_bytes: int, sha256: str) -> bytes:
    """Return the answer to a form that is too large to be looked into: what came, by its size and checksum."""
    drawn = base64.b64encode(draw(sha256)).decode()
    data = [{"b64_json": drawn, "revised_prompt": f"{size_bytes} bytes, sha256 {sha256}"}]
    return json.dumps({"created": 1_700_000_000, "data": data}).encode()


def failure(message: str, code: int = 4_001) -> bytes:
    """Return the body of an error, as the reference's model servers write it."""
    return json.dumps({"code": code, "message": message}).encode()


def fields(content_type: str, body: bytes) -> dict[str, bytes]:
    """Return the fields of a form, files included, by their names."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    found = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            found[name] = content
    return found


def _size(asked: dict[str, Any]) -> tuple[int, int]:
    text = str(asked.get("size") or "")
    width, _, height = text.partition("x")
    if width.isdecimal() and height.isdecimal():
        return int(width), int(height)
    return int(asked.get("width") or DEFAULT_SIDE), int(asked.get("height") or DEFAULT_SIDE)
