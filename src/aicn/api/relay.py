"""Carry an answer from a peer to the client: each byte when it arrives, each failure by its name."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from aicn import defaults
from aicn.api.caller import Caller
from aicn.api.errors import ApiError, Code, event_body, from_exception, from_node
from aicn.api.sse import EventStream
from aicn.errors import AicnError, NetworkError, WireError
from aicn.routing import Answer

_log = logging.getLogger("aicn.api")

_PASSED_HEADERS = frozenset({b"content-type", b"content-encoding", b"content-language", b"retry-after"})
"""What a peer may tell the client's HTTP library. It is a stranger: no cookies, no CORS, no redirects."""

ErrorBody = Callable[[ApiError], dict[str, Any]]


class _CodeOnly(msgspec.Struct):
    code: int = 0


async def relay(answer: Answer, caller: Caller) -> None:
    """Send `answer` on to `caller`.

    Raises:
        ApiError: the peer itself refused; nothing has been sent.
        AicnError: the answer broke off before anything was sent.
    """
    if answer.node_error is not None:
        raise from_node(answer.node_error)
    headers = _headers(answer)
    kind = _content_type(answer)
    if kind == b"text/event-stream":
        await _relay_events(answer, caller, headers)
    elif kind == b"application/json":
        body = await answer.read_all(defaults.JSON_ANSWER_MAX_BYTES)
        await caller.answer(_json_status(answer.status, body), body, headers)
    else:
        await caller.start(answer.status, headers)
        while part := await answer.read_some():
            await caller.send(part)
        await caller.end()


def _headers(answer: Answer) -> list[tuple[bytes, bytes]]:
    return [
        *(pair for pair in answer.headers if pair[0] in _PASSED_HEADERS or pair[0].startswith(b"openai-")),
        (b"x-aicn-node", answer.peer.encode()),
        (b"x-aicn-attempts", b"%d" % answer.attempts),
        (b"x-aicn-path", b"relayed" if answer.relayed else b"direct"),
    ]


def _content_type(answer: Answer) -> bytes:
    full = next((value for name, value in answer.headers if name == b"content-type"), b"")
    return full.partition(b";")[0].strip().lower()


def _json_status(status: int, body: bytes) -> int:
    """A model server may say `code` != 0 with status 200: that is a failure, and is answered as one."""
    if status >= 400 or b'"code"' not in body:  # noqa: PLR2004
        return status
    try:
        failed = msgspec.json.decode(body, type=_CodeOnly).code != 0
    except msgspec.DecodeError:
        # Not an object, or `code` is no number: then it is no model server's error either.
        return status
    return 500 if failed else status


async def _relay_events(answer: Answer, caller: Caller, headers: list[tuple[bytes, bytes]]) -> None:
    """Send events as they arrive. A cut stream ends with an error event and without [DONE]."""
    events = EventStream()
    # Proxies on the way must neither keep nor collect events.
    await caller.start(answer.status, [*headers, (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")])
    try:
        while part := await answer.read_some():
            if ready := events.feed(part):
                await caller.send(ready)
        rest = events.finish()
        if events.done or answer.status >= 400:  # noqa: PLR2004
            await caller.end(rest)
            return
        failure = ApiError(Code.STREAM, "the model server ended the stream without [DONE]; the answer may be cut")
        if rest:
            await caller.send(rest + b"\n\n")
    except (NetworkError, WireError) as error:
        _log.info("stream of peer %s broke off: %s", answer.peer, error)
        failure = _broken(error)
    await caller.end((b"\n\n" if events.broken_event else b"") + error_event(failure))


def _broken(error: AicnError) -> ApiError:
    return ApiError(Code.STREAM, f"the stream broke off: {error}", from_exception(error).status)


def error_event(error: ApiError) -> bytes:
    """Return `error` as one server-sent event."""
    return b"data: " + msgspec.json.encode(event_body(error)) + b"\n\n"
