"""What only the native host can be asked: the core behind it, its panics, its overflows, its log."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import logging
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from aicn import _native
from aicn.errors import AicnError, CorePanicked, IdentityError, NetworkError, NetworkTimeout
from aicn.identity import PrivateKey
from aicn.ids import Multiaddr
from aicn.multiaddr import host_port
from aicn.p2p import native_values
from aicn.p2p.host import EventsLost, HostConfig, HostEnded, PeerDisconnected, Stream
from aicn.p2p.native import NativeHost
from support.hosts import ANY_PORT, DEADLINE_S, PROTOCOL, TOPIC, HostMaker, Witness, until


@pytest.fixture
async def hosts() -> AsyncIterator[HostMaker]:
    maker = HostMaker("native")
    yield maker
    async with asyncio.timeout(DEADLINE_S):
        await maker.close()


def _native_of(witness: Witness) -> NativeHost:
    assert isinstance(witness.host, NativeHost)
    return witness.host


def _place(addr: Multiaddr) -> tuple[str, int]:
    place = host_port(addr)
    assert place is not None
    return place


def test_every_error_of_the_core_has_a_class_of_ours() -> None:
    assert set(native_values.ERRORS) == set(_native.ERROR_KINDS)
    for kind in _native.ERROR_KINDS:
        error = native_values.error(kind, "what happened")
        assert isinstance(error, AicnError)
        assert str(error) == "what happened"


async def test_panic_of_an_operation_ends_that_operation_only(hosts: HostMaker) -> None:
    one, other = await hosts.pair()
    host = _native_of(one)
    assert host._node is not None
    with pytest.raises(CorePanicked, match="asked for by a test"):
        async with asyncio.timeout(DEADLINE_S):
            await host.operation(host._node.panic_for_test)
    stream = await host.open_stream(other.peer, PROTOCOL)
    await stream.close()


async def test_panic_of_the_core_ends_every_call_and_is_told(hosts: HostMaker) -> None:
    async def silent(stream: Stream) -> None:
        await stream.read()
        await stream.read()

    one, other = await hosts.pair(silent)
    host = _native_of(one)
    assert host._node is not None
    stream = await host.open_stream(other.peer, PROTOCOL)
    await stream.write(b"x")
    reading = asyncio.create_task(stream.read())
    finding = asyncio.create_task(host.find_providers(b"\x12\x20" + b"k" * 32))
    await asyncio.sleep(0)
    host._node.panic_for_test(0)
    async with asyncio.timeout(DEADLINE_S):
        for waiting in (reading, finding):
            with pytest.raises(NetworkError):
                await waiting
        await one.until(lambda: any(isinstance(event, HostEnded) for event in one.events))
        with pytest.raises(CorePanicked):
            await host.publish(TOPIC, b"x")
        await host.close()


async def test_wrong_key_is_refused_before_anything_starts() -> None:
    with pytest.raises(IdentityError):
        NativeHost(HostConfig(private_key=b"\x08\x02\x12\x20" + bytes(32), listen_addrs=(ANY_PORT,)))


async def test_secrets_are_not_in_the_repr_of_the_configuration(hosts: HostMaker) -> None:
    config = _native_of(hosts.make(psk=b"p" * 32))._config
    assert repr(config.private_key) not in repr(config)
    assert "pppp" not in repr(config)


async def test_overflow_of_events_is_told_and_the_state_stays_right(hosts: HostMaker) -> None:
    """Nobody drains while far more gossip arrives than all queues hold."""
    one, other = await hosts.pair()
    await one.until_subscribed(other.peer)
    host = _native_of(other)
    loop = asyncio.get_running_loop()
    assert host._node is not None
    loop.remove_reader(host._node.fd())  # as a loop that is busy with something else
    for _ in range(12_000):
        await one.host.publish(TOPIC, b"x")
    await one.host.disconnect(other.peer)
    await until(lambda: host.connections() == ())
    loop.add_reader(host._node.fd(), host._drain)
    host._drain()
    await until(lambda: host.events_lost > 0)
    assert any(isinstance(event, EventsLost) for event in other.events)
    assert host.connection(one.peer) is None


async def test_records_of_the_core_join_the_log(hosts: HostMaker, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "aicn.core"):
        one, other = await hosts.pair()
        await one.host.disconnect(other.peer)
        await until(lambda: any(record.name == "aicn.core" for record in caplog.records))


@pytest.fixture
def no_deadlock() -> Iterator[None]:
    """End the run, telling where each thread is, if the interpreter's lock is never given back: nothing else could."""
    stderr = sys.__stderr__
    assert stderr is not None
    faulthandler.dump_traceback_later(60, exit=True, file=stderr)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.mark.parametrize("level", [logging.DEBUG, logging.NOTSET, -1, 10_000])
async def test_any_level_of_the_log_will_do(hosts: HostMaker, caplog: pytest.LogCaptureFixture, level: int) -> None:
    with caplog.at_level(level, "aicn.core"):
        await hosts.start()


@pytest.mark.usefixtures("no_deadlock")
async def test_loop_that_watches_no_descriptors_is_called(
    hosts: HostMaker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The way of Windows, with much to log: whoever wakes the loop holds nothing that the loop may wait for."""
    monkeypatch.setattr("aicn.p2p.native.sys", SimpleNamespace(platform="win32"))
    with caplog.at_level(1, "aicn.core"):
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(20):
                one, other = await hosts.pair()
                host = _native_of(one)
                assert host._node is not None
                assert host._node.fd() == -1
                stream = await host.open_stream(other.peer, PROTOCOL)
                await stream.write(b"x")
                assert await stream.read() == b"x"
                await stream.close()
                await host.disconnect(other.peer)
                await one.until_told(PeerDisconnected, other.peer)
            await hosts.close()
    assert any(record.name == "aicn.core" for record in caplog.records)


async def test_log_goes_on_when_the_host_that_carried_it_is_closed(
    hosts: HostMaker, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await hosts.start(), await hosts.start()
    await first.host.close()
    with caplog.at_level(logging.DEBUG, "aicn.core"):
        _native.set_log_level(logging.DEBUG)
        # Tells Python nothing but its log.
        with contextlib.closing(socket.create_connection(_place(second.addr))):
            pass
        await until(lambda: any("inbound connection" in record.getMessage() for record in caplog.records))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system does not list descriptors")
async def test_host_that_is_closed_with_full_queues_leaves_nothing(hosts: HostMaker) -> None:
    async def overflow_and_close() -> None:
        one, other = await hosts.pair()
        await one.until_subscribed(other.peer)
        host = _native_of(other)
        loop = asyncio.get_running_loop()
        assert host._node is not None
        loop.remove_reader(host._node.fd())  # as a loop that is busy with something else
        for _ in range(5_000):
            await one.host.publish(TOPIC, b"x")
        await one.host.disconnect(other.peer)
        await until(lambda: host.connections() == ())  # all that was sent has arrived
        closing = asyncio.create_task(host.close())
        await asyncio.sleep(0.2)  # the core has closed, and nobody has drained
        host._drain()
        await closing
        await hosts.close()
        hosts.forget()

    await overflow_and_close()
    before = _wake_descriptors()
    await overflow_and_close()
    await until(lambda: gc.collect() >= 0 and _wake_descriptors() <= before)


def _wake_descriptors() -> int:
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            count += "eventfd" in str(entry.readlink())
    return count


async def test_peer_that_stays_silent_is_given_up_in_time(hosts: HostMaker) -> None:
    one = await hosts.start()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        addr = Multiaddr(f"/ip4/127.0.0.1/tcp/{silent.getsockname()[1]}/p2p/{PrivateKey.generate().public.peer_id}")
        async with asyncio.timeout(DEADLINE_S):
            with pytest.raises(NetworkTimeout, match=str(addr)):
                await one.host.connect(addr, timeout_s=0.2)
    assert one.host.pending == 0


async def test_stream_that_is_forgotten_is_reset(hosts: HostMaker) -> None:
    ended = asyncio.Event()

    async def wait(stream: Stream) -> None:
        try:
            await stream.read()
            await stream.read()
        finally:
            ended.set()

    one, other = await hosts.pair(wait)
    stream = await one.host.open_stream(other.peer, PROTOCOL)
    await stream.write(b"x")
    del stream
    async with asyncio.timeout(DEADLINE_S):
        await ended.wait()
