"""A request as a model server understands it, and the answer it makes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from support.image_answers import fields

CREATED = 1_700_000_000

JSON_TYPE = "application/json"
EVENTS_TYPE = "text/event-stream"

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What came: the path below `/v1/`, and the fields of a JSON object or of a form."""

    path: str
    content_type: str
    body: bytes
    size_bytes: int
    sha256: str

    @property
    def is_form(self) -> bool:
        """Whether the body is a form with files."""
        return self.content_type.startswith("multipart/")

    def json(self) -> dict[str, Any]:
        """Return the object in the body.

        Raises:
            Refused: there is none.
        """
        try:
            decoded = json.loads(self.body)
        except ValueError:
            decoded = None
        if not isinstance(decoded, dict):
            raise Refused(400, "the body is no JSON object")
        return decoded

    def form(self) -> dict[str, bytes]:
        """Return the fields of the form, files included."""
        return fields(self.content_type, self.body)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: whole, or in pieces that are written one by one."""

    body: bytes | None = None
    chunks: tuple[bytes, ...] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """The model server will not do what was asked; becomes an error of OpenAI's shape."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code


def refusal(error: Refused, path: str) -> bytes:
    """Return the body of an error as the API at `path` writes it."""
    kind = ERROR_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    if path == "messages":
        return encoded({"type": "error", "error": {"type": kind, "message": error.message}})
    about = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    return encoded({"error": about})


def encoded(value: object) -> bytes:
    """Return JSON as most servers write it, without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def whole(value: object) -> Answer:
    """Return an answer of one JSON object."""
    return Answer(body=encoded(value), headers={"Content-Type": JSON_TYPE})


def event(value: object, name: str = "") -> bytes:
    """Return one server-sent event, named if it has a name."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + encoded(value) + b"\n\n"


def events(chunks: list[bytes]) -> Answer:
    """Return an answer of server-sent events."""
    return Answer(chunks=tuple(chunks), headers={"Content-Type": EVENTS_TYPE, "Cache-Control": "no-cache"})


def tokens(text: str) -> list[str]:
    """Cut text into words, each with the space that follows it."""
    return re.findall(r"\s*\S+\s*?(?=\s|$)|\s+", text)


def count(text: str) -> int:
    """Return how many tokens a text is."""
    return len(tokens(text))


def described(data: bytes, kind: str) -> str:
    """Return words that only someone who got every byte can say."""
    return f"{kind} of {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}"
