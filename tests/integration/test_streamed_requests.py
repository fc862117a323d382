"""`/chat-proxy/0.0.1`, the asking side: bodies that are still arriving while their answer is awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

import pytest

from aicn.endpoints import Endpoint
from aicn.errors import NetworkTimeout, StreamReset
from aicn.ids import InstanceId, ModelName, PeerId, ProjectName
from aicn.p2p.host import Stream
from aicn.routing import Ask, StreamedBody
from aicn.routing.exchange import ask_peer
from aicn.wire.http_frames import RequestParser
from support.hosts import DEADLINE_S, PROTOCOL, HostMaker, Witness, until

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
TOO_LARGE = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno"
ANY = InstanceId("")
BEGINNING = b"beginning-"
LARGE = [bytes([number % 251]) * 65_536 for number in range(64)]


class HungUp(Exception):
    """Whoever sends the body has gone."""


@pytest.fixture(params=["memory", "native"])
async def hosts(request: pytest.FixtureRequest) -> AsyncIterator[HostMaker]:
    maker = HostMaker(request.param)
    yield maker
    await maker.close()


class Source:
    """Parts of a body, how many were taken, and whether it was closed."""

    def __init__(self, *parts: bytes, then: str = "end") -> None:
        self._parts = parts
        self._then = then
        self.taken = 0
        self.closed = asyncio.Event()

    @property
    def size_bytes(self) -> int:
        """Size of the whole body, its beginning included."""
        return len(BEGINNING) + sum(len(part) for part in self._parts)

    async def rest(self) -> AsyncGenerator[bytes]:
        try:
            for part in self._parts:
                self.taken += 1
                yield part
            if self._then == "wait":
                await asyncio.Event().wait()
            if self._then == "raise":
                raise HungUp
        finally:
            self.closed.set()

    def body(self, *, sized: bool) -> StreamedBody:
        """Return it as it goes into a request."""
        return StreamedBody(BEGINNING, self.rest(), self.size_bytes if sized else None)


def _ask(body: StreamedBody, *, first_byte_timeout_s: float = 5.0) -> Ask:
    return Ask(
        ProjectName("P"),
        ModelName("m"),
        body,
        endpoint=Endpoint.IMAGE_EDIT,
        first_byte_timeout_s=first_byte_timeout_s,
        idle_timeout_s=5.0,
    )


def _opener(asker: Witness) -> Callable[[PeerId, str, bytes], Awaitable[Stream]]:
    return lambda peer, _, first: asker.host.open_stream(peer, PROTOCOL, first=first)


class Reader:
    """A peer that reads a whole request and answers it."""

    def __init__(self, answer: bytes = OK, *, delay_s: float = 0.0) -> None:
        self._answer = answer
        self._delay_s = delay_s
        self.parser = RequestParser()
        self.body = bytearray()

    async def handle(self, stream: Stream) -> None:
        while not self.parser.complete:
            data = await stream.read()
            if not data:
                self.parser.eof()
            self.parser.feed(data)
            self.body += self.parser.take_body()
        await asyncio.sleep(self._delay_s)
        await stream.finish(self._answer)


@pytest.mark.parametrize("sized", [True, False])
async def test_body_arrives_whole(hosts: HostMaker, *, sized: bool) -> None:
    reader, source = Reader(), Source(*LARGE)
    one, other = await hosts.pair(reader.handle)
    ask = _ask(source.body(sized=sized))
    async with asyncio.timeout(DEADLINE_S), ask_peer(_opener(one), other.peer, ANY, ask) as answer:
        assert await answer.read_all(10, lambda _: None) == b"ok"
    assert reader.body == BEGINNING + b"".join(LARGE)
    assert source.closed.is_set()
    assert reader.parser.head is not None
    assert reader.parser.head.target.startswith(b"/api/v0/image/edit?project=P&model=m&cid=")
    length = dict(reader.parser.head.headers).get(b"content-length")
    assert length == (b"%d" % source.size_bytes if sized else None)


async def test_answer_of_a_failure_ends_the_sending(hosts: HostMaker) -> None:
    async def refuse(stream: Stream) -> None:
        await stream.read()
        await stream.write(TOO_LARGE)
        await stream.close_write()
        while await stream.read():
            pass

    source = Source(*LARGE[:4], then="wait")
    one, other = await hosts.pair(refuse)
    ask = _ask(source.body(sized=False))
    async with asyncio.timeout(DEADLINE_S), ask_peer(_opener(one), other.peer, ANY, ask) as answer:
        assert answer.status == 413
        assert source.closed.is_set()
        assert await answer.read_all(10, lambda _: None) == b"no"


async def test_answer_of_a_peer_that_resets_afterwards_is_read(hosts: HostMaker) -> None:
    answered = asyncio.Event()

    async def refuse(stream: Stream) -> None:
        await stream.read()
        await stream.write(TOO_LARGE)
        await answered.wait()
        stream.reset()

    source = Source(*LARGE, then="wait")
    one, other = await hosts.pair(refuse)
    ask = _ask(source.body(sized=False))
    async with asyncio.timeout(DEADLINE_S), ask_peer(_opener(one), other.peer, ANY, ask) as answer:
        assert (answer.status, await answer.read_all(10, lambda _: None)) == (413, b"no")
        answered.set()


@pytest.mark.parametrize("then", ["wait", "raise"])
async def test_sender_that_goes_resets_the_stream(hosts: HostMaker, then: str) -> None:
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def read(stream: Stream) -> None:
        try:
            while await stream.read():
                pass
        except StreamReset:
            ended.set_result("reset")
        else:
            ended.set_result("end")

    source = Source(*LARGE[:2], then=then)
    one, other = await hosts.pair(read)

    async def send() -> None:
        async with ask_peer(_opener(one), other.peer, ANY, _ask(source.body(sized=False))):
            pass

    sending = asyncio.create_task(send())
    async with asyncio.timeout(DEADLINE_S):
        if then == "raise":
            with pytest.raises(HungUp):
                await sending
        else:
            await until(lambda: source.taken == 2)
            sending.cancel()
            await asyncio.wait([sending])
        assert await ended == "reset"
    assert source.closed.is_set()


async def test_clock_of_the_first_byte_starts_when_the_body_is_through(hosts: HostMaker) -> None:
    async def slow() -> AsyncGenerator[bytes]:
        for _ in range(6):
            await asyncio.sleep(0.3)
            yield b"x"

    one, other = await hosts.pair(Reader().handle)
    body = StreamedBody(BEGINNING, slow(), None)
    async with asyncio.timeout(DEADLINE_S):
        async with ask_peer(_opener(one), other.peer, ANY, _ask(body, first_byte_timeout_s=1.5)) as answer:
            assert answer.status == 200
        two, silent = await hosts.pair(Reader(delay_s=60.0).handle)
        ask = _ask(Source(b"x").body(sized=True), first_byte_timeout_s=0.1)
        with pytest.raises(NetworkTimeout, match=r"0\.1 s"):
            async with ask_peer(_opener(two), silent.peer, ANY, ask):
                pass


async def test_back_pressure_reaches_the_source(hosts: HostMaker) -> None:
    go_on = asyncio.Event()
    reader = Reader()

    async def late(stream: Stream) -> None:
        await go_on.wait()
        await reader.handle(stream)

    source = Source(*(LARGE * 2))
    one, other = await hosts.pair(late)

    async def send() -> bytes:
        async with ask_peer(_opener(one), other.peer, ANY, _ask(source.body(sized=True))) as answer:
            return await answer.read_all(10, lambda _: None)

    sending = asyncio.create_task(send())
    taken = -1
    while taken != source.taken:
        taken = source.taken
        await asyncio.sleep(0.2)
    assert 0 < taken < len(LARGE)
    go_on.set()
    async with asyncio.timeout(DEADLINE_S):
        assert await sending == b"ok"
    assert len(reader.body) == source.size_bytes
