"""The shape of every small route: read a body with a limit, return a value, fail with a code."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope, Send

from aicn import defaults
from aicn.api.caller import JSON_TYPE, Caller, ClientGone
from aicn.api.errors import ApiError, from_exception, parameter, parsing
from aicn.api.reference import REFERENCE
from aicn.api.surface import Surface
from aicn.errors import AicnError
from aicn.wire.json_members import NO_JSON

_log = logging.getLogger("aicn.api")

T = TypeVar("T")

Handler = Callable[[Caller], Awaitable[Any]]
"""Returns the value to send as JSON; raises `ApiError` or an `AicnError`."""


class JsonEndpoint:
    """ASGI endpoint around a `Handler`."""

    def __init__(self, handler: Handler, surface: Surface = REFERENCE) -> None:
        """Answer with what `handler` returns, and tell failures by `surface`."""
        self._handler = handler
        self._surface = surface

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        caller = Caller(scope, receive, send)
        try:
            try:
                value = await self._handler(caller)
            except AicnError as error:
                raise from_exception(error) from error
        except ApiError as error:
            refusal = self._surface.refusal(error)
            await caller.answer(refusal.status, refusal.body, ((b"content-type", JSON_TYPE), *refusal.headers))
        except ClientGone:
            _log.debug("client went away before its request was whole")
        else:
            await caller.answer_json(200, value)


async def read_json(caller: Caller, kind: type[T]) -> T:
    """Return the request body as `kind`.

    Raises:
        ApiError: the body is not such an object.
    """
    try:
        return msgspec.json.decode(await caller.read_body(), type=kind)
    except NO_JSON as error:
        raise parsing() from error


def query(caller: Caller) -> QueryParams:
    """Return the parameters behind the question mark."""
    return QueryParams(caller.scope.get("query_string", b""))


def required(params: QueryParams, name: str) -> str:
    """Return a parameter that must be there.

    Raises:
        ApiError: it is missing or empty.
    """
    value = params.get(name, "")
    if not value:
        raise parameter(f"empty {name}")
    return value


def number(params: QueryParams) -> int:
    """Return how many entries the caller wants at most.

    Raises:
        ApiError: not a number, or negative.
    """
    text = params.get("number", "")
    if not text:
        return defaults.LIST_DEFAULT_NUMBER
    try:
        wanted = int(text)
    except ValueError as error:
        raise parsing() from error
    if wanted < 0:
        raise parameter("invalid number")
    return min(wanted or defaults.LIST_DEFAULT_NUMBER, defaults.LIST_MAX_NUMBER)
