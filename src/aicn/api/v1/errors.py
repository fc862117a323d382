"""Failures in the words of OpenAI and of Anthropic: the one table of `/v1` from failure to status, type and code.

Sources: the error references of both APIs, and what their SDKs make of each status: 400 BadRequestError, 401
AuthenticationError, 403 PermissionDeniedError, 404 NotFoundError, 422 UnprocessableEntityError, 429 RateLimitError,
500 and above InternalServerError.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from aicn import defaults, errors
from aicn.api.errors import WORDS_MAX_CHARS, ApiError, plain_words, retry_after
from aicn.api.surface import Refusal
from aicn.routing import tells_failure
from aicn.wire.http_frames import REQUEST_ID_HEADER
from aicn.wire.json_members import NO_JSON, lists_any

_FAILED_FROM: Final = 400
_SERVER_ERRORS: Final = 500
_BAD_GATEWAY: Final = 502
_UNAVAILABLE: Final = 503
_TOO_MANY: Final = 429
_RETRY_AFTER_S: Final = 5.0
"""Told with a 503 of which nobody knows how long it lasts: a heartbeat comes every few seconds when things change."""


class _Row(NamedTuple):
    status: int
    type: str
    code: str


_INVALID: Final = "invalid_request_error"
_SERVER: Final = "server_error"

_OF_SLUG: Final = {
    errors.ModelNotFound.slug: _Row(404, _INVALID, "model_not_found"),
    errors.NoCandidate.slug: _Row(503, _SERVER, "no_node_available"),
    errors.WrongKind.slug: _Row(404, _INVALID, "endpoint_unsupported"),
    errors.EndpointUnsupported.slug: _Row(404, _INVALID, "endpoint_unsupported"),
    errors.Overloaded.slug: _Row(503, _SERVER, "overloaded"),
    errors.BackendUnreachable.slug: _Row(503, _SERVER, "model_server_unreachable"),
    errors.BackendTimeout.slug: _Row(504, _SERVER, "model_server_timeout"),
    errors.BackendError.slug: _Row(502, _SERVER, "model_server_failed"),
    errors.BackendRefused.slug: _Row(502, _SERVER, "model_server_failed"),
    errors.BackendBroken.slug: _Row(502, _SERVER, "model_server_failed"),
    errors.NetworkTimeout.slug: _Row(504, _SERVER, "node_timeout"),
    errors.NotConnected.slug: _Row(503, _SERVER, "no_node_available"),
    errors.DialFailed.slug: _Row(503, _SERVER, "no_node_available"),
    errors.NodeUnavailable.slug: _Row(502, _SERVER, "node_unavailable"),
    errors.AttemptsExhausted.slug: _Row(502, _SERVER, "node_unavailable"),
}
"""Failures that have a row of their own."""

_OF_CLASS: Final = (
    (errors.NetworkError, _Row(502, _SERVER, "node_unavailable")),
    (errors.WireError, _Row(502, _SERVER, "node_unavailable")),
    (errors.BackendError, _Row(502, _SERVER, "model_server_failed")),
    (errors.RoutingError, _Row(502, _SERVER, "node_unavailable")),
)
"""All others of their kind."""

_OF_STATUS: Final = {
    400: _Row(400, _INVALID, "invalid_request"),
    401: _Row(401, _INVALID, "invalid_api_key"),
    403: _Row(403, "permission_error", "forbidden"),
    404: _Row(404, _INVALID, "unknown_url"),
    405: _Row(405, _INVALID, "method_not_allowed"),
    408: _Row(408, _INVALID, "request_timeout"),
    409: _Row(409, _INVALID, "conflict"),
    413: _Row(413, _INVALID, "request_too_large"),
    415: _Row(415, _INVALID, "unsupported_media_type"),
    422: _Row(422, _INVALID, "unprocessable"),
    431: _Row(431, _INVALID, "headers_too_large"),
    429: _Row(429, "rate_limit_error", "rate_limit_exceeded"),
    502: _Row(502, _SERVER, "model_server_failed"),
    503: _Row(503, _SERVER, "overloaded"),
    504: _Row(504, _SERVER, "timeout"),
    529: _Row(503, _SERVER, "overloaded"),
}
_OTHER: Final = _Row(500, _SERVER, "internal_error")


def row_of(error: ApiError) -> tuple[int, str, str]:
    """Return HTTP status, type and code of `error`."""
    row = _OF_SLUG.get(error.slug)
    if row is None and (kind := errors.kind_of(error.slug)) is not None:
        row = next((row for parent, row in _OF_CLASS if issubclass(kind, parent)), None)
    if row is None:
        row = _OF_STATUS.get(error.status) or (_OTHER if error.status >= _SERVER_ERRORS else _OF_STATUS[400])
        if error.slug and errors.kind_of(error.slug) is None:
            # A word of the gateway itself, more exact than the status.
            return row.status, _TYPES.get(error.slug, row.type), error.slug
    return row


_TYPES: Final = {"insufficient_quota": "insufficient_quota"}


def _headers(error: ApiError, status: int) -> tuple[tuple[bytes, bytes], ...]:
    if error.retry_after_s is None and status == _UNAVAILABLE:
        return (*error.headers, retry_after(_RETRY_AFTER_S))
    return error.answer_headers()


class _Fields(msgspec.Struct):
    """What may stand in the answer of a model server that failed, as it stands there."""

    error: msgspec.Raw = msgspec.Raw(b"")
    message: msgspec.Raw = msgspec.Raw(b"")
    detail: msgspec.Raw = msgspec.Raw(b"")
    msg: msgspec.Raw = msgspec.Raw(b"")
    code: msgspec.Raw = msgspec.Raw(b"")
    choices: msgspec.Raw = msgspec.Raw(b"")


_fields: Final = msgspec.json.Decoder(_Fields)


class _Said(NamedTuple):
    """The same as values."""

    error: object
    message: object
    detail: object
    msg: object
    code: object
    choices: bool
    """Whether there are any."""


def _failed(status: int, said: _Said) -> bool:
    """A model server may say with status 200 that it failed, by an error object or a code that is not 0."""
    return status >= _FAILED_FROM or tells_failure(said.error, said.code, answers=said.choices)


def _said(body: bytes) -> _Said | None:
    try:
        fields = _fields.decode(body)
        told = (fields.error, fields.message, fields.detail, fields.msg, fields.code)
        error, message, detail, msg, code = map(_value, told)
        return _Said(error, message, detail, msg, code, lists_any(fields.choices))
    except NO_JSON:
        return None


def _value(raw: msgspec.Raw) -> object:
    """Return what a member says, None if it is not there; of one beyond bounds only that it says something."""
    text = memoryview(raw)
    if len(text) > defaults.PASSED_ERROR_MAX_BYTES:
        return True
    return msgspec.json.decode(text) if text else None


def _words(said: _Said | None, body: bytes, status: int) -> str:
    """Return what a model server says of its failure, in whatever form."""
    if said is not None:
        error = said.error
        inner = error.get("message") if isinstance(error, dict) else error
        for text in (inner, said.message, said.detail, said.msg):
            if text and text is not True:
                shown = text if isinstance(text, str) else msgspec.json.encode(text).decode()
                return shown[:WORDS_MAX_CHARS]
    return plain_words(body) or f"the model server answered {status} without words"


def _upstream_status(status: int) -> int:
    """Return the status for a failure of a model server: its own, but never 200, and 502 where it broke."""
    if status < _FAILED_FROM or status == _SERVER_ERRORS:
        return _BAD_GATEWAY
    return status


class OpenAiSurface:
    """`{"error": {"message", "type", "param", "code"}}`."""

    request_id_headers = (REQUEST_ID_HEADER,)

    def refusal(self, error: ApiError) -> Refusal:
        """Return the answer that tells `error`."""
        status, kind, code = row_of(error)
        return Refusal(status, self._body(error.message, kind, error.param, code), _headers(error, status))

    def event(self, error: ApiError) -> bytes:
        """Return the event that tells `error`, which SDKs raise."""
        _, kind, code = row_of(error)
        return b"data: " + self._body(error.message, kind, error.param, code) + b"\n\n"

    def answered(self, status: int, body: bytes, meant: int | None = None) -> tuple[int, bytes]:
        """Return what a model server answered; a failure that is not in OpenAI's form is put into it."""
        status = meant or status
        if status < _FAILED_FROM and b'"error"' not in body and b'"code"' not in body:
            return status, body
        said = _said(body)
        if said is None and status < _FAILED_FROM:
            return status, body
        if said is not None and not _failed(status, said):
            return status, body
        told = _upstream_status(status)
        if said is not None and isinstance(said.error, dict) and isinstance(said.error.get("message"), str):
            return told, body
        row = _OF_STATUS.get(told) or _Row(told, _SERVER if told >= _SERVER_ERRORS else _INVALID, "model_server_failed")
        code = row.code if told < _SERVER_ERRORS else "model_server_failed"
        return told, self._body(_words(said, body, status), row.type, "", code)

    @staticmethod
    def _body(message: str, kind: str, param: str, code: str) -> bytes:
        return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param or None, "code": code}})


class ResponsesSurface(OpenAiSurface):
    """As `OpenAiSurface`; in a stream the failure is an event that both says `error` and has one."""

    def event(self, error: ApiError) -> bytes:
        """Return the event that tells `error`."""
        _, kind, code = row_of(error)
        param = error.param or None
        told = {"message": error.message, "type": kind, "param": param, "code": code}
        event = {"type": "error", "code": code, "message": error.message, "param": param, "error": told}
        return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"


_ANTHROPIC_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class AnthropicSurface:
    """`{"type": "error", "error": {"type", "message"}}`."""

    request_id_headers = (REQUEST_ID_HEADER, b"request-id")
    """The second is Anthropic's own."""

    def refusal(self, error: ApiError) -> Refusal:
        """Return the answer that tells `error`."""
        status, _, _ = row_of(error)
        return Refusal(status, self._body(error.message, status), _headers(error, status))

    def event(self, error: ApiError) -> bytes:
        """Return the event that tells `error`."""
        status, _, _ = row_of(error)
        return b"event: error\ndata: " + self._body(error.message, status) + b"\n\n"

    def answered(self, status: int, body: bytes, meant: int | None = None) -> tuple[int, bytes]:
        """Return what a model server answered; a failure that is not in Anthropic's form is put into it."""
        status = meant or status
        if status < _FAILED_FROM and b'"error"' not in body and b'"code"' not in body:
            return status, body
        said = _said(body)
        if status < _FAILED_FROM and (said is None or not _failed(status, said)):
            return status, body
        told = _upstream_status(status)
        if said is not None and isinstance(said.error, dict) and b'"type":"error"' in body.replace(b" ", b""):
            return told, body
        return told, self._body(_words(said, body, status), told)

    @staticmethod
    def _body(message: str, status: int) -> bytes:
        kind = _ANTHROPIC_TYPES.get(status, "api_error" if status >= _SERVER_ERRORS else "invalid_request_error")
        return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}})


OPENAI: Final = OpenAiSurface()
RESPONSES: Final = ResponsesSurface()
ANTHROPIC: Final = AnthropicSurface()
