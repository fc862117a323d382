"""Which peers are tried for a request, and when trying ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from aicn.clock import SystemClock
from aicn.endpoints import Endpoint
from aicn.errors import AttemptsExhausted, NoCandidate, NotConnected, WrongKind
from aicn.ids import InstanceId, ModelKind, ModelName, Multiaddr, PeerId, ProjectName
from aicn.p2p.host import Connection, Direction, Stream
from aicn.p2p.pipe import stream_pair
from aicn.peers import Directory
from aicn.peers.records import Heartbeat, NodeFlags, Offer
from aicn.routing import Ask, Reservations, Router, Selector, StreamedBody
from aicn.wire.http_frames import RequestParser

PROJECT, MODEL = ProjectName("P"), ModelName("m")
OWN = PeerId("own")
PEERS = tuple(PeerId(name) for name in ("a", "b", "c", "d"))
DRAWN = b'{"data":[0]}'
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n" + DRAWN
BUSY = b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy"
REFUSED = b"HTTP/1.1 400 No\r\ncontent-length: 2\r\n\r\nno"
NODE_FAILED = b"HTTP/1.1 503 No\r\nx-aicn-error: backend_unreachable\r\ncontent-length: 0\r\n\r\n"
DEADLINE_S = 5.0


class Peers:
    """Peers that answer as they are told, over streams in memory."""

    def __init__(self, *answers: bytes | None) -> None:
        """`answers` in the order of the attempts; None: cannot be reached; the last one counts for all others."""
        self._answers = list(answers)
        self.bodies: list[bytes] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, peer: PeerId, _: str, first: bytes) -> Stream:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer is None:
            raise NotConnected("nobody is there")
        asking, answering = stream_pair(OWN, peer, "p")
        self._tasks.append(asyncio.create_task(self._serve(answering, answer)))
        await asking.write(first)
        return asking

    async def _serve(self, stream: Stream, answer: bytes) -> None:
        parser = RequestParser()
        while not parser.complete:
            parser.feed(await stream.read())
        self.bodies.append(parser.take_body())
        await stream.finish(answer)

    @asynccontextmanager
    async def router(self, kind: ModelKind = ModelKind.IMAGE_EDIT) -> AsyncIterator[Router]:
        """A router among all of them."""
        directory = Directory(SystemClock())
        for peer in PEERS:
            offer = Offer(PROJECT, MODEL, InstanceId(""), kind, 0)
            directory.apply(Heartbeat(peer, NodeFlags.HAS_MODELS, (offer,)))
        reservations = Reservations()
        yield Router(Selector(directory, _connection, reservations, OWN), reservations, self.open)
        await asyncio.gather(*self._tasks)


def _connection(peer: PeerId) -> Connection:
    return Connection(peer, Multiaddr("/ip4/127.0.0.1"), Direction.INBOUND, relayed=False, rtt_us=1_000, conn_id=peer)


def _ask(body: bytes | StreamedBody, *, model: ModelName = MODEL, endpoint: Endpoint = Endpoint.IMAGE_EDIT) -> Ask:
    return Ask(PROJECT, model, body, endpoint=endpoint)


async def _rest() -> AsyncGenerator[bytes]:
    yield b"st"


def _streamed() -> StreamedBody:
    return StreamedBody(b"re", _rest(), 4)


async def _send(peers: Peers, ask: Ask) -> tuple[int, bytes, int]:
    async with asyncio.timeout(DEADLINE_S), peers.router() as router, router.send(ask) as answer:
        return answer.status, await answer.read_all(100, lambda _: None), answer.attempts


@pytest.mark.parametrize("failure", [None, BUSY, NODE_FAILED])
async def test_held_body_is_sent_to_the_next(failure: bytes | None) -> None:
    peers = Peers(failure, OK)
    assert await _send(peers, _ask(b"whole")) == (200, DRAWN, 2)
    assert peers.bodies[-1] == b"whole"


async def test_streamed_body_is_sent_to_the_next_while_nothing_of_it_is_gone() -> None:
    peers = Peers(None, None, OK)
    assert await _send(peers, _ask(_streamed())) == (200, DRAWN, 3)
    assert peers.bodies == [b"rest"]


async def test_streamed_body_that_is_gone_ends_the_attempts() -> None:
    peers = Peers(BUSY, OK)
    assert await _send(peers, _ask(_streamed())) == (503, b"busy", 1)
    assert peers.bodies == [b"rest"]


async def test_node_that_fails_with_a_body_that_is_gone_is_told() -> None:
    with pytest.raises(AttemptsExhausted, match=r"\(1 in all\).*backend_unreachable"):
        await _send(Peers(NODE_FAILED, OK), _ask(_streamed()))


@pytest.mark.parametrize("body", [b"whole", None])
async def test_refusal_of_the_model_server_is_never_tried_elsewhere(body: bytes | None) -> None:
    assert await _send(Peers(REFUSED, OK), _ask(body or _streamed())) == (400, b"no", 1)


async def test_three_are_tried_and_no_more() -> None:
    with pytest.raises(AttemptsExhausted, match="3 in all"):
        await _send(Peers(None, None, None, OK), _ask(b"whole"))
    assert await _send(Peers(BUSY), _ask(b"whole")) == (503, b"busy", 3)


async def test_nobody_or_nobody_of_that_kind() -> None:
    with pytest.raises(NoCandidate):
        await _send(Peers(OK), _ask(b"", model=ModelName("other")))
    with pytest.raises(WrongKind, match="does image edit"):
        await _send(Peers(OK), _ask(b"", endpoint=Endpoint.CHAT))
