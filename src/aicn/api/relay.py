"""Carry an answer from a peer to the client: each byte when it arrives, each failure by its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from aicn import defaults
from aicn.api.caller import Caller
from aicn.api.errors import ATTEMPTS_HEADER, ApiError, Code, from_node, plain_words, retry_after
from aicn.api.streaming.events import EventRelay, Passage, content_type, streams
from aicn.api.streaming.keepalive import EVENT_STREAM_HEADERS
from aicn.api.surface import Surface
from aicn.routing import Answer
from aicn.telemetry import Outcome, Use
from aicn.wire.json_members import NO_JSON

_PASSED_HEADERS = frozenset({b"content-type", b"content-language", b"retry-after"})
"""What a peer may tell the client's HTTP library. It is a stranger: no cookies, no CORS, no redirects."""

_OF_THE_BODY = frozenset({b"content-type", b"content-language"})
_JSON = (b"content-type", b"application/json")

_FAILED_FROM = 400
_FAILED = 500
_BAD_GATEWAY = 502

_COME_AGAIN = frozenset({429, 503})
_RETRY_AFTER_S = 5.0
"""Told where the model server does not say when: what it is busy with takes it seconds."""


_WORD = re.compile(r"[\w.\[\]-]{1,64}", re.ASCII)


class _Failure(msgspec.Struct):
    error: Any = None
    message: Any = None
    detail: Any = None


async def relay(
    answer: Answer,
    caller: Caller,
    use: Use,
    surface: Surface,
    passage: Passage,
    *,
    json_held_max_bytes: int | None = None,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> Outcome:
    """Send `answer` on to `caller`, tell `use` of it, and return how it went.

    Args:
        answer: what a peer answers.
        caller: who asked; if comments have been sent to fill its wait, only a stream of events can follow.
        use: takes the parts of the answer.
        surface: puts what a model server answered whole into the words of the API that was called. Failures are held
            whole for that if they are not too long, and so is JSON.
        passage: how events are passed on.
        json_held_max_bytes: JSON that is longer is passed on as it comes; None: JSON is passed on when it is whole,
            and fails if it is longer than `defaults.JSON_ANSWER_MAX_BYTES`.
        headers: sent besides those of the answer.

    Raises:
        ApiError: the peer itself refused, or there is no room for the answer, or it is no stream where one has begun;
            nothing has been sent, or nothing but comments.
        AicnError: the answer broke off; a part of it may have been sent.
    """
    if answer.node_error is not None:
        raise from_node(answer.node_error)
    if streams(answer):
        await _begin_events(answer, caller, headers)
        return await EventRelay(passage, caller, use).run(answer)
    if caller.started:
        raise await _as_failure(answer, use)
    described = [*_headers(answer), *headers]
    is_json = answer.is_json or content_type(answer) == b"application/json"
    if answer.status < _FAILED_FROM and not is_json:
        return await _relay_parts(b"", answer, caller, described, use)
    enough_bytes = json_held_max_bytes if is_json else defaults.PASSED_ERROR_MAX_BYTES
    body = await answer.read_all(defaults.JSON_ANSWER_MAX_BYTES, caller.hold, enough_bytes)
    status, told = answer.status, body
    if answer.complete or status >= _FAILED_FROM:
        # Of a failure that goes on and on the beginning is enough to put it into words.
        status, told = surface.answered(status, body, answer.told_status)
    if status in _COME_AGAIN and not any(name == b"retry-after" for name, _ in described):
        described.append(retry_after(_RETRY_AFTER_S))
    if told is body and not answer.complete:
        return await _relay_parts(body, answer, caller, described, use)
    use.part(body)
    if told is not body:
        described = [_JSON, *(pair for pair in described if pair[0] not in _OF_THE_BODY)]
    await caller.answer(status, told, described)
    return _outcome(status)


def _outcome(status: int) -> Outcome:
    return Outcome.UPSTREAM_ERROR if status >= _FAILED_FROM else Outcome.OK


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


async def _begin_events(answer: Answer, caller: Caller, headers: Sequence[tuple[bytes, bytes]]) -> None:
    described = [*_headers(answer), *headers]
    if not caller.started:
        await caller.start(answer.status, [*described, *EVENT_STREAM_HEADERS])
        return
    # The head has left with the first comment: what it would have said about the answer is said in one more.
    said = (b"%b=%b" % pair for pair in described if pair[0].startswith(b"x-aicn-"))
    await caller.comment(b": %b\n\n" % b" ".join(said), ())


async def _as_failure(answer: Answer, use: Use) -> ApiError:
    """Return why an answer that is no stream cannot follow the comments that were sent."""
    if answer.status < _FAILED_FROM:
        return ApiError(Code.MODEL, "the model server answered with something else than a stream", _BAD_GATEWAY)
    body = bytearray()
    while len(body) < defaults.PASSED_ERROR_MAX_BYTES and (part := await answer.read_some()):
        use.part(part)
        body += part
    status = _BAD_GATEWAY if answer.status == _FAILED else answer.status
    try:
        failure = msgspec.json.decode(body, type=_Failure)
    except NO_JSON:
        failure = _Failure()
    told = failure.error if isinstance(failure.error, dict) else {"message": failure.error}
    said = told.get("message") or failure.message or failure.detail or plain_words(bytes(body))
    message = f"the model server answered {answer.status}{f': {said}' if isinstance(said, str) else ''}"
    return ApiError(Code.MODEL, message, status, slug=_word(told.get("code")), param=_word(told.get("param")))


def _word(value: Any) -> str:
    """Return a code or the name of a field, as programs look at it; empty if it is something else."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else ""


def _headers(answer: Answer) -> list[tuple[bytes, bytes]]:
    return [
        *(pair for pair in answer.headers if pair[0] in _PASSED_HEADERS or pair[0].startswith(b"openai-")),
        (b"x-aicn-node", answer.peer.encode()),
        (ATTEMPTS_HEADER, b"%d" % answer.attempts),
        (b"x-aicn-path", b"relayed" if answer.relayed else b"direct"),
    ]
