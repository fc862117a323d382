"""Failures in the words of `/api/v0`, which are the reference's."""

from __future__ import annotations

from typing import Final

import msgspec

from aicn.api.errors import ApiError, chat_body, event_body
from aicn.api.surface import Refusal
from aicn.wire.http_frames import REQUEST_ID_HEADER
from aicn.wire.json_members import NO_JSON

_FAILED_FROM: Final = 400
_FAILED: Final = 500


class _CodeOnly(msgspec.Struct):
    code: int = 0


class ReferenceSurface:
    """`{"code", "message"}`; in a stream an event that readers of OpenAI's streams understand as well."""

    request_id_headers = (REQUEST_ID_HEADER,)

    def refusal(self, error: ApiError) -> Refusal:
        """Return the answer that tells `error`."""
        return Refusal(error.status, msgspec.json.encode(error.body()), error.answer_headers())

    def event(self, error: ApiError) -> bytes:
        """Return the event that tells `error`."""
        return b"data: " + msgspec.json.encode(event_body(error)) + b"\n\n"

    def answered(self, status: int, body: bytes, meant: int | None = None) -> tuple[int, bytes]:  # noqa: ARG002
        """Return what a model server answered; a `code` that is not 0 with status 200 is a failure, always 500."""
        if status >= _FAILED_FROM or b'"code"' not in body:
            return status, body
        try:
            failed = msgspec.json.decode(body, type=_CodeOnly).code != 0
        except NO_JSON:
            # Not an object, or `code` is no number: then it is no model server's error either.
            return status, body
        return (_FAILED if failed else status), body


class ReferenceChatSurface(ReferenceSurface):
    """As `ReferenceSurface`; a failure of the gateway stands inside an empty completion."""

    def refusal(self, error: ApiError) -> Refusal:
        """Return the answer that tells `error`."""
        body = chat_body(error) if error.status == _FAILED else error.body()
        return Refusal(error.status, msgspec.json.encode(body), error.answer_headers())


REFERENCE: Final = ReferenceSurface()
REFERENCE_CHAT: Final = ReferenceChatSurface()
