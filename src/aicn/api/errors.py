"""From exception to answer: the one place of `/api/v0` that knows codes and statuses.

The numbers are those of the reference; see docs/errors.md. `/api/v0` answers failures with 400 (the caller's
parameters), 403 (not allowed), 404, 405, 408, 413 or 500 (all else, with the code telling what).
"""

from __future__ import annotations

import math
from typing import Any, Final

from aicn import errors
from aicn.wire.codes import Code


class ApiError(Exception):
    """An answer that ends a request: raised by handlers, sent by the application.

    Attributes:
        code: what went wrong.
        message: one sentence for a person.
        status: HTTP status.
        slug: names the error in one word, as `aicn.errors` does; empty where the status says enough.
        param: the field of the request that is to blame; empty: none.
        retry_after_s: when to ask again, in seconds; None: nobody can tell.
        headers: sent with it.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        status: int = 400,
        *,
        slug: str = "",
        param: str = "",
        retry_after_s: float | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        """Fail a request with `status`."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.slug = slug
        self.param = param
        self.retry_after_s = retry_after_s
        self.headers = headers

    def body(self) -> dict[str, Any]:
        """Return the JSON body."""
        return {"code": int(self.code), "message": self.message}

    def answer_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Return the headers of the answer: those sent with it and, where that is known, when to ask again."""
        if self.retry_after_s is None:
            return self.headers
        return (*self.headers, retry_after(self.retry_after_s))


def retry_after(seconds: float) -> tuple[bytes, bytes]:
    """Return the header that tells when to ask again: whole seconds, never so few that it would be too early."""
    return b"retry-after", b"%d" % max(1, math.ceil(seconds))


def parameter(message: str) -> ApiError:
    """Return the error for a parameter that is missing or wrong."""
    return ApiError(Code.PARAMETER, message)


def stopping() -> ApiError:
    """Return the error for a request that this node did not finish before it had to stop."""
    return ApiError(Code.BUFFER, "this node is stopping; ask again in a moment", 503, retry_after_s=1.0)


def parsing() -> ApiError:
    """Return the error for a body that is not the JSON it should be."""
    return ApiError(Code.PARSE, "Parsing error")


NO_CANDIDATE_MESSAGE = "Not enough available and directly connected nodes"
"""Recorded from the reference; programs compare it."""

MODEL_NOT_FOUND_MESSAGE = "can not find in registered project and model"
"""Recorded from the reference; programs compare it."""

WRONG_KIND_MESSAGE = (
    "the model does something else; use chat/completion for chat, image/gen for image generation, "
    "image/edit for image edit"
)

_TABLE: tuple[tuple[type[errors.AicnError], Code, int], ...] = (
    (errors.InvalidModel, Code.PARAMETER, 400),
    (errors.NotSameMachine, Code.PARAMETER, 400),
    (errors.ModelNotFound, Code.MODEL, 500),
    (errors.WrongKind, Code.MODEL, 500),
    (errors.EndpointUnsupported, Code.MODEL, 500),
    (errors.RegistryError, Code.PARAMETER, 400),
    (errors.AddressError, Code.INTERNAL, 500),
    (errors.NoCandidate, Code.PROXY, 500),
    (errors.AttemptsExhausted, Code.PROXY, 500),
    (errors.NodeUnavailable, Code.STREAM, 500),
    (errors.RoutingError, Code.PROXY, 500),
    (errors.BackendTimeout, Code.TIMEOUT, 500),
    (errors.BackendError, Code.MODEL, 500),
    (errors.StreamReset, Code.STREAM, 500),
    (errors.StreamRefused, Code.STREAM, 500),
    (errors.NetworkTimeout, Code.TIMEOUT, 500),
    (errors.PeerRefused, Code.INTERNAL, 500),
    (errors.NetworkError, Code.INTERNAL, 500),
    (errors.SealError, Code.DECRYPT, 500),
    (errors.MessageTooLong, Code.BUFFER, 500),
    (errors.MalformedMessage, Code.PROTOBUF, 500),
    (errors.WireError, Code.STREAM, 500),
    (errors.StoreError, Code.DATABASE, 500),
    (errors.IdentityError, Code.PARAMETER, 400),
    (errors.ConfigError, Code.INTERNAL, 500),
    (errors.UsageError, Code.PARAMETER, 400),
    (errors.AicnError, Code.INTERNAL, 500),
)
"""Most specific first; a test walks the whole tree of `aicn.errors`."""

_CODES = frozenset(code.value for code in Code)

ATTEMPTS_HEADER: Final = b"x-aicn-attempts"
"""How many nodes were tried."""


_OF_THE_WAY = (
    errors.NetworkError,
    errors.WireError,
    errors.BackendError,
    errors.RoutingError,
    errors.EndpointUnsupported,
)
"""Failures on the way of a request."""


def from_exception(error: errors.AicnError) -> ApiError:
    """Return the answer for `error`."""
    code, status = next((code, status) for kind, code, status in _TABLE if isinstance(error, kind))
    if isinstance(error, errors.PeerRefused) and error.code in _CODES:
        code = Code(error.code)
    message = NO_CANDIDATE_MESSAGE if isinstance(error, errors.NoCandidate) else str(error)
    tried = error.attempts if isinstance(error, errors.AttemptsExhausted) else 0
    headers = ((ATTEMPTS_HEADER, b"%d" % tried),) if tried else ()
    return ApiError(code, message, status, slug=_slug_of(error), headers=headers)


def _slug_of(error: errors.AicnError) -> str:
    """Return the word for `error`; where all peers that were tried failed, that of the last one's failure."""
    cause = error.__cause__
    if isinstance(error, errors.AttemptsExhausted | errors.NodeUnavailable) and isinstance(cause, errors.AicnError):
        return _slug_of(cause)
    return error.slug


def from_node(slug: str) -> ApiError:
    """Return the answer for an error that the asked node reported of itself, by its slug."""
    if slug == errors.ModelNotFound.slug:
        return ApiError(Code.MODEL, MODEL_NOT_FOUND_MESSAGE, 500, slug=slug)
    if slug == errors.WrongKind.slug:
        return ApiError(Code.MODEL, WRONG_KIND_MESSAGE, 500, slug=slug)
    kind = errors.kind_of(slug) or errors.AicnError
    code = next(code for row, code, _ in _TABLE if issubclass(kind, row))
    # What is that node's own affair, or a word that nobody knows, is to its clients a node that cannot be used.
    named = slug if issubclass(kind, _OF_THE_WAY) else errors.NodeUnavailable.slug
    return ApiError(code, f"the node answered: {slug.replace('_', ' ')}", 500, slug=named)


def chat_body(error: ApiError) -> dict[str, Any]:
    """Return the body of a failed chat: the error inside an empty completion, as the reference sends it."""
    return {
        **error.body(),
        "id": "",
        "object": "",
        "created": 0,
        "choices": None,
        "usage": {"completion_tokens": 0, "prompt_tokens": 0, "total_tokens": 0},
    }


def event_body(error: ApiError) -> dict[str, Any]:
    """Return the body of an error event in a stream: for readers of `/api/v0` and of OpenAI streams alike."""
    return {
        **error.body(),
        "error": {"message": error.message, "type": "upstream_error", "code": error.code.name.lower()},
    }


WORDS_MAX_CHARS = 2_000
"""Of what a model server says of its failure in a form that nobody knows."""


def plain_words(body: bytes) -> str:
    """Return what a failure says that is no JSON, in one line; empty if it is a page, or nothing to be read."""
    text = " ".join(body[: 4 * WORDS_MAX_CHARS].decode(errors="replace").split())
    return text[:WORDS_MAX_CHARS] if text.isprintable() and not text.startswith("<") else ""


__all__ = [
    "ATTEMPTS_HEADER",
    "MODEL_NOT_FOUND_MESSAGE",
    "NO_CANDIDATE_MESSAGE",
    "ApiError",
    "Code",
    "chat_body",
    "event_body",
    "from_exception",
    "from_node",
    "parameter",
    "parsing",
]
