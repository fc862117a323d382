"""Round trips: what is counted, and what a peer may do to a ping. The peers are scripted, the network is in memory."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from aicn.errors import MalformedMessage, StreamRefused, StreamReset
from aicn.p2p.host import Stream
from aicn.tools.ping import Pinger, RoundTrips, ping_once
from support.hosts import HostMaker

PING = "/ipfs/ping/1.0.0"

PingerOf = Callable[..., Awaitable[Pinger]]


@pytest_asyncio.fixture
async def pinger_of() -> AsyncIterator[PingerOf]:
    """Return what makes a pinger of a peer that serves the protocol with that handler."""
    maker = HostMaker("memory")

    async def make(handler: Callable[[Stream], Awaitable[None]], *, timeout_s: float = 10.0) -> Pinger:
        peer, ours = maker.make(stream_protocols=(PING,)), maker.make()
        peer.host.on_stream(PING, handler)
        await peer.host.start()
        await ours.host.start()
        return Pinger(ours.host, peer.addr, timeout_s=timeout_s)

    yield make
    await maker.close()


async def test_pings_share_a_stream(pinger_of: PingerOf) -> None:
    streams: list[bytes] = []

    async def serve(stream: Stream) -> None:
        streams.append(b"")
        while data := await stream.read():
            streams[-1] += data
            await stream.write(data)

    pinger, results = await pinger_of(serve), RoundTrips()

    for _ in range(3):
        assert await ping_once(pinger, results) is not None
    assert pinger.connection is not None
    assert [len(stream) for stream in streams] == [96]
    assert len({streams[0][start : start + 32] for start in (0, 32, 64)}) == 3
    await pinger.close()
    await pinger.close()


async def test_an_answer_in_pieces(pinger_of: PingerOf) -> None:
    async def serve(stream: Stream) -> None:
        data = await stream.read()
        for byte in data:
            await stream.write(bytes([byte]))

    assert await (await pinger_of(serve)).ping() > 0


async def test_a_stream_that_ends_while_nothing_is_asked_is_no_loss(pinger_of: PingerOf) -> None:
    async def once(stream: Stream) -> None:
        await stream.write(await stream.read())

    pinger, results = await pinger_of(once), RoundTrips()
    for _ in range(3):
        assert await ping_once(pinger, results) is not None
    assert (results.sent, results.answered, results.reason) == (3, 3, "")


async def test_silence_is_a_loss_and_its_late_answer_is_not_taken_for_the_next(pinger_of: PingerOf) -> None:
    late = asyncio.Event()
    asked = 0

    async def serve(stream: Stream) -> None:
        nonlocal asked
        asked += 1
        data = await stream.read()
        if asked == 1:
            await late.wait()
        await stream.write(data)

    pinger, results = await pinger_of(serve, timeout_s=1.0), RoundTrips()
    assert await ping_once(pinger, results) is None
    assert results.reason == "no answer within 1 s"
    late.set()
    assert await ping_once(pinger, results) is not None
    assert (results.sent, results.answered, results.lost_percent) == (2, 1, 50.0)


async def test_other_bytes_are_no_answer(pinger_of: PingerOf) -> None:
    async def serve(stream: Stream) -> None:
        await stream.write((await stream.read())[::-1])

    with pytest.raises(MalformedMessage, match="other bytes"):
        await (await pinger_of(serve)).ping()


async def test_an_end_or_a_reset_in_place_of_the_answer(pinger_of: PingerOf) -> None:
    async def end(stream: Stream) -> None:
        await stream.read()

    async def reset(stream: Stream) -> None:
        await stream.read()
        stream.reset()

    for handler in (end, reset):
        with pytest.raises(StreamReset):
            await (await pinger_of(handler)).ping()


async def test_a_peer_without_the_protocol() -> None:
    maker = HostMaker("memory")
    try:
        peer, ours = await maker.start(), await maker.start()
        with pytest.raises(StreamRefused):
            await Pinger(ours.host, peer.addr, timeout_s=5).ping()
    finally:
        await maker.close()


async def test_a_cancelled_ping_leaves_no_stream(pinger_of: PingerOf) -> None:
    ended = asyncio.Event()
    asked = asyncio.Event()

    async def serve(stream: Stream) -> None:
        await stream.read()
        asked.set()
        try:
            await stream.read()
        except StreamReset:
            ended.set()

    pinger = await pinger_of(serve)
    pinging = asyncio.create_task(pinger.ping())
    await asked.wait()
    pinging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pinging
    async with asyncio.timeout(5):
        await ended.wait()


def test_statistics_are_those_of_the_library() -> None:
    times_ms = [0.4, 12.5, 3.25, 0.1, 7.0, 1e3]
    results = RoundTrips()
    assert (results.stddev_ms, results.lost_percent) == (0.0, 0.0)
    for rtt_ms in times_ms:
        results.add(rtt_ms)
    results.lose("gone")
    results.lose("away")
    assert (results.min_ms, results.max_ms) == (0.1, 1e3)
    assert results.mean_ms == pytest.approx(statistics.fmean(times_ms))
    assert results.stddev_ms == pytest.approx(statistics.pstdev(times_ms))
    assert (results.sent, results.answered, results.lost_percent) == (8, 6, 25.0)
    assert results.reason == "away"


def test_statistics_keep_their_precision() -> None:
    results = RoundTrips()
    for offset in (1.0, 2.0, 3.0):
        results.add(1e9 + offset)
    assert results.stddev_ms == pytest.approx(statistics.pstdev([1.0, 2.0, 3.0]))
