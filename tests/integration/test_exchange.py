"""`/chat-proxy/0.0.1`, the asking side: what a peer may do instead of answering."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from aicn.errors import MalformedFrame, NetworkTimeout, StreamReset, TruncatedFrame
from aicn.ids import InstanceId, ModelName, PeerId, ProjectName
from aicn.p2p.host import Stream
from aicn.routing import Ask
from aicn.routing.exchange import ask_peer
from support.hosts import DEADLINE_S, PROTOCOL, HostMaker, Witness

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
ANY = InstanceId("")


@pytest.fixture(params=["memory", "native"])
async def hosts(request: pytest.FixtureRequest) -> AsyncIterator[HostMaker]:
    maker = HostMaker(request.param)
    yield maker
    await maker.close()


def _ask(*, first_byte_timeout_s: float = 5.0, idle_timeout_s: float = 5.0) -> Ask:
    return Ask(
        ProjectName("P"),
        ModelName("m"),
        b"{}",
        first_byte_timeout_s=first_byte_timeout_s,
        idle_timeout_s=idle_timeout_s,
    )


def _opener(asker: Witness) -> Callable[[PeerId, str, bytes], Awaitable[Stream]]:
    return lambda peer, _, first: asker.host.open_stream(peer, PROTOCOL, first=first)


def _saying(*parts: bytes, then: str = "close") -> Callable[[Stream], Awaitable[None]]:
    async def say(stream: Stream) -> None:
        await stream.read()
        for part in parts:
            await stream.write(part)
        if then == "wait":
            await asyncio.Event().wait()
        elif then == "reset":
            stream.reset()

    return say


async def _answer(hosts: HostMaker, handler: Callable[[Stream], Awaitable[None]], ask: Ask) -> bytes:
    one, other = await hosts.pair(handler)
    async with asyncio.timeout(DEADLINE_S), ask_peer(_opener(one), other.peer, ANY, ask) as answer:
        return await answer.read_all(1_000, lambda _: None)


async def test_whole_answer(hosts: HostMaker) -> None:
    assert await _answer(hosts, _saying(OK, b"hel", b"lo"), _ask()) == b"hello"


async def test_answer_that_needs_no_end_of_stream(hosts: HostMaker) -> None:
    assert await _answer(hosts, _saying(OK + b"hello", then="wait"), _ask()) == b"hello"


async def test_silence_before_the_head_times_out(hosts: HostMaker) -> None:
    with pytest.raises(NetworkTimeout, match=r"0\.1 s"):
        await _answer(hosts, _saying(then="wait"), _ask(first_byte_timeout_s=0.1))


@pytest.mark.parametrize("start", [OK, OK + b"he", CHUNKED + b"2\r\nhe\r\n"])
async def test_silence_in_the_middle_times_out(hosts: HostMaker, start: bytes) -> None:
    with pytest.raises(NetworkTimeout, match=r"0\.1 s"):
        await _answer(hosts, _saying(start, then="wait"), _ask(idle_timeout_s=0.1))


async def test_slow_answer_is_no_silence(hosts: HostMaker) -> None:
    async def drip(stream: Stream) -> None:
        await stream.read()
        await stream.write(OK)
        for letter in b"hello":
            await asyncio.sleep(0.3)
            await stream.write(bytes([letter]))

    assert await _answer(hosts, drip, _ask(idle_timeout_s=1.2)) == b"hello"


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 2", OK + b"he", CHUNKED + b"2\r\nhe\r\n"])
async def test_early_end_is_told(hosts: HostMaker, start: bytes) -> None:
    with pytest.raises((TruncatedFrame, StreamReset)):
        await _answer(hosts, _saying(start), _ask())


async def test_reset_is_told(hosts: HostMaker) -> None:
    with pytest.raises(StreamReset):
        await _answer(hosts, _saying(OK + b"he", then="reset"), _ask())


async def test_garbage_is_told(hosts: HostMaker) -> None:
    with pytest.raises(MalformedFrame):
        await _answer(hosts, _saying(b"garbage\r\n\r\n", then="wait"), _ask())


async def test_answer_larger_than_allowed_is_refused(hosts: HostMaker) -> None:
    with pytest.raises(MalformedFrame, match="1000 bytes"):
        await _answer(hosts, _saying(CHUNKED + b"7d0\r\n" + b"x" * 2_000 + b"\r\n", then="wait"), _ask())


async def test_leaving_early_resets_the_stream(hosts: HostMaker) -> None:
    reset = asyncio.Event()

    async def watch(stream: Stream) -> None:
        await stream.read()
        await stream.write(OK)
        try:
            await stream.read()
        except StreamReset:
            reset.set()

    one, other = await hosts.pair(watch)
    async with ask_peer(_opener(one), other.peer, ANY, _ask()) as answer:
        assert answer.status == 200
        assert not answer.complete
    async with asyncio.timeout(DEADLINE_S):
        await reset.wait()


async def test_word_of_a_peer_for_its_error_is_a_word(hosts: HostMaker) -> None:
    evil = b"HTTP/1.1 404 No\r\nx-aicn-error: <script>\r\ncontent-length: 0\r\n\r\n"
    one, other = await hosts.pair(_saying(evil))
    async with ask_peer(_opener(one), other.peer, ANY, _ask()) as answer:
        assert answer.node_error == "unknown"
