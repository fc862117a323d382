from __future__ import annotations

import pytest

from aicn.wire.event_stream import name_of


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (b"data: x\n\n", b""),
        (b"event: error\ndata: x\n\n", b"error"),
        (b"event:error\r\ndata: x\r\n\r\n", b"error"),
        (b"\xef\xbb\xbfevent: ping\rdata: x\r\r", b"ping"),
        (b"data: x\nevent: error\n\n", b"error"),
        (b"event: ping\nevent: error\ndata: x\n\n", b"error"),
        (b"event: error\nevent\ndata: x\n\n", b""),
        (b"data: event: error\n\n", b""),
        (b"events: error\n\n", b""),
    ],
)
def test_the_name_of_an_event_is_that_of_its_last_line_with_one(event: bytes, name: bytes) -> None:
    assert name_of(event) == name
