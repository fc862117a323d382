"""What a stream says of itself, however its bytes arrive."""

from __future__ import annotations

import json

import pytest

from aicn import defaults
from aicn.tools.event_reader import EventReader
from support.mock_model_server import DONE, event


def read(*parts: bytes) -> EventReader:
    reader = EventReader()
    for part in parts:
        reader.feed(part)
    return reader


def chunk(**delta: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\r\n\r\n"


STREAM = chunk(role="assistant", content="") + event("m", 0) + b": comment\n\n" + event("m", 1) + DONE


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_pieces_of_any_size(size: int) -> None:
    reader = read(*(STREAM[start : start + size] for start in range(0, len(STREAM), size)))
    assert (reader.content_events, reader.done, reader.error) == (2, True, "")


def test_what_counts_as_words() -> None:
    assert (
        read(chunk(role="assistant"), chunk(content=""), chunk(content=None), b'data: {"choices": []}\n').content_events
        == 0
    )
    assert (
        read(chunk(content="a"), chunk(reasoning_content="b"), b'data: {"choices": [{"text": "c"}]}\n').content_events
        == 3
    )
    assert read(b"data: plain words\n", b'data: {"choices": 5}\n', b"event: x\nid: 1\n").content_events == 2


@pytest.mark.parametrize(
    ("data", "said"),
    [(b'{"error": {"message": "gone", "code": 5}}', "gone"), (b'{"error": "gone"}', "gone"), (b'{"error": {}}', "{}")],
)
def test_an_error_in_the_middle(data: bytes, said: str) -> None:
    reader = read(event("m", 0), b"data: ", data, b"\n\n")
    assert (reader.content_events, reader.done, reader.error) == (1, False, said)


def test_a_line_that_never_ends_is_not_held() -> None:
    reader = read(b"data: ", *[b"x" * 65_536] * (defaults.LOAD_LINE_MAX_BYTES // 65_536))
    assert reader.content_events == 1
    assert len(reader._unfinished) < 65_536
    reader.feed(b"rest\n" + event("m", 0))
    assert reader.content_events == 2
