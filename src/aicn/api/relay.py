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
from aicn.telemetry import Outcome, Use

_log = logging.getLogger("aicn.api")

_PASSED_HEADERS = frozenset({b"content-type", b"content-encoding", b"content-language", b"retry-after"})
"""What a peer may tell the client's HTTP library. It is a stranger: no cookies, no CORS, no redirects."""

ErrorBody = Callable[[ApiError], dict[str, Any]]


class _CodeOnly(msgspec.Struct):
    code: int = 0


async def relay(answer: Answer, caller: Caller, use: Use, json_held_max_bytes: int | None = None) -> Outcome:
    """Send `answer` on to `caller`, tell `use` of it, and return how it went.

    Args:
        answer: what a peer answers.
        caller: who asked.
        use: takes the parts of the answer.
        json_held_max_bytes: JSON that is longer is passed on as it comes; None: JSON is passed on when it is whole,
            and fails if it is longer than `defaults.JSON_ANSWER_MAX_BYTES`.

    Raises:
        ApiError: the peer itself refused, or there is no room for the answer; nothing has been sent.
        AicnError: the answer broke off; a part of it may have been sent.
    """
    if answer.node_error is not None:
        raise from_node(answer.node_error)
    headers = _headers(answer)
    kind = _content_type(answer)
    if kind == b"text/event-stream":
        return await _relay_events(answer, caller, headers, use)
    if kind != b"application/json":
        return await _relay_parts(b"", answer, caller, headers, use)
    body = await answer.read_all(defaults.JSON_ANSWER_MAX_BYTES, caller.hold, json_held_max_bytes)
    if not answer.complete:
        return await _relay_parts(body, answer, caller, headers, use)
    use.part(body)
    status = _json_status(answer.status, body)
    await caller.answer(status, body, headers)
    return _outcome(status)


def _outcome(status: int) -> Outcome:
    return Outcome.UPSTREAM_ERROR if status >= 400 else Outcome.OK  # noqa: PLR2004


async def _relay_parts(
    part: bytes, answer: Answer, caller: Caller, headers: list[tuple[bytes, bytes]], use: Use
) -> Outcome:
    """Send `part` and what comes behind it as it comes. A break is told by the end of the connection."""
    await caller.start(answer.status, headers)
    while part := part or await answer.read_some():
        use.part(part)
        await caller.send(part)
        part = b""
    await caller.end()
    return _outcome(answer.status)


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


async def _relay_events(answer: Answer, caller: Caller, headers: list[tuple[bytes, bytes]], use: Use) -> Outcome:
    """Send events as they arrive. A cut stream ends with an error event and without [DONE]."""
    events = EventStream()
    # Proxies on the way must neither keep nor collect events.
    await caller.start(answer.status, [*headers, (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")])
    try:
        while part := await answer.read_some():
            use.part(part)
            if ready := events.feed(part):
                await caller.send(ready)
        rest = events.finish()
        if events.done or answer.status >= 400:  # noqa: PLR2004
            await caller.end(rest)
            return _outcome(answer.status)
        failure = ApiError(Code.STREAM, "the model server ended the stream without [DONE]; the answer may be cut")
        if rest:
            await caller.send(rest + b"\n\n")
    except (NetworkError, WireError) as error:
        _log.info("stream of peer %s broke off: %s", answer.peer, error)
        failure = _broken(error)
    await caller.end((b"\n\n" if events.broken_event else b"") + error_event(failure))
    return Outcome.CUT


def _broken(error: AicnError) -> ApiError:
    return ApiError(Code.STREAM, f"the stream broke off: {error}", from_exception(error).status)


def error_event(error: ApiError) -> bytes:
    """Return `error` as one server-sent event."""
    return b"data: " + msgspec.json.encode(event_body(error)) + b"\n\n"
