"""One HTTP request as the handlers see it: a body with a limit, a client that may hang up, an answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from aicn import defaults
from aicn.api.errors import ApiError, Code

Headers = Sequence[tuple[bytes, bytes]]


class ClientGone(Exception):
    """The client closed its connection. Nobody is left to answer."""


class Caller:
    """Reads one request and writes its answer straight through ASGI, without anything in between.

    Attributes:
        started: whether the head of the answer has been sent.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wrap the three parts of an ASGI HTTP call."""
        self.scope = scope
        self._receive = receive
        self._send = send
        self.started = False
        self._sending_since_s: float | None = None

    async def read_body(self, max_bytes: int = defaults.JSON_BODY_MAX_BYTES) -> bytes:
        """Return the whole request body.

        Raises:
            ApiError: it is longer than `max_bytes` (413), or took too long (408).
            ClientGone: the client hung up in the middle.
        """
        try:
            async with asyncio.timeout(defaults.BODY_TIMEOUT_S):
                return await self._read_body(max_bytes)
        except TimeoutError as error:
            seconds = defaults.BODY_TIMEOUT_S
            raise ApiError(Code.TIMEOUT, f"the request body did not arrive within {seconds:g} s", 408) from error

    async def _read_body(self, max_bytes: int) -> bytes:
        message = await self._receive()
        body: bytes = message.get("body", b"")
        if message["type"] == "http.request" and not message.get("more_body") and len(body) <= max_bytes:
            return body
        parts = [body]
        size = len(body)
        while size <= max_bytes:
            if message["type"] == "http.disconnect":
                raise ClientGone
            if not message.get("more_body"):
                return b"".join(parts)
            message = await self._receive()
            part: bytes = message.get("body", b"")
            size += len(part)
            parts.append(part)
        raise ApiError(Code.PARAMETER, f"the request body is larger than {max_bytes} bytes", 413)

    async def raise_when_gone(self) -> None:
        """Wait until the client hangs up, or takes nothing for so long that it counts as gone.

        To be called when the body has been read. One clock for the whole answer: one for each part of it would
        cost more than sending the part.

        Raises:
            ClientGone: it has.
        """
        while True:
            try:
                async with asyncio.timeout(defaults.STALL_TIMEOUT_S):
                    if (await self._receive())["type"] == "http.disconnect":
                        raise ClientGone
            except TimeoutError:
                since_s = self._sending_since_s
                if since_s is not None and time.monotonic() - since_s >= defaults.STALL_TIMEOUT_S:
                    raise ClientGone from None

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head of the answer."""
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def send(self, data: bytes) -> None:
        """Send a part of the body; waits while the client reads too slowly, which `raise_when_gone` puts an end to."""
        self._sending_since_s = time.monotonic()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self._sending_since_s = None

    async def end(self, data: bytes = b"") -> None:
        """Send the last part of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def answer(self, status: int, body: bytes, headers: Headers) -> None:
        """Send a whole answer."""
        await self.start(status, (*headers, (b"content-length", b"%d" % len(body))))
        await self.end(body)

    async def answer_json(self, status: int, value: Any, headers: Headers = ()) -> None:
        """Send `value` as JSON."""
        await self.answer(status, msgspec.json.encode(value), ((b"content-type", JSON_TYPE), *headers))


JSON_TYPE = b"application/json; charset=utf-8"
"""As the reference sends it."""
