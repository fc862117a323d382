"""Answers that come a few bytes at a time: what is held of them is about as large as they are."""

from __future__ import annotations

import tracemalloc
from collections.abc import Awaitable, Callable

import pytest

from aicn import defaults
from aicn.ids import PeerId
from aicn.routing.answer import Answer
from aicn.wire.http_frames import ResponseParser
from support.scripted_peers import ANY, ask

STEP_BYTES = 3
SIZE_BYTES = 60_000


class Dripping:
    """A stream that brings some bytes at a time; the part of it that is read."""

    peer = PeerId("a")
    relayed = False

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    async def read(self, max_bytes: int = STEP_BYTES) -> bytes:
        self._at += STEP_BYTES
        return self._data[self._at - STEP_BYTES : min(self._at, self._at + max_bytes)]


def _answer(kind: str, body: bytes) -> Answer:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    parser = ResponseParser()
    parser.feed(head)
    assert parser.head is not None
    return Answer(Dripping(body), ANY, parser.head, parser, ask())  # type: ignore[arg-type]


async def _whole(answer: Answer) -> bytes:
    return await answer.read_all(SIZE_BYTES, lambda _: None)


async def _ahead(answer: Answer) -> bytes:
    await answer.prefetch()
    return answer.ahead


@pytest.mark.parametrize(
    ("kind", "body", "read"),
    [
        pytest.param("application/json", b" " * SIZE_BYTES, _whole, id="whole"),
        pytest.param("application/json", b'{"choices":[{}]}'.ljust(SIZE_BYTES), _ahead, id="short JSON"),
        pytest.param(
            "text/event-stream", b": ping\n\n" * 7_000 + b"data: x\n\n", _ahead, id="before the first content"
        ),
    ],
)
async def test_memory_of_an_answer_in_small_parts(
    kind: str, body: bytes, read: Callable[[Answer], Awaitable[bytes]]
) -> None:
    assert len(body) <= defaults.FIRST_CONTENT_HELD_MAX_BYTES
    answer = _answer(kind, body)
    tracemalloc.start()
    try:
        assert await read(answer) == body
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 5 * len(body)
