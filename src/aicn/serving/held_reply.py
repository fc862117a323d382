"""An answer that is put into other words, and for that is held whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from aicn import defaults
from aicn.backends import BackendReply
from aicn.errors import BackendBroken
from aicn.wire.http_frames import Headers

_FAILED: Final = 500
"""Statuses from here on are no fault of whoever asked."""

Hold = Callable[[int], None]
"""Told of the bytes of each part before it is kept; what it raises ends the reading."""


class HeldReply:
    """A whole answer; read like a `BackendReply`.

    Attributes:
        status: HTTP status code.
        reason: reason phrase.
        headers: end-to-end headers.
        length_bytes: of the body.
    """

    def __init__(self, status: int, reason: bytes, headers: Headers, body: bytes) -> None:
        """Answer with `body`, whatever `headers` say of another one's length and encoding."""
        self.status = status
        self.reason = reason
        kept = (pair for pair in headers if pair[0] not in {b"content-length", b"content-encoding"})
        self.headers: Headers = (*kept, (b"content-length", b"%d" % len(body)))
        self.length_bytes = len(body)
        self._body = body

    def take_ready(self) -> bytes:
        """Return what of the body has not been read."""
        body, self._body = self._body, b""
        return body

    async def read_some(self) -> bytes:
        """Return what of the body has not been read; b"" at its end."""
        return self.take_ready()


def refusal(status: int, message: str, code: str | None = None) -> HeldReply:
    """Return a failure in OpenAI's words."""
    kind = "server_error" if status >= _FAILED else "invalid_request_error"
    error = {"message": message, "type": kind, "param": None, "code": code}
    body = msgspec.json.encode({"error": error})
    return HeldReply(status, b"", ((b"content-type", b"application/json"),), body)


async def read_whole(reply: BackendReply, hold: Hold) -> bytes:
    """Return the body of `reply`.

    Raises:
        BackendError: it broke off, or is longer than `defaults.JSON_ANSWER_MAX_BYTES`.
    """
    body = bytearray()
    while part := await reply.read_some():
        hold(len(part))
        body += part
        if len(body) > defaults.JSON_ANSWER_MAX_BYTES:
            raise BackendBroken(f"the model server answered more than {defaults.JSON_ANSWER_MAX_BYTES} bytes")
    return bytes(body)
