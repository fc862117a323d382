"""A Go peer asks us over `/chat-proxy/0.0.1`: what we write, it gets, when we write it."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from aicn.errors import StreamReset
from aicn.p2p.host import Stream
from interop.conftest import HostStart, OracleStart
from interop.oracle import Oracle
from interop.oracle_build import OracleFailed
from interop.our_host import CHAT_PROXY, OurHost

PSK = bytes(range(32))
TARGET = "/api/v0/chat/completion/proxy?project=P&model=m&cid="
BODY = b'{"messages":[{"role":"user","content":"hi"}],"stream":true}'
EVENTS = [b'data: {"n":%d}\n\n' % number for number in range(50)]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def met(start_host: HostStart, start_oracle: OracleStart, psk: bytes | None = PSK) -> tuple[OurHost, Oracle]:
    """Return the two, connected by Go, as an Input that has been dialled by a Worker is not."""
    ours, go = await start_host(psk=psk), await start_oracle(psk=psk)
    await go.connect(ours.addr)
    return ours, go


async def read_request(stream: Stream, body_bytes: int = len(BODY)) -> tuple[bytes, bytes]:
    """Read head and body. The Go side does not end its half: nothing else tells where the request ends."""
    received = b""
    while b"\r\n\r\n" not in received or len(received.split(b"\r\n\r\n", 1)[1]) < body_bytes:
        data = await stream.read()
        assert data, "the request ended early"
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body


@pytest.mark.parametrize("psk", [PSK, None], ids=["psk", "public"])
async def test_json(start_host: HostStart, start_oracle: OracleStart, psk: bytes | None) -> None:
    ours, go = await met(start_host, start_oracle, psk)
    asking = asyncio.create_task(go.request(ours.peer, TARGET, body=BODY, headers={"Content-Type": "application/json"}))
    stream = await ours.inbound()
    assert (stream.peer, stream.protocol, stream.relayed) == (go.peer, CHAT_PROXY, False)
    head, body = await read_request(stream)
    assert head.split(b"\r\n")[0] == f"POST {TARGET} HTTP/1.1".encode()
    assert b"Content-Type: application/json" in head
    assert body == BODY
    await stream.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"ok":true}')
    await stream.close()
    answer = await asking
    assert (answer.status, answer.headers["Content-Type"]) == (200, ["application/json"])
    assert (answer.body, answer.end, answer.after) == (b'{"ok":true}', "eof", "eof")


async def test_events_arrive_when_they_are_written(start_host: HostStart, start_oracle: OracleStart) -> None:
    ours, go = await met(start_host, start_oracle)
    asking = asyncio.create_task(go.request(ours.peer, TARGET, body=BODY, tag="sse"))
    stream = await ours.inbound()
    await read_request(stream)
    await stream.write(HEAD)
    await go.event("head", tag="sse")
    late_s = []
    for event in EVENTS:
        written_s = time.monotonic()
        await stream.write(chunk(event))
        # The next is not written before this one has arrived: none may wait for those after it.
        assert (await go.event("chunk", tag="sse"))["data"] == event
        late_s.append(time.monotonic() - written_s)
    await stream.write(b"0\r\n\r\n")
    await stream.close()
    answer = await asking
    assert [one.data for one in answer.chunks] == EVENTS
    assert all(early.at_ms <= later.at_ms for early, later in itertools.pairwise(answer.chunks))
    assert (answer.chunked, answer.end, answer.after) == (True, "eof", "eof")
    assert sorted(late_s)[len(late_s) // 2] < 0.010


async def test_a_reset_of_ours_is_no_end(start_host: HostStart, start_oracle: OracleStart) -> None:
    ours, go = await met(start_host, start_oracle)
    asking = asyncio.create_task(go.request(ours.peer, TARGET, body=BODY, tag="sse"))
    stream = await ours.inbound()
    await read_request(stream)
    await stream.write(HEAD + chunk(EVENTS[0]))
    await go.event("chunk", tag="sse")
    stream.reset()
    answer = await asking
    assert (answer.status, answer.body, answer.end) == (200, EVENTS[0], "reset")


async def test_a_reset_before_the_head(start_host: HostStart, start_oracle: OracleStart) -> None:
    """So a worker refuses a model that it does not have."""
    ours, go = await met(start_host, start_oracle)
    asking = asyncio.create_task(go.request(ours.peer, TARGET, body=BODY))
    (await ours.inbound()).reset()
    answer = await asking
    assert (answer.status, answer.end) == (0, "reset")


async def test_a_handler_that_fails_resets(start_host: HostStart, start_oracle: OracleStart) -> None:
    async def fail(stream: Stream) -> None:
        await read_request(stream)
        raise StreamReset("as a handler's own stream may be")

    ours, go = await start_host(psk=PSK, handler=fail), await start_oracle(psk=PSK)
    await go.connect(ours.addr)
    answer = await go.request(ours.peer, TARGET, body=BODY)
    assert (answer.status, answer.end) == (0, "reset")


async def test_an_end_of_ours_within_the_body_is_seen(start_host: HostStart, start_oracle: OracleStart) -> None:
    ours, go = await met(start_host, start_oracle)
    asking = asyncio.create_task(go.request(ours.peer, TARGET, body=BODY))
    stream = await ours.inbound()
    await read_request(stream)
    await stream.write(HEAD + chunk(EVENTS[0]))
    await stream.close()
    answer = await asking
    assert (answer.body, answer.end) == (EVENTS[0], "truncated")


async def test_a_cancellation_reaches_us_while_we_wait(start_host: HostStart, start_oracle: OracleStart) -> None:
    """The model has to be stopped: nothing is written meanwhile that could fail."""
    ours, go = await met(start_host, start_oracle)
    asking = asyncio.create_task(go.request(ours.peer, TARGET, body=BODY, tag="gone"))
    stream = await ours.inbound()
    await read_request(stream)
    waiting = asyncio.create_task(stream.read())
    cancelled_s = (await go.cancel("gone")) / 1e6
    with pytest.raises(StreamReset):
        await waiting
    assert time.time() - cancelled_s < 0.2
    with pytest.raises(StreamReset):
        await stream.write(HEAD)
    assert (await asking).end != "eof"


async def test_a_lost_peer_ends_its_streams(start_host: HostStart, start_oracle: OracleStart) -> None:
    ours, go = await met(start_host, start_oracle)
    number = await go.stream_open(ours.peer)
    await go.stream_write(number, b"hello")
    stream = await ours.inbound()
    assert await stream.read() == b"hello"
    waiting = asyncio.create_task(stream.read())
    await go.kill()
    with pytest.raises(StreamReset):
        await waiting


async def test_an_ended_half_leaves_the_other(start_host: HostStart, start_oracle: OracleStart) -> None:
    ours, go = await met(start_host, start_oracle)
    number = await go.stream_open(ours.peer)
    await go.stream_write(number, b"question")
    await go.stream_close_write(number)
    stream = await ours.inbound()
    assert await stream.read() == b"question"
    assert await stream.read() == b""
    await stream.write(b"answer")
    assert await go.stream_read(number) == (b"answer", "")
    await stream.close()
    assert await go.stream_read(number) == (b"", "eof")


async def test_eight_mebibytes_each_way(start_host: HostStart, start_oracle: OracleStart) -> None:
    """As an image edit is."""
    ours, go = await met(start_host, start_oracle)
    image = bytes(range(256)) * (8 << 12)
    asking = asyncio.create_task(go.request(ours.peer, TARGET, body=image[: 3 << 20]))
    stream = await ours.inbound()
    _, body = await read_request(stream, 3 << 20)
    assert body == image[: 3 << 20]
    await stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(image))
    await stream.write(image)
    await stream.close()
    answer = await asking
    assert answer.end == "eof"
    assert answer.body == image


async def test_a_stalled_reader_stalls_the_writer(start_host: HostStart, start_oracle: OracleStart) -> None:
    ours, go = await met(start_host, start_oracle)
    number = await go.stream_open(ours.peer)
    # The first write carries the negotiation; an error of it would stick to the stream.
    assert await go.stream_write(number, b"on") == (2, "")
    written, end = await go.stream_write(number, bytes(3 << 20), timeout_ms=500)
    assert end == "timeout"
    assert written < 2 << 20
    stream = await ours.inbound()
    read = 0
    while read < 2 + written:
        read += len(await stream.read())
    assert read == 2 + written
    assert await go.stream_write(number, b"on") == (2, "")
    assert await stream.read() == b"on"


async def test_another_protocol_is_refused(start_host: HostStart, start_oracle: OracleStart) -> None:
    ours, go = await met(start_host, start_oracle)
    with pytest.raises(OracleFailed, match="protocols not supported"):
        await go.stream_open(ours.peer, "/chat-proxy/9.9.9")


async def test_a_hundred_at_once(start_host: HostStart, start_oracle: OracleStart) -> None:
    async def echo(stream: Stream) -> None:
        _, body = await read_request(stream, 3)
        await stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + body)

    ours, go = await start_host(psk=PSK, handler=echo), await start_oracle(psk=PSK)
    await ours.host.connect(go.addr)
    await go.event("connected", peer=ours.peer)
    bodies = [b"%03d" % number for number in range(100)]
    answers = await asyncio.gather(*(go.request(ours.peer, TARGET, body=body) for body in bodies))
    assert [answer.body for answer in answers] == bodies
    assert {(answer.end, answer.after) for answer in answers} == {("eof", "eof")}
