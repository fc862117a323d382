"""We ask a Go peer over `/chat-proxy/0.0.1`: what it writes, we get, when it writes it."""

from __future__ import annotations

import asyncio
import time

import pytest

from aicn.errors import NotConnected, StreamRefused, StreamReset
from aicn.identity import PrivateKey
from aicn.p2p.host import Stream
from interop.conftest import HostStart, OracleStart
from interop.oracle import Oracle
from interop.our_host import CHAT_PROXY, OurHost

PSK = bytes(range(32))
TARGET = "/v1/chat/completions?project=P&model=m&cid=0"
BODY = b'{"messages":[]}'
EVENTS = [b'data: {"n":%d}\n\n' % number for number in range(20)]
SSE = {"Content-Type": "text/event-stream"}


async def met(start_host: HostStart, start_oracle: OracleStart, psk: bytes | None = PSK) -> tuple[OurHost, Oracle]:
    """Return the two, connected by Go, as a Worker behind NAT dials an Input that opens streams back."""
    ours, go = await start_host(psk=psk), await start_oracle(psk=psk)
    await go.connect(ours.addr)
    await ours.identified(go.peer)
    return ours, go


async def ask(ours: OurHost, go: Oracle, target: str = TARGET, body: bytes = BODY) -> Stream:
    stream = await ours.host.open_stream(go.peer, CHAT_PROXY)
    await stream.write(
        f"POST {target} HTTP/1.1\r\nHost: any\r\nContent-Type: application/json\r\n"
        f"X-Ours: 1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    return stream


async def read_all(stream: Stream) -> bytes:
    received = bytearray()
    while data := await stream.read():
        received += data
    return bytes(received)


async def read_head(stream: Stream) -> tuple[bytes, bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        received += await stream.read()
    head, _, rest = received.partition(b"\r\n\r\n")
    return head, rest


def chunked(events: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events)


@pytest.mark.parametrize("psk", [PSK, None], ids=["psk", "public"])
async def test_json(start_host: HostStart, start_oracle: OracleStart, psk: bytes | None) -> None:
    ours, go = await met(start_host, start_oracle, psk)
    await go.serve([b'{"ok":', b"true}"], headers={"Content-Type": "application/json"})
    stream = await ask(ours, go)
    answer = await read_all(stream)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 11" in head
    assert body == b'{"ok":true}'
    await stream.close()

    asked = await go.event("request")
    assert (asked["peer"], asked["method"], asked["target"]) == (ours.peer, "POST", TARGET)
    assert (asked["body"], asked["content_length"], asked["host"]) == (BODY, len(BODY), "any")
    assert asked["headers"]["X-Ours"] == ["1"]
    assert (await go.event("answered"))["outcome"] == "whole"


async def test_events_arrive_when_they_are_written(start_host: HostStart, start_oracle: OracleStart) -> None:
    ours, go = await met(start_host, start_oracle)
    await go.serve(EVENTS, headers=SSE, chunked=True, gap_ms=20)
    stream = await ask(ours, go)
    head, received = await read_head(stream)
    assert b"Transfer-Encoding: chunked" in head
    arrived_s: list[float] = []
    while True:
        while len(arrived_s) < len(EVENTS) and EVENTS[len(arrived_s)] in received:
            arrived_s.append(time.time())
        data = await stream.read()
        if not data:
            break
        received += data
    await stream.close()
    assert received == chunked(EVENTS) + b"0\r\n\r\n"
    outcome = await go.event("answered")
    assert (outcome["outcome"], outcome["chunks"]) == ("whole", len(EVENTS))
    late_s = [got - sent / 1e6 for got, sent in zip(arrived_s, outcome["written_unix_us"], strict=True)]
    assert sorted(late_s)[len(late_s) // 2] < 0.010
    assert arrived_s[-1] - arrived_s[0] > 0.015 * len(EVENTS)


async def test_a_reset_is_no_end(start_host: HostStart, start_oracle: OracleStart) -> None:
    ours, go = await met(start_host, start_oracle)
    await go.serve(EVENTS, headers=SSE, chunked=True, gap_ms=20, cut="reset", cut_after=5)
    stream = await ask(ours, go)
    _, received = await read_head(stream)
    with pytest.raises(StreamReset):
        while True:
            data = await stream.read()
            assert data, "a reset must not look like an end"
            received += data
    assert chunked(EVENTS).startswith(received)
    assert EVENTS[3] in received


async def test_a_reset_reaches_us_while_we_wait(start_host: HostStart, start_oracle: OracleStart) -> None:
    ours, go = await met(start_host, start_oracle)
    await go.serve(kind="raw")
    stream = await ask(ours, go)
    number = (await go.event("stream"))["stream"]
    waiting = asyncio.create_task(stream.read())
    await go.stream_read(number)
    reset_s = time.monotonic()
    await go.stream_reset(number)
    with pytest.raises(StreamReset):
        await waiting
    assert time.monotonic() - reset_s < 0.2
    with pytest.raises(StreamReset):
        await stream.write(b"more")


async def test_a_reset_at_once(start_host: HostStart, start_oracle: OracleStart) -> None:
    """So a worker says that it does not have the model."""
    ours, go = await met(start_host, start_oracle)
    await go.serve(kind="reset")
    stream = await ask(ours, go)
    with pytest.raises(StreamReset):
        await stream.read()


async def test_an_end_within_the_body(start_host: HostStart, start_oracle: OracleStart) -> None:
    """So a Go worker ends whose model server breaks off: it closes as if all were well."""
    ours, go = await met(start_host, start_oracle)
    await go.serve(EVENTS, headers=SSE, chunked=True, cut="close", cut_after=5)
    stream = await ask(ours, go)
    _, _, body = (await read_all(stream)).partition(b"\r\n\r\n")
    assert body == chunked(EVENTS[:5])


@pytest.mark.parametrize("stage", ["no answer yet", "between events"])
async def test_a_reset_of_ours_is_seen_at_once(start_host: HostStart, start_oracle: OracleStart, stage: str) -> None:
    ours, go = await met(start_host, start_oracle)
    if stage == "no answer yet":
        await go.serve(kind="hang")
    else:
        await go.serve(EVENTS, chunked=True, cut="hang", cut_after=2)
    stream = await ask(ours, go)
    if stage == "no answer yet":
        await go.event("request")
    else:
        _, received = await read_head(stream)
        while EVENTS[1] not in received:
            received += await stream.read()
    reset_s = time.time()
    stream.reset()
    outcome = await go.event("answered")
    assert (outcome["outcome"], outcome["how"]) == ("cancelled", "reset")
    assert outcome["at_unix_us"] / 1e6 - reset_s < 0.2


async def test_a_cancelled_reader_may_reset(start_host: HostStart, start_oracle: OracleStart) -> None:
    """As when the client of an Input goes away: its task is cancelled in `read`."""
    ours, go = await met(start_host, start_oracle)
    await go.serve(kind="hang")

    async def one_request() -> None:
        stream = await ask(ours, go)
        try:
            await stream.read()
        finally:
            stream.reset()

    asking = asyncio.create_task(one_request())
    await go.event("request")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (await go.event("answered"))["outcome"] == "cancelled"


async def test_a_cancelled_opening_leaves_nothing(start_host: HostStart, start_oracle: OracleStart) -> None:
    ours, go = await met(start_host, start_oracle)
    await go.serve([b"ok"])
    for _ in range(20):
        opening = asyncio.create_task(ours.host.open_stream(go.peer, CHAT_PROXY))
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    assert (await read_all(await ask(ours, go))).endswith(b"\r\n\r\nok")
    assert ours.host.pending == 0


async def test_an_ended_half_leaves_the_other(start_host: HostStart, start_oracle: OracleStart) -> None:
    ours, go = await met(start_host, start_oracle)
    await go.serve(EVENTS, chunked=True, gap_ms=5)
    stream = await ask(ours, go)
    await stream.close_write()
    assert (await read_all(stream)).endswith(chunked(EVENTS) + b"0\r\n\r\n")
    assert (await go.event("answered"))["outcome"] == "whole"


async def test_a_large_answer_and_a_large_request(start_host: HostStart, start_oracle: OracleStart) -> None:
    ours, go = await met(start_host, start_oracle)
    image = bytes(range(256)) * (3 << 12)
    await go.serve([image])
    stream = await ask(ours, go, body=image)
    answer = await read_all(stream)
    assert answer.endswith(b"\r\n\r\n" + image)
    assert (await go.event("request"))["body"] == image


async def test_refusals(start_host: HostStart, start_oracle: OracleStart) -> None:
    ours, go = await met(start_host, start_oracle)
    with pytest.raises(StreamRefused, match=r"/chat-proxy/9\.9\.9"):
        await ours.host.open_stream(go.peer, "/chat-proxy/9.9.9")
    with pytest.raises(NotConnected):
        await ours.host.open_stream(PrivateKey.generate().public.peer_id, CHAT_PROXY)


async def test_sixty_at_once(start_host: HostStart, start_oracle: OracleStart) -> None:
    """The resource manager of a Go peer takes 64 from one peer, 4 more a GiB, and resets the rest."""
    ours, go = await met(start_host, start_oracle)
    for number in range(60):
        await go.serve([b"%03d" % number], model=str(number))

    async def one(number: int) -> bytes:
        stream = await ask(ours, go, f"/?project=P&model={number}")
        try:
            return (await read_all(stream))[-3:]
        finally:
            await stream.close()

    assert await asyncio.gather(*map(one, range(60))) == [b"%03d" % number for number in range(60)]
