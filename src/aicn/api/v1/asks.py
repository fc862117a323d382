"""Requests of `/v1` that are one JSON object: chats, completions, responses, embeddings, images by words, speech."""

from __future__ import annotations

from typing import Final

import msgspec

from aicn import defaults
from aicn.api.caller import Caller, refuse_encoded
from aicn.api.errors import ApiError, Code
from aicn.api.inference import TRACE_HEADERS, Inference, InferenceEndpoint, Request
from aicn.api.principal import principal_of
from aicn.api.surface import Surface
from aicn.api.v1.errors import ANTHROPIC, OPENAI, RESPONSES
from aicn.api.v1.names import Names
from aicn.endpoints import Endpoint
from aicn.ids import ModelName, ProjectName
from aicn.routing import Ask
from aicn.wire.http_frames import Headers, header_text
from aicn.wire.json_members import NO_JSON, stands_once, with_text_member

PASSED_HEADERS: Final = frozenset({b"content-type", b"accept"}) | TRACE_HEADERS
"""What the model server may know of the client's request. Its keys and cookies are nobody's business."""

_PASSED_PREFIXES: Final = (b"anthropic-", b"openai-beta")

_PASSED_MAX: Final = defaults.HTTP_MAX_HEADERS // 2
_PASSED_MAX_BYTES: Final = defaults.HTTP_HEAD_MAX_BYTES // 4
"""Far below what a node takes of another: it adds some of its own, and breaks off where they are too many."""

_SESSION_HEADER: Final = b"x-aicn-session"
_PROJECT_HEADER: Final = b"openai-project"

_SURFACES: Final[dict[Endpoint, Surface]] = {
    Endpoint.RESPONSES: RESPONSES,
    Endpoint.MESSAGES: ANTHROPIC,
    Endpoint.COUNT_TOKENS: ANTHROPIC,
}


def surface_of_endpoint(endpoint: Endpoint) -> Surface:
    """Return the words in which `endpoint` tells its failures."""
    return _SURFACES.get(endpoint, OPENAI)


_NONE: Final = msgspec.Raw(b"")


class _RoutingFields(msgspec.Struct):
    """The fields that the gateway looks at, as they stand: whatever else they hold than texts is never built up."""

    model: msgspec.Raw = _NONE
    prompt_cache_key: msgspec.Raw = _NONE
    session_id: msgspec.Raw = _NONE


_fields: Final = msgspec.json.Decoder(_RoutingFields)
_string: Final = msgspec.json.Decoder(str)


class V1Endpoint(InferenceEndpoint):
    """What all requests of `/v1` for a model have in common."""

    def __init__(self, parts: Inference, names: Names, endpoint: Endpoint) -> None:
        """Ask models, which `names` finds, through `endpoint`."""
        super().__init__(parts, surface_of_endpoint(endpoint))
        self._names = names
        self.endpoint = endpoint

    def find(self, caller: Caller, name: str) -> tuple[ProjectName, ModelName]:
        """Return the model that `caller` means by a name; as `Names.find`."""
        project = header_text(caller.scope["headers"], _PROJECT_HEADER)
        return self._names.find(name, project, principal_of(caller.scope).allows)

    @property
    def first_byte_timeout_s(self) -> float:
        """How long the head of an answer may take, in seconds: of one that comes whole, as long as all attempts may."""
        return self._streams.total_timeout_s


class JsonEndpoint(V1Endpoint):
    """A request whose body is one JSON object with the model's name in it."""

    async def read(self, caller: Caller) -> Request:
        """Read the body; every byte of it but the model's name goes on as it came."""
        headers: Headers = caller.scope["headers"]
        kind = header_text(headers, b"content-type").partition(";")[0].strip().lower()
        if kind and kind != "application/json" and not kind.endswith("+json"):
            raise ApiError(Code.PARAMETER, f"the body is {kind}; send JSON with Content-Type: application/json", 415)
        refuse_encoded(headers)
        body = await caller.read_body()
        try:
            fields = _fields.decode(body)
            name = _text(fields.model)
            if name is None:
                raise ApiError(Code.PARAMETER, "the body has no `model`, or one that is no text", param="model")
            project, model = self.find(caller, name)
            ask = Ask(
                project,
                model,
                body if name == model and stands_once(body, "model") else with_text_member(body, "model", model),
                headers=passed_headers(headers),
                endpoint=self.endpoint,
                first_byte_timeout_s=self.first_byte_timeout_s,
                session=_session(headers, fields) or None,
            )
        except NO_JSON as error:
            raise ApiError(Code.PARSE, f"the body is not the JSON object it should be: {error}") from error
        return Request(ask, None)


def passed_headers(headers: Headers) -> Headers:
    """Return the headers of a client that its model server gets; the length of the body is told apart from them.

    Raises:
        ApiError: they are more or longer than any node takes (431).
    """
    passed = tuple(pair for pair in headers if pair[0] in PASSED_HEADERS or pair[0].startswith(_PASSED_PREFIXES))
    if len(passed) > _PASSED_MAX or sum(len(name) + len(value) for name, value in passed) > _PASSED_MAX_BYTES:
        raise ApiError(
            Code.PARAMETER,
            f"the headers for the model server are more than {_PASSED_MAX}, or longer than {_PASSED_MAX_BYTES} bytes",
            431,
            slug="headers_too_large",
        )
    return passed


def _text(value: msgspec.Raw) -> str | None:
    """Return a member that is a text, None if it is something else or not there."""
    text: str | None = _string.decode(value) if memoryview(value)[:1].tobytes() == b'"' else None
    return text


def _session(headers: Headers, fields: _RoutingFields) -> str:
    """Return what requests of one conversation have in common, empty if nothing tells."""
    told = header_text(headers, _SESSION_HEADER) or _text(fields.prompt_cache_key) or _text(fields.session_id) or ""
    return told[: defaults.SESSION_MAX_CHARS]
