"""Streams as model servers write them, well and badly, and what a client must get of each.

One table for all tests of streams: `tests/unit/api/streaming/test_events.py` plays it through the part that passes
events, `tests/e2e/test_golden_sse.py` through an Input and a Worker. Source of the format: WHATWG HTML, section 9.2,
and the API references of OpenAI and Anthropic.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from aicn.endpoints import Endpoint

DONE = b"data: [DONE]\n\n"
TEN_MEGABYTES = 10_000_000
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


@dataclass(frozen=True, slots=True)
class Golden:
    """One stream."""

    name: str
    writes: tuple[bytes, ...]
    """What the model server writes, one piece at a time."""
    seen: bytes
    """What the client gets, an error event of the network at its end not included."""
    endpoint: Endpoint = Endpoint.CHAT
    cut: bool = False
    """Whether an error event of the network follows."""
    told_error: bool = False
    """Whether the model server itself tells of a failure."""
    dies: bool = False
    """Whether the model server breaks the connection behind its last piece."""
    piece_bytes: int = 0
    """Whether each piece is written in smaller ones of so many bytes; 0: it is not."""
    wants_usage: bool = False
    """Whether the client asks for the usage."""


def chat(content: str | None = None, end: bytes = b"\n\n", **more: Any) -> bytes:
    """Return one event of a chat, without usage if it says none."""
    delta = {} if content is None else {"content": content}
    return _data({**_NAMES, "choices": [{"index": 0, "delta": delta, "finish_reason": None}], **more}, end)


_NAMES = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def _data(value: Any, end: bytes = b"\n\n", name: str = "") -> bytes:
    line_end = end[: len(end) // 2]
    event = b"event: " + name.encode() + line_end if name else b""
    return event + b"data: " + json.dumps(value, ensure_ascii=False).encode() + end


def _typed(kind: str, **fields: Any) -> bytes:
    return _data({"type": kind, **fields}, name=kind)


def _same(name: str, *writes: bytes, **more: Any) -> Golden:
    return Golden(name, writes, b"".join(writes), **more)


ROLE = _data({**_NAMES, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
FINISH = _data({**_NAMES, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
WORDS = (chat("Grüße "), chat("👋 an "), chat("日本"))
ALONE = _data({**_NAMES, "choices": [], "usage": USAGE})
WHOLE = (ROLE, *WORDS, FINISH, DONE)
ERROR = _data({"error": {"message": "out of memory", "type": "server_error", "code": 500}})

_JOINED = b"".join(WHOLE)
_INSIDE_A_CHARACTER = _JOINED.index("👋".encode()) + 2

_MANY_LINES = b'data: {"choices":[{"index":0,\ndata: "delta":{"content":"a"}}]}\n\n'
_LONG = chat("x" * TEN_MEGABYTES)

_RESPONSE = (
    _typed("response.created", response={"id": "resp_1", "error": None}),
    _typed("response.output_text.delta", delta="Hello"),
)
_RESPONSE_END = _typed("response.completed", response={"id": "resp_1", "usage": {"input_tokens": 1}})
_MESSAGE = (
    _typed("message_start", message={"id": "msg_1", "usage": {"input_tokens": 1}}),
    _typed("ping"),
    _typed("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello"}),
)
_MESSAGE_END = _typed("message_stop")

CASES: tuple[Golden, ...] = (
    _same("whole events", *WHOLE),
    _same("all in one write", _JOINED),
    _same("one byte at a time", *WHOLE, piece_bytes=1),
    _same("three bytes at a time", *WHOLE, piece_bytes=3),
    _same("half lines", _JOINED[: len(ROLE) + 9], _JOINED[len(ROLE) + 9 : -20], _JOINED[-20:]),
    _same("inside a character", _JOINED[:_INSIDE_A_CHARACTER], _JOINED[_INSIDE_A_CHARACTER:]),
    *(
        _same(f"lines end in {words}", *(each.replace(b"\n", end) for each in WHOLE), piece_bytes=piece_bytes)
        for words, end in (("CRLF", b"\r\n"), ("CR", b"\r"))
        for piece_bytes in (0, 1)
    ),
    _same("between CR and LF", ROLE + WORDS[0].replace(b"\n", b"\r\n")[:-1], b"\n" + DONE),
    _same("byte order mark", b"\xef\xbb\xbf" + WORDS[0], DONE),
    _same("no space behind the colon", *(each.replace(b"data: ", b"data:") for each in WHOLE)),
    _same("several data lines", _MANY_LINES, DONE),
    _same("comments", b": hello\n\n", WORDS[0], b":\n\n", WORDS[1], b": more\n" + DONE, b": bye\n\n"),
    _same("ids, names and retry", b"retry: 10\nid: 1\nevent: message\n" + WORDS[0], b"id: 2\n" + DONE),
    _same("an id behind the last data", WORDS[0], b"data: [DONE]\nid: 9\n\n"),
    _same("empty lines between events", b"\n\n" + WORDS[0] + b"\n\n\n", DONE),
    _same("fields that nobody knows", b"x-vendor: 1\n" + chat("a", vendor={"x": [1.50, None]}), DONE),
    _same("no empty line at the end", WORDS[0], DONE[:-1]),
    _same("no end of line at the end", WORDS[0], DONE[:-2]),
    _same("ten megabytes in one line", WORDS[0], _LONG, FINISH, DONE),
    _same("ten megabytes first", _LONG, FINISH, DONE),
    _same("the word in a text", chat("say [DONE]\n\ndata: [DONE]"), DONE),
    # --- a cut is told as a cut -----------------------------------------------------------------------------
    _same("no [DONE]", ROLE, *WORDS, cut=True),
    _same("no [DONE] behind the finish", *WHOLE[:-1], cut=True),
    _same("[DONE] in a text only", chat("data: [DONE]"), cut=True),
    Golden("an unfinished event at the end", (WORDS[0], WORDS[1][:-1]), WORDS[0] + WORDS[1][:-1] + b"\n\n", cut=True),
    Golden("dies inside an event", (WORDS[0], WORDS[1], WORDS[2][:30]), WORDS[0] + WORDS[1], cut=True, dies=True),
    Golden(
        "dies inside a character",
        (WORDS[0], _JOINED[len(ROLE + WORDS[0]) : _INSIDE_A_CHARACTER]),
        WORDS[0],
        cut=True,
        dies=True,
    ),
    Golden("dies behind CR", (WORDS[0], WORDS[1][:-2] + b"\r\n\r"), WORDS[0], cut=True, dies=True),
    Golden("dies inside [DONE]", (WORDS[0], DONE[:10]), WORDS[0], cut=True, dies=True),
    Golden("dies between events", WORDS, b"".join(WORDS), cut=True, dies=True),
    # --- errors that the model server tells -----------------------------------------------------------------
    _same("an error and the end", WORDS[0], ERROR, told_error=True),
    Golden("an error and [DONE]", (WORDS[0], ERROR, DONE), WORDS[0] + ERROR, told_error=True),
    Golden("an error and [DONE] at once", (WORDS[0] + ERROR + DONE,), WORDS[0] + ERROR, told_error=True),
    Golden("an error and death", (WORDS[0], ERROR), WORDS[0] + ERROR, told_error=True, dies=True),
    _same("the word error in a text", chat('{"error": "x"}'), DONE),
    # --- the usage ------------------------------------------------------------------------------------------
    _same("usage asked for", *WHOLE[:-1], ALONE, DONE, wants_usage=True),
    Golden("usage not asked for", (*WHOLE[:-1], ALONE, DONE), _JOINED),
    Golden("usage in one write", (b"".join((*WHOLE[:-1], ALONE, DONE)),), _JOINED),
    Golden("usage one byte at a time", (*WHOLE[:-1], ALONE, DONE), _JOINED, piece_bytes=1),
    Golden(
        "usage with CRLF",
        tuple(each.replace(b"\n", b"\r\n") for each in (*WORDS, ALONE, DONE)),
        b"".join((*WORDS, DONE)).replace(b"\n", b"\r\n"),
    ),
    _same("usage in an event with words", chat("a", usage=USAGE), DONE),
    _same("empty usage in each event", chat("a", usage=None), chat("b", usage=None), DONE),
    _same("no choices and no usage", _data({**_NAMES, "choices": [], "prompt_filter_results": []}), WORDS[0], DONE),
    # --- other endpoints ------------------------------------------------------------------------------------
    _same("completions", _data({"choices": [{"text": "a"}]}), DONE, endpoint=Endpoint.COMPLETIONS),
    _same("completions cut", _data({"choices": [{"text": "a"}]}), endpoint=Endpoint.COMPLETIONS, cut=True),
    _same("a response", *_RESPONSE, _RESPONSE_END, endpoint=Endpoint.RESPONSES),
    _same("a response in bytes", *_RESPONSE, _RESPONSE_END, endpoint=Endpoint.RESPONSES, piece_bytes=1),
    _same("a response incomplete", *_RESPONSE, _typed("response.incomplete"), endpoint=Endpoint.RESPONSES),
    _same(
        "a response failed",
        *_RESPONSE,
        _typed("response.failed", response={"error": {"code": "server_error"}}),
        endpoint=Endpoint.RESPONSES,
        told_error=True,
    ),
    _same("a response cut", *_RESPONSE, endpoint=Endpoint.RESPONSES, cut=True),
    _same("a response with another's end", *_RESPONSE, DONE, endpoint=Endpoint.RESPONSES, cut=True),
    Golden(
        "a response dies",
        (*_RESPONSE, _RESPONSE_END[:-3]),
        b"".join(_RESPONSE),
        Endpoint.RESPONSES,
        cut=True,
        dies=True,
    ),
    _same("a message", *_MESSAGE, _MESSAGE_END, endpoint=Endpoint.MESSAGES),
    _same("a message cut", *_MESSAGE, endpoint=Endpoint.MESSAGES, cut=True),
    _same(
        "a message with an error",
        *_MESSAGE,
        _typed("error", error={"type": "overloaded_error", "message": "m"}),
        endpoint=Endpoint.MESSAGES,
        told_error=True,
    ),
    _same("speech", _typed("speech.audio.delta", audio="AA=="), endpoint=Endpoint.SPEECH),
    Golden(
        "speech dies",
        (_typed("speech.audio.delta", audio="AA=="), b"data: {"),
        _typed("speech.audio.delta", audio="AA=="),
        Endpoint.SPEECH,
        cut=True,
        dies=True,
    ),
)
