"""The answering side of HTTP over a stream, where its order of events is hard to come by otherwise."""

from __future__ import annotations

import asyncio

import pytest

from aicn import defaults
from aicn.errors import MalformedFrame, NetworkTimeout, StreamReset, TruncatedFrame
from aicn.ids import PeerId
from aicn.p2p.inbound_exchange import InboundExchange
from aicn.p2p.pipe import PipeStream, stream_pair

HEAD = b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\n"


def _pair() -> tuple[PipeStream, InboundExchange]:
    asking, answering = stream_pair(PeerId("asking"), PeerId("answering"), "/test")
    return asking, InboundExchange(answering)


async def test_watcher_that_comes_after_the_end_finds_peace() -> None:
    asking, exchange = _pair()
    await asking.write(HEAD + b"abcdef")
    head = await exchange.read_head()
    assert (head.method, exchange.complete, exchange.whole_body()) == ("POST", True, b"abcdef")
    await exchange.end(b"answer")
    await exchange.raise_when_reset()
    assert await asking.read() == b"answer"
    assert await asking.read() == b""


async def test_answer_may_end_before_the_request_does() -> None:
    asking, exchange = _pair()
    await asking.write(HEAD + b"abc")
    await exchange.read_head()
    assert exchange.whole_body() is None
    await exchange.end(b"no")
    assert await asking.read() == b"no"
    await asking.write(b"def")
    assert await exchange.read_more() is False
    assert exchange.take_body() == b"abcdef"


async def test_body_passes_as_it_arrives_and_its_reader_sees_the_reset() -> None:
    asking, exchange = _pair()
    await asking.write(HEAD + b"abc")
    await exchange.read_head()
    pump = asyncio.create_task(exchange.pump_body())
    body = exchange.body()
    assert await anext(body) == b"abc"
    await asking.write(b"def")
    assert await anext(body) == b"def"
    assert [part async for part in body] == []
    assert not pump.done()
    asking.reset()
    with pytest.raises(StreamReset):
        await pump


@pytest.mark.parametrize(
    ("sent", "error"),
    [(HEAD + b"abcdef" + b"POST", MalformedFrame), (b"nonsense\r\n\r\n", MalformedFrame), (HEAD[:9], TruncatedFrame)],
)
async def test_what_is_no_request_is_refused(sent: bytes, error: type[Exception]) -> None:
    asking, exchange = _pair()
    await asking.write(sent)
    await asking.close_write()
    with pytest.raises(error):
        await exchange.read_head()


async def test_second_request_is_refused() -> None:
    asking, exchange = _pair()
    await asking.write(HEAD + b"abcdef")
    await exchange.read_head()
    await asking.write(HEAD)
    with pytest.raises(MalformedFrame, match="one request"):
        await exchange.raise_when_reset()


async def test_silence_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "STREAM_HEAD_TIMEOUT_S", 0.02)
    monkeypatch.setattr(defaults, "STALL_TIMEOUT_S", 0.02)
    asking, exchange = _pair()
    with pytest.raises(NetworkTimeout):
        await exchange.read_head()
    await asking.write(HEAD)
    await exchange.read_head()
    with pytest.raises(NetworkTimeout):
        await exchange.read_more()


async def test_body_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "REQUEST_BODY_MAX_BYTES", 5)
    asking, exchange = _pair()
    await asking.write(HEAD + b"abcdef")
    await exchange.read_head()
    with pytest.raises(MalformedFrame, match="larger than 5 bytes"):
        await exchange.pump_body()


async def test_a_body_that_dribbles_without_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "UPLOAD_TIMEOUT_S", 0.02)
    asking, exchange = _pair()
    await asking.write(HEAD + b"a")
    await exchange.read_head()
    with pytest.raises(NetworkTimeout, match="did not arrive"):
        await exchange.pump_body()
