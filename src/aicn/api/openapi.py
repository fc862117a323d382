"""The OpenAPI 3.1 document of this node: made from the table of operations, the types and the routes that are there."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec

import aicn
from aicn.api import schemas
from aicn.api.errors import Code
from aicn.api.operation import JSON, Failure, Operation, Words, for_all
from aicn.api.operations import GROUPS, OPERATIONS
from aicn.api.v1 import schemas as v1_schemas

VERSION: Final = "3.1.0"

PUBLIC_MARK: Final = "x-aicn-public"
"""Extension of an operation: whether callers from elsewhere may use it where the configuration opens inference."""

_REF: Final = "#/components/schemas/{name}"

_ABOUT: Final = (
    "Lend a model server, use a model server. Callers on the node's own machine may use every route. Callers from "
    "elsewhere are answered only where the configuration opens inference, and only on the routes marked *public*.\n\n"
    "Under `/v1` failures are OpenAI's error objects, and Anthropic's for its messages. Elsewhere a failure is "
    "`{code, message}`: 400 the request is wrong, 403 not from there, 404 and 405 no such route, 408 and "
    "413 the body is too slow or too large, 500 all else, with the code telling what. 503 is too much under way: ask "
    "again in a moment; where there are too many connections it comes as plain text."
)

_RELAYED_HEADERS: Final = {
    "x-aicn-node": {"description": "Peer id of the node that answered.", "schema": {"type": "string"}},
    "x-aicn-attempts": {"description": "How many nodes were tried.", "schema": {"type": "string"}},
    "x-aicn-path": {"description": "How it was reached.", "schema": {"enum": ["direct", "relayed"]}},
}

_THEIRS: Final = {"description": "The model server's own answer."}


def document(routes: Collection[tuple[str, str]]) -> dict[str, Any]:
    """Return the document of a node with these routes: (method, path) of each. Others are left out."""
    known = {(method, path.replace(":path}", "}")) for method, path in routes}
    there = [each for each in OPERATIONS if (each.method, each.path) in known]
    kinds = _kinds(there)
    refs, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    by_kind = list(zip(kinds, refs, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for each in there:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, by_kind)
    return {
        "openapi": VERSION,
        "info": {
            "title": "aicn",
            "version": aicn.__version__,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in GROUPS.items()],
        "paths": paths,
        "components": {"schemas": components},
    }


def _kinds(operations: Iterable[Operation]) -> list[Any]:
    kinds: list[Any] = [schemas.ErrorAnswer, schemas.ChatErrorAnswer, v1_schemas.OpenAiError, v1_schemas.AnthropicError]
    for each in operations:
        kinds += [kind for kind in (each.request, each.answer) if kind is not None and kind not in kinds]
    return kinds


def _schema(kind: Any, by_kind: list[tuple[Any, dict[str, Any]]]) -> dict[str, Any]:
    return next(schema for each, schema in by_kind if each == kind)


def _operation(each: Operation, by_kind: list[tuple[Any, dict[str, Any]]]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": each.name,
        "tags": [each.tag],
        "summary": each.summary,
        "description": each.text,
        PUBLIC_MARK: each.public,
    }
    if each.parameters:
        made["parameters"] = [
            {
                "name": one.name,
                "in": one.place,
                "required": one.required,
                "description": one.text,
                "schema": one.schema,
            }
            for one in each.parameters
        ]
    if each.request is not None:
        content: dict[str, Any] = {"schema": _schema(each.request, by_kind)}
        if each.example is not None:
            content["example"] = each.example
        made["requestBody"] = {"required": True, "content": {each.request_type: content}}
    made["responses"] = _responses(each, by_kind)
    return made


def _responses(each: Operation, by_kind: list[tuple[Any, dict[str, Any]]]) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "Done." if each.answer is schemas.Done else "The answer."}
    good["content"] = {
        kind: {"schema": {"type": "string"} if each.answer is None or kind != JSON else _schema(each.answer, by_kind)}
        for kind in each.answer_types
    }
    if each.relays:
        good["headers"] = _RELAYED_HEADERS
    made: dict[str, Any] = {"200": good}
    failures = for_all(each)
    for status in sorted({one.status for one in failures}):
        made[str(status)] = _failed(each, status, [one for one in failures if one.status == status], by_kind)
    if each.relays:
        made["default"] = {
            "description": "The model server answered so; known by the header `x-aicn-node`.",
            "headers": _RELAYED_HEADERS,
            "content": {"*/*": {}},
        }
    return made


def _failed(
    each: Operation, status: int, failures: list[Failure], by_kind: list[tuple[Any, dict[str, Any]]]
) -> dict[str, Any]:
    """Return the response for `status`: each code with its reason, and a schema that has these codes only."""
    ours = _refusal(each, status, list(dict.fromkeys(one.code for one in failures)), by_kind)
    lines = [f"{name_of(one.code)}: {one.when}." for one in failures]
    if each.relays:
        lines.append("With the header `x-aicn-node`: the model server answered so.")
    return {
        "description": "\n".join(f"- {line}" for line in lines),
        "content": {JSON: {"schema": {"anyOf": [ours, _THEIRS]} if each.relays else ours}},
    }


def _refusal(
    each: Operation, status: int, codes: list[Code | str], by_kind: list[tuple[Any, dict[str, Any]]]
) -> dict[str, Any]:
    """Return the schema of a refusal of this node."""
    if each.words is Words.ANTHROPIC:
        # Its errors have no code, only a type, which the status tells already.
        return _schema(v1_schemas.AnthropicError, by_kind)
    only: dict[str, Any] = {"code": {"enum": codes}}
    if each.words is Words.OPENAI:
        return {"allOf": [_schema(v1_schemas.OpenAiError, by_kind), {"properties": {"error": {"properties": only}}}]}
    of_chat = each.answer is schemas.ChatAnswer and status == 500  # noqa: PLR2004
    kind = schemas.ChatErrorAnswer if of_chat else schemas.ErrorAnswer
    only["code"]["enum"] = [int(code) for code in codes]
    return {"allOf": [_schema(kind, by_kind), {"properties": only}]}


def name_of(code: Code | str) -> str:
    """Return the name of a code as documents write it."""
    return f"{int(code)} {code.name.lower()}" if isinstance(code, Code) else code
