"""What every host promises, held against the native one and its twin in memory."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from aicn import defaults
from aicn.errors import (
    AddressError,
    DialFailed,
    HostClosed,
    ListenFailed,
    NetworkError,
    NetworkTimeout,
    NotConnected,
    PublishFailed,
    StreamRefused,
    StreamReset,
)
from aicn.identity import PrivateKey
from aicn.ids import Multiaddr
from aicn.multiaddr import with_peer
from aicn.p2p.host import (
    Direction,
    GossipMessage,
    PeerConnected,
    PeerDisconnected,
    PeerIdentified,
    Stream,
)
from support.hosts import ANY_PORT, DEADLINE_S, PROTOCOL, TOPIC, HostMaker, read_all, until

NOBODY = PrivateKey.generate().public.peer_id


@pytest.fixture(params=["memory", "native"])
async def hosts(request: pytest.FixtureRequest) -> AsyncIterator[HostMaker]:
    maker = HostMaker(request.param)
    yield maker
    async with asyncio.timeout(DEADLINE_S):
        await maker.close()


# --- life -------------------------------------------------------------------------------------------------


async def test_listens_where_it_says(hosts: HostMaker) -> None:
    one = await hosts.start()
    (addr,) = one.host.listen_addrs()
    assert addr.startswith("/ip4/127.0.0.1/tcp/")
    assert addr != ANY_PORT
    assert PROTOCOL in one.host.protocols


async def test_taken_port_is_named_and_nothing_stays_open(hosts: HostMaker) -> None:
    one = await hosts.start()
    (taken,) = one.host.listen_addrs()
    late = hosts.make(listen_addrs=(ANY_PORT, taken))
    with pytest.raises(ListenFailed, match=taken):
        await late.host.start()
    with pytest.raises(NetworkError):
        await late.host.publish(TOPIC, b"x")


async def test_close_is_idempotent_and_final(hosts: HostMaker) -> None:
    one, other = await hosts.pair()
    await one.host.close()
    await one.host.close()
    await other.until_told(PeerDisconnected, one.peer)
    for call in (
        one.host.connect(other.addr),
        one.host.open_stream(other.peer, PROTOCOL),
        one.host.publish(TOPIC, b"x"),
        one.host.provide(b"key"),
        one.host.find_providers(b"key"),
        one.host.find_peer(other.peer),
        one.host.disconnect(other.peer),
    ):
        with pytest.raises(HostClosed):
            await call
    assert one.host.pending == 0


async def test_host_that_was_never_started_closes(hosts: HostMaker) -> None:
    await hosts.make().host.close()


async def test_close_cancels_handlers_and_waits_for_them(hosts: HostMaker) -> None:
    entered, left = asyncio.Event(), asyncio.Event()

    async def stay(_: Stream) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    one, other = await hosts.pair(stay)
    stream = await one.host.open_stream(other.peer, PROTOCOL)
    await stream.write(b"x")
    await entered.wait()
    await other.host.close()
    assert left.is_set()
    with pytest.raises(StreamReset):
        await stream.read()


async def test_close_that_is_cancelled_goes_on_and_the_next_waits_for_it(hosts: HostMaker) -> None:
    entered, leave, left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def leave_slowly(_: Stream) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            await leave.wait()
            left.set()

    one, other = await hosts.pair(leave_slowly)
    await one.host.open_stream(other.peer, PROTOCOL, first=b"x")
    await entered.wait()
    closing = asyncio.create_task(other.host.close())
    await asyncio.sleep(0.01)
    closing.cancel()
    await asyncio.wait([closing])
    assert closing.cancelled()
    again = asyncio.create_task(other.host.close())
    await asyncio.sleep(0.01)
    assert not again.done()
    leave.set()
    async with asyncio.timeout(DEADLINE_S):
        await again
    assert left.is_set()
    await one.until_told(PeerDisconnected, other.peer)
    with pytest.raises(HostClosed):
        await other.host.publish(TOPIC, b"x")


async def test_close_ends_what_is_waited_for(hosts: HostMaker) -> None:
    async def silent(stream: Stream) -> None:
        while await stream.read():
            pass

    one, other = await hosts.pair(silent)
    reader = await one.host.open_stream(other.peer, PROTOCOL)
    waits = [
        asyncio.create_task(reader.read()),
        asyncio.create_task(one.host.open_stream(other.peer, PROTOCOL, first=b"x" * 64 * 1_048_576)),
    ]
    await asyncio.sleep(0.01)
    async with asyncio.timeout(DEADLINE_S):
        await one.host.close()
        for wait in waits:
            with contextlib.suppress(NetworkError):
                await wait
    assert one.host.pending == 0


# --- connections ------------------------------------------------------------------------------------------


async def test_connect_tells_both_sides_in_order(hosts: HostMaker) -> None:
    one, other = await hosts.pair()
    for here, there in ((one, other), (other, one)):
        await here.until_told(PeerIdentified, there.peer)
        kinds = [type(event) for event in here.events]
        assert kinds.index(PeerConnected) < kinds.index(PeerIdentified)
        identity = here.host.identity(there.peer)
        assert identity is not None
        assert identity.protocol_version == defaults.PROTOCOL_VERSION
        assert PROTOCOL in identity.protocols
        assert set(there.host.listen_addrs()) <= set(identity.listen_addrs)
        assert there.peer in {known.peer for known in here.host.known_addrs()}
    dialled, accepted = one.host.connection(other.peer), other.host.connection(one.peer)
    assert dialled is not None
    assert accepted is not None
    assert (dialled.direction, accepted.direction) == (Direction.OUTBOUND, Direction.INBOUND)
    assert dialled.addr == other.host.listen_addrs()[0]
    assert not dialled.relayed


async def test_connect_again_keeps_the_connection(hosts: HostMaker) -> None:
    one, other = await hosts.pair()
    before = one.host.connections()
    assert await one.host.connect(other.addr) == other.peer
    assert [each.conn_id for each in one.host.connections()] == [each.conn_id for each in before]


async def test_both_dialling_at_once_end_with_one_connection(hosts: HostMaker) -> None:
    one, other = await hosts.start(), await hosts.start()
    for _ in range(5):
        await asyncio.gather(one.host.connect(other.addr), other.host.connect(one.addr))
        stream = await one.host.open_stream(other.peer, PROTOCOL)
        await stream.write(b"x")
        assert await stream.read() == b"x"
        await stream.close()
        await until(lambda: len(one.host.connections()) == len(other.host.connections()) == 1)
        await one.host.disconnect(other.peer)
        await other.until(lambda: other.host.connection(one.peer) is None)


async def test_disconnect_tells_both_sides(hosts: HostMaker) -> None:
    one, other = await hosts.pair()
    await one.host.disconnect(other.peer)
    await one.until_told(PeerDisconnected, other.peer)
    await other.until_told(PeerDisconnected, one.peer)
    assert one.host.connections() == other.host.connections() == ()
    with pytest.raises(NotConnected):
        await one.host.disconnect(other.peer)


async def test_dial_that_cannot_work_says_why(hosts: HostMaker) -> None:
    one, other = await hosts.start(), await hosts.start()
    with pytest.raises(AddressError):
        await one.host.connect(Multiaddr("nonsense"))
    with pytest.raises(AddressError, match="/p2p"):
        await one.host.connect(other.host.listen_addrs()[0])
    with pytest.raises(DialFailed, match=NOBODY):
        await one.host.connect(with_peer(Multiaddr("/ip4/127.0.0.1/tcp/1"), NOBODY))
    with pytest.raises(DialFailed, match=other.peer):
        await one.host.connect(with_peer(other.host.listen_addrs()[0], NOBODY))
    with pytest.raises(DialFailed):
        await one.host.connect(one.addr)
    assert one.host.pending == 0


async def test_wrong_pre_shared_key_is_refused(hosts: HostMaker) -> None:
    one = await hosts.start(psk=b"1" * 32)
    other = await hosts.start(psk=b"2" * 32)
    third = await hosts.start(dial_timeout_s=1)  # a public node and a private one wait for each other in vain
    for here, there in ((one, other), (one, third), (third, one)):
        with pytest.raises(DialFailed):
            await here.host.connect(there.addr)
    assert one.host.connections() == other.host.connections() == third.host.connections() == ()
    same = await hosts.start(psk=b"1" * 32)
    assert await same.host.connect(one.addr) == one.peer


# --- streams ----------------------------------------------------------------------------------------------


async def test_stream_carries_bytes_both_ways(hosts: HostMaker) -> None:
    one, other = await hosts.pair()
    for asking, asked in ((one, other), (other, one)):
        stream = await asking.host.open_stream(asked.peer, PROTOCOL)
        assert (stream.peer, stream.protocol, stream.relayed) == (asked.peer, PROTOCOL, False)
        await stream.write(b"hello")
        assert await stream.read() == b"hello"
        await stream.close_write()
        assert await stream.read() == b""
        assert await stream.read() == b""
        await stream.close()


@pytest.mark.parametrize("size", [1, 1_000, 1_000_000])
async def test_first_bytes_travel_with_the_request_for_the_stream(hosts: HostMaker, size: int) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def hear(stream: Stream) -> None:
        heard.put_nowait(await read_all(stream))

    one, other = await hosts.pair(hear)
    stream = await one.host.open_stream(other.peer, PROTOCOL, first=b"x" * size)
    await stream.close_write()
    async with asyncio.timeout(DEADLINE_S):
        assert await heard.get() == b"x" * size
    await stream.close()


async def test_read_takes_no_more_than_it_is_told(hosts: HostMaker) -> None:
    one, other = await hosts.pair()
    stream = await one.host.open_stream(other.peer, PROTOCOL)
    await stream.write(b"x" * 1_000)
    got = b""
    while len(got) < 1_000:
        part = await stream.read(max_bytes=7)
        assert 0 < len(part) <= 7
        got += part
    await stream.close()


async def test_finish_sends_everything_and_ends(hosts: HostMaker) -> None:
    data = bytes(range(256)) * 4_096

    async def answer(stream: Stream) -> None:
        await stream.read()
        await stream.finish(data)

    one, other = await hosts.pair(answer)
    stream = await one.host.open_stream(other.peer, PROTOCOL)
    await stream.write(b"x")
    assert await read_all(stream) == data
    await stream.close()


async def test_many_streams_at_once(hosts: HostMaker) -> None:
    one, other = await hosts.pair()

    async def exchange(number: int) -> None:
        here, there = (one, other) if number % 2 else (other, one)
        data = bytes([number % 256]) * 65_536
        stream = await here.host.open_stream(there.peer, PROTOCOL)
        write = asyncio.create_task(stream.write(data))
        got = b""
        while len(got) < len(data):
            got += await stream.read()
        await write
        assert got == data
        await stream.close()

    async with asyncio.timeout(30):
        await asyncio.gather(*(exchange(number) for number in range(200)))
    # The handlers of both sides see the ends of their streams and leave.
    await until(lambda: one.host.pending == other.host.pending == 0)


async def test_handler_that_raises_resets_its_stream_and_no_other(
    hosts: HostMaker, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail_on_request(stream: Stream) -> None:
        if await stream.read() == b"fail":
            raise KeyError("a bug")
        await stream.write(b"fine")

    one, other = await hosts.pair(fail_on_request)
    bad = await one.host.open_stream(other.peer, PROTOCOL)
    with caplog.at_level(logging.ERROR, "aicn.p2p"):
        await bad.write(b"fail")
        with pytest.raises(StreamReset):
            await bad.read()
    assert "a bug" in caplog.text
    good = await one.host.open_stream(other.peer, PROTOCOL)
    await good.write(b"work")
    assert await read_all(good) == b"fine"


async def test_reset_reaches_who_only_waits(hosts: HostMaker) -> None:
    reset = asyncio.Event()
    entered = asyncio.Event()

    async def wait(stream: Stream) -> None:
        await stream.read()
        entered.set()
        try:
            await stream.read()
        except StreamReset:
            reset.set()
            raise

    one, other = await hosts.pair(wait)
    stream = await one.host.open_stream(other.peer, PROTOCOL)
    await stream.write(b"x")
    await entered.wait()
    stream.reset()
    stream.reset()
    async with asyncio.timeout(DEADLINE_S):
        await reset.wait()
    for call in (stream.read(), stream.write(b"x")):
        with pytest.raises(StreamReset):
            await call


async def test_reset_reaches_who_only_writes(hosts: HostMaker) -> None:
    ended = asyncio.Event()

    async def pour(stream: Stream) -> None:
        try:
            while True:
                await stream.write(b"x" * 65_536)
        finally:
            ended.set()

    one, other = await hosts.pair(pour)
    stream = await one.host.open_stream(other.peer, PROTOCOL)
    await stream.write(b"x")
    await stream.read()
    stream.reset()
    async with asyncio.timeout(DEADLINE_S):
        await ended.wait()


async def test_lost_connection_resets_its_streams(hosts: HostMaker) -> None:
    one, other = await hosts.pair()
    stream = await one.host.open_stream(other.peer, PROTOCOL)
    await stream.write(b"x")
    assert await stream.read() == b"x"
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    await other.host.disconnect(one.peer)
    with pytest.raises(StreamReset):
        async with asyncio.timeout(DEADLINE_S):
            await reading


async def test_slow_reader_holds_the_writer_back_and_loses_nothing(hosts: HostMaker) -> None:
    """The writer can be ahead by the buffers on the way, and by no more."""
    total = 16 * 1_048_576
    written = 0
    go = asyncio.Event()

    async def slow(stream: Stream) -> None:
        await go.wait()
        got = 0
        while data := await stream.read():
            got += len(data)
        await stream.write(b"%d" % got)

    one, other = await hosts.pair(slow)
    stream = await one.host.open_stream(other.peer, PROTOCOL)
    stuck = asyncio.Event()

    async def pour() -> None:
        nonlocal written
        block = b"x" * 65_536
        while written < total:
            await stream.write(block)
            written += len(block)
        await stream.close_write()

    pouring = asyncio.create_task(pour())
    last = -1
    while not stuck.is_set():  # until nothing moves between two looks
        await asyncio.sleep(0.2)
        if written == last:
            stuck.set()
        last = written
    assert written < total / 2
    go.set()
    async with asyncio.timeout(30):
        await pouring
        assert await read_all(stream) == b"%d" % total


async def test_reader_that_takes_nothing_ends_the_writing(hosts: HostMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "STALL_TIMEOUT_S", 0.3)

    async def never_read(_: Stream) -> None:
        await asyncio.Event().wait()

    one, other = await hosts.pair(never_read)
    stream = await one.host.open_stream(other.peer, PROTOCOL)
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(NetworkTimeout, match="took nothing"):
            await stream.write(b"x" * 64 * 1_048_576)
    with pytest.raises(StreamReset):
        await stream.read()
    assert one.host.pending == 0


async def test_streams_beyond_the_bound_are_reset(hosts: HostMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "INBOUND_STREAMS_MAX", 2)
    one, other = await hosts.pair()
    served = [await one.host.open_stream(other.peer, PROTOCOL) for _ in range(2)]
    for stream in served:
        await stream.write(b"x")
        assert await stream.read() == b"x"
    refused = await one.host.open_stream(other.peer, PROTOCOL)
    with pytest.raises(StreamReset):
        await refused.read()
    for stream in served:
        await stream.write(b"y")
        assert await stream.read() == b"y"
        await stream.close()


async def test_stream_for_an_unknown_protocol_is_refused(hosts: HostMaker) -> None:
    one, other = await hosts.pair()
    with pytest.raises(StreamRefused):
        await one.host.open_stream(other.peer, "/unknown/1")
    stream = await one.host.open_stream(other.peer, PROTOCOL)
    await stream.close()


async def test_stream_to_a_stranger_is_refused(hosts: HostMaker) -> None:
    one = await hosts.start()
    with pytest.raises(NotConnected):
        await one.host.open_stream(NOBODY, PROTOCOL)


async def test_stream_dials_a_known_address(hosts: HostMaker) -> None:
    one, other = await hosts.pair()
    await one.until_told(PeerIdentified, other.peer)
    await one.host.disconnect(other.peer)
    await other.until(lambda: other.host.connection(one.peer) is None)
    stream = await one.host.open_stream(other.peer, PROTOCOL)
    await stream.write(b"x")
    assert await stream.read() == b"x"
    await stream.close()


# --- cancellation -----------------------------------------------------------------------------------------


async def test_every_wait_can_be_cancelled_and_leaves_nothing(hosts: HostMaker) -> None:
    async def silent(stream: Stream) -> None:
        while await stream.read():
            pass

    one, other = await hosts.pair(silent)
    stream = await one.host.open_stream(other.peer, PROTOCOL)
    waits: list[Callable[[], Awaitable[object]]] = [
        stream.read,
        lambda: one.host.open_stream(other.peer, PROTOCOL),
        lambda: one.host.find_providers(b"\x12\x20" + b"k" * 32),
        lambda: one.host.find_peer(NOBODY),
        lambda: one.host.connect(with_peer(Multiaddr("/ip4/127.0.0.1/tcp/1"), NOBODY)),
        lambda: one.host.provide(b"\x12\x20" + b"k" * 32),
        lambda: one.host.publish(TOPIC, b"x"),
    ]
    for wait in waits:
        for turns in range(4):
            task = asyncio.ensure_future(wait())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
    assert one.host.pending == 0
    await stream.write(b"still works")
    fresh = await one.host.open_stream(other.peer, PROTOCOL)
    await fresh.close()


async def test_read_that_was_cancelled_loses_no_bytes(hosts: HostMaker) -> None:
    one, other = await hosts.pair()
    stream = await one.host.open_stream(other.peer, PROTOCOL)
    for number in range(20):
        reading = asyncio.create_task(stream.read())
        await asyncio.sleep(0)
        write = stream.write(b"%03d" % number)
        if number % 2:
            await write
            await asyncio.sleep(0)
            reading.cancel()
        else:
            reading.cancel()
            await write
        got = b""
        with contextlib.suppress(asyncio.CancelledError):
            got = await reading
        async with asyncio.timeout(DEADLINE_S):
            while len(got) < 3:
                got += await stream.read()
        assert got == b"%03d" % number


async def test_write_that_was_cancelled_can_be_reset(hosts: HostMaker) -> None:
    async def never_read(_: Stream) -> None:
        await asyncio.Event().wait()

    one, other = await hosts.pair(never_read)
    stream = await one.host.open_stream(other.peer, PROTOCOL)
    writing = asyncio.create_task(stream.write(b"x" * 64 * 1_048_576))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait([writing])
    stream.reset()
    with pytest.raises(StreamReset):
        await stream.write(b"x")
    assert one.host.pending == 0


async def test_opening_that_is_cancelled_at_its_first_bytes_resets_the_stream(hosts: HostMaker) -> None:
    entered, go, reset = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def wait(stream: Stream) -> None:
        entered.set()
        await go.wait()
        try:
            while await stream.read():
                pass
        except StreamReset:
            reset.set()
            raise

    one, other = await hosts.pair(wait)
    opening = asyncio.create_task(one.host.open_stream(other.peer, PROTOCOL, first=b"x" * 64 * 1_048_576))
    async with asyncio.timeout(DEADLINE_S):
        await entered.wait()
        opening.cancel()
        await asyncio.wait([opening])
        del opening
        go.set()
        await reset.wait()
    assert one.host.pending == 0


# --- gossip -----------------------------------------------------------------------------------------------


async def test_gossip_reaches_others_once_and_not_its_sender(hosts: HostMaker) -> None:
    one, other = await hosts.pair()
    await one.until_subscribed(other.peer)
    await other.until_subscribed(one.peer)
    assert one.host.topic_peers(TOPIC) == (other.peer,)
    assert await one.host.publish(TOPIC, b"first") == 1
    assert await one.host.publish(TOPIC, b"first") == 1
    assert await other.host.publish(TOPIC, b"answer") == 1
    async with asyncio.timeout(DEADLINE_S):
        heard = [await other.gossip.get(), await other.gossip.get()]
        answer = await one.gossip.get()
    assert [(each.topic, each.source, each.data) for each in heard] == [(TOPIC, one.peer, b"first")] * 2
    assert heard[0].seqno != heard[1].seqno
    assert len(heard[0].seqno) == 8
    assert (answer.source, answer.data) == (other.peer, b"answer")
    assert one.gossip.empty()
    assert other.gossip.empty()


async def test_gossip_travels_along_a_chain(hosts: HostMaker) -> None:
    first, middle, last = await hosts.start(), await hosts.start(), await hosts.start()
    await first.host.connect(middle.addr)
    await last.host.connect(middle.addr)
    for end in (first, last):
        await end.until_subscribed(middle.peer)
        await middle.until_subscribed(end.peer)
    await first.host.publish(TOPIC, b"along")
    async with asyncio.timeout(DEADLINE_S):
        message = await last.gossip.get()
    assert (message.source, message.data) == (first.peer, b"along")


async def test_publishing_alone_reaches_nobody(hosts: HostMaker) -> None:
    one = await hosts.start()
    assert await one.host.publish(TOPIC, b"x") == 0


async def test_message_that_is_too_large_is_refused(hosts: HostMaker) -> None:
    one, other = await hosts.pair()
    await one.until_subscribed(other.peer)
    with pytest.raises(PublishFailed):
        await one.host.publish(TOPIC, b"x" * (defaults.GOSSIP_MAX_BYTES + 1))
    assert await one.host.publish(TOPIC, b"x") == 1


async def test_receiver_that_fails_is_logged_and_hears_the_next(
    hosts: HostMaker, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = await hosts.start(), hosts.make()
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    def fail_once(message: GossipMessage) -> None:
        heard.put_nowait(message.data)
        if message.data == b"bad":
            raise KeyError("a bug")

    other.host.on_gossip(fail_once)
    await other.host.start()
    await one.host.connect(other.addr)
    await one.until_subscribed(other.peer)
    with caplog.at_level(logging.ERROR, "aicn.p2p"):
        await one.host.publish(TOPIC, b"bad")
        await one.host.publish(TOPIC, b"good")
        async with asyncio.timeout(DEADLINE_S):
            assert [await heard.get(), await heard.get()] == [b"bad", b"good"]
    assert "a bug" in caplog.text


# --- discovery --------------------------------------------------------------------------------------------


async def test_providers_are_found_with_their_addresses(hosts: HostMaker) -> None:
    server, one, other = await hosts.start(), await hosts.start(), await hosts.start()
    key = b"\x12\x20" + b"p" * 32
    for client in (one, other):
        await client.host.connect(server.addr)
        await client.until_told(PeerIdentified, server.peer)
        await server.until_told(PeerIdentified, client.peer)
    await one.host.provide(key)
    async with asyncio.timeout(DEADLINE_S):
        while not (found := await other.host.find_providers(key, timeout_s=2)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # the record travels without telling anybody
    assert [each.peer for each in found] == [one.peer]
    assert set(one.host.listen_addrs()) <= set(found[0].addrs)
    assert await other.host.find_providers(b"\x12\x20" + b"q" * 32, timeout_s=2) == ()


async def test_peer_is_found_or_not(hosts: HostMaker) -> None:
    server, one, other = await hosts.start(), await hosts.start(), await hosts.start()
    for client in (one, other):
        await client.host.connect(server.addr)
        await client.until_told(PeerIdentified, server.peer)
        await server.until_told(PeerIdentified, client.peer)
    found = await other.host.find_peer(one.peer, timeout_s=5)
    assert found.peer == one.peer
    assert set(one.host.listen_addrs()) <= set(found.addrs)
    with pytest.raises(NotConnected):
        await other.host.find_peer(NOBODY, timeout_s=1)
