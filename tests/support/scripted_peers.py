"""Peers in memory that answer as they are told, and a router among them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aicn.clock import ManualClock, SystemClock
from aicn.errors import DialFailed, StreamRefused, StreamReset
from aicn.ids import InstanceId, ModelKind, ModelName, Multiaddr, PeerId, ProjectName
from aicn.p2p.host import Connection, Direction, Stream
from aicn.p2p.pipe import stream_pair
from aicn.peers import Directory
from aicn.peers.records import Heartbeat, NodeFlags, Offer
from aicn.routing import Answer, Ask, Reservations, RetryBudget, Router, RouteSettings, Sample, Selector
from aicn.routing.reservations import Instance
from aicn.wire.http_frames import RequestParser

PROJECT, MODEL, ANY = ProjectName("P"), ModelName("m"), InstanceId("")
OWN = PeerId("own")
PEERS = tuple(PeerId(name) for name in "abcdef")
DEADLINE_S = 20.0
SOON_S = 0.3
"""Longer than anything takes that is not made to wait."""

EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
WORD = b'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}\n\n'
DONE = b"data: [DONE]\n\n"
GOOD = EVENTS + ROLE + WORD + DONE
"""Without a length: it ends when the stream does."""

RESET, HANG, UNREACHABLE, REFUSING, FROZEN = "reset", "hang", "unreachable", "refusing", "frozen"
Step = bytes | str | asyncio.Event
"""Bytes are written, an event is awaited."""


def whole(status: int, body: bytes, *headers: str) -> bytes:
    """Return a whole answer of a model server."""
    lines = "".join(f"{line}\r\n" for line in headers)
    return f"HTTP/1.1 {status} X\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body


def failed(slug: str) -> bytes:
    """Return the answer of a node that tells a failure of its own."""
    return whole(503, b"{}", f"x-aicn-error: {slug}")


class Peers:
    """Peers that answer as they are told, over streams in memory, and a router among them."""

    def __init__(self, *scripts: tuple[Step, ...]) -> None:
        """`scripts`: one for each attempt in turn, the last one for all others."""
        self._scripts = list(scripts)
        self.serving: list[asyncio.Task[None]] = []
        self.asked: list[PeerId] = []
        self.cut: list[PeerId] = []
        """Who saw its stream reset before it was through."""
        self.usual_s: float | None = None
        self.samples: list[Sample] = []
        """What the selector was told of the attempts."""
        self.reservations = Reservations()

    async def open(self, peer: PeerId, _: str, first: bytes) -> Stream:
        self.asked.append(peer)
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        if script == (UNREACHABLE,):
            raise DialFailed("nobody is there")
        if script == (REFUSING,):
            raise StreamRefused("it does not speak the protocol")
        if script == (FROZEN,):
            try:
                await asyncio.Event().wait()
            finally:
                self.cut.append(peer)
        asking, answering = stream_pair(OWN, peer, "p")
        self.serving.append(asyncio.create_task(self._serve(answering, script, asking.peer)))
        await asking.write(first)
        return asking

    async def _serve(self, stream: Stream, script: tuple[Step, ...], peer: PeerId) -> None:
        parser = RequestParser()
        try:
            while not parser.complete:
                parser.feed(await stream.read())
            for step in script:
                if step == RESET:
                    stream.reset()
                    return
                if step == HANG:
                    await stream.read()
                elif isinstance(step, bytes):
                    await stream.write(step)
                elif isinstance(step, asyncio.Event):
                    await step.wait()
            await stream.close_write()
        except StreamReset:
            self.cut.append(peer)

    async def save_up(self, router: Router) -> None:
        """Let requests save up for a second attempt; this one makes none itself, however late its answer is."""
        usual_s, self.usual_s = self.usual_s, None
        async with router.send(ask()) as answer:
            assert answer.status == 200
            await read(answer)
        self.asked.clear()
        self.usual_s = usual_s

    @asynccontextmanager
    async def router(self, settings: RouteSettings | None = None, share: float = 1.0) -> AsyncIterator[Router]:
        """A router among all of them; when it is left, everybody is through and nothing is reserved."""
        directory = Directory(SystemClock())
        for peer in PEERS:
            offer = Offer(PROJECT, MODEL, ANY, ModelKind.CHAT, 0)
            directory.apply(Heartbeat(peer, NodeFlags.HAS_MODELS, (offer,)))
        selector = Usual(directory, _connection, self.reservations, OWN)
        selector.peers = self
        selector.samples = self.samples
        budget = RetryBudget(ManualClock(), share)
        try:
            yield Router(selector, self.reservations, self.open, settings=settings, budget=budget)
        finally:
            async with asyncio.timeout(DEADLINE_S):
                await asyncio.gather(*self.serving)
        assert [self.reservations.count((peer, PROJECT, MODEL, ANY)) for peer in PEERS] == [0] * len(PEERS)


class Usual(Selector):
    """Knows how long everybody usually takes, and writes down what it is told."""

    peers: Peers
    samples: list[Sample]

    def report(self, instance: Instance, sample: Sample) -> None:
        self.samples.append(sample)
        super().report(instance, sample)

    def usual_first_content_s(self, instance: Instance) -> float | None:  # noqa: ARG002 - all alike
        return self.peers.usual_s


def _connection(peer: PeerId) -> Connection:
    return Connection(peer, Multiaddr("/ip4/127.0.0.1"), Direction.INBOUND, relayed=False, rtt_us=1_000, conn_id=peer)


def ask(**changes: Any) -> Ask:
    """Return a chat."""
    return Ask(PROJECT, MODEL, b"{}", **changes)


async def read(answer: Answer) -> bytes:
    """Return the whole body."""
    return await answer.read_all(1 << 20, lambda _: None)


async def send(
    peers: Peers, asked: Ask | None = None, settings: RouteSettings | None = None, share: float = 1.0
) -> tuple[int, bytes, int]:
    """Return status, body and attempts of the answer that `peers` give."""
    async with (
        asyncio.timeout(DEADLINE_S),
        peers.router(settings, share) as router,
        router.send(asked or ask()) as answer,
    ):
        return answer.status, await read(answer), answer.attempts
