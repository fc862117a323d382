"""The client to model servers, against servers that do what servers do."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from aicn import defaults
from aicn.backends import BackendClient
from aicn.errors import BackendBroken, BackendTimeout, BackendUnreachable, Overloaded
from support.certificates import write_certificate
from support.hosts import DEADLINE_S, until

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """A socket that a test speaks for."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self.connections = 0
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def serving(serve: Serve, **settings: float) -> AsyncIterator[tuple[Server, BackendClient]]:
    """Run a server, and a client for it."""
    server = Server(serve)
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1/chat?x=1"
    client = BackendClient(**settings)
    async with asyncio.timeout(DEADLINE_S):
        yield server, client
    await client.close()
    await client.close()
    listener.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def _always(answer: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await _head(reader)
            writer.write(answer)
            await writer.drain()

    return serve


async def _fetch(client: BackendClient, url: str, body: bytes | AsyncIterator[bytes] = b"") -> bytes:
    async with client.exchange("POST", url, [(b"x-a", b"b")], body) as reply:
        parts = []
        while part := await reply.read_some():
            parts.append(part)
        return b"".join(parts)


async def test_request_is_what_was_asked_for() -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await _head(reader) + await reader.readexactly(4))
        writer.write(OK)

    async with serving(serve) as (server, client):
        headers = [(b"host", b"evil"), (b"connection", b"upgrade"), (b"te", b"x"), (b"x-a", b"b")]
        async with client.exchange("POST", server.url, headers, b"body") as reply:
            assert (reply.status, reply.reason, reply.length_bytes) == (200, b"OK", 2)
        host = server.url.removeprefix("http://").partition("/")[0].encode()
        expected = b"POST /v1/chat?x=1 HTTP/1.1\r\nhost: %b\r\nx-a: b\r\ncontent-length: 4\r\n\r\nbody" % host
        assert heads == [expected]


async def test_connection_is_used_again() -> None:
    async with serving(_always(OK)) as (server, client):
        for _ in range(5):
            assert await _fetch(client, server.url) == b"ok"
        assert server.connections == 1
        await asyncio.gather(*(_fetch(client, server.url) for _ in range(4)))
        assert server.connections <= 4


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", id="asked to close"),
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", id="HTTP/1.0"),
    ],
)
async def test_connection_that_ends_is_not_used_again(answer: bytes) -> None:
    async with serving(_always(answer)) as (server, client):
        for _ in range(3):
            assert await _fetch(client, server.url) == b"ok"
        assert server.connections == 3


async def test_connection_left_in_the_middle_is_not_used_again() -> None:
    async with serving(_always(OK)) as (server, client):
        async with client.exchange("POST", server.url, [], b"") as reply:
            assert reply.status == 200
        assert await _fetch(client, server.url) == b"ok"
        assert server.connections == 2


async def test_connection_that_was_closed_while_it_rested_is_not_used() -> None:
    closed = asyncio.Event()

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _head(reader)
        writer.write(OK)
        await writer.drain()
        writer.close()
        closed.set()

    async with serving(once) as (server, client):
        for number in range(1, 4):
            closed.clear()
            assert await _fetch(client, server.url) == b"ok"
            await closed.wait()
            await until(lambda: not any(each.reusable for each in client._open))
            assert server.connections == number


async def test_connection_that_rests_too_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "BACKEND_KEEPALIVE_S", 0.02)
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _head(reader)
        writer.write(OK)
        await reader.read()
        ended.set()

    async with serving(serve) as (server, client):
        assert await _fetch(client, server.url) == b"ok"
        await ended.wait()
        assert client._open == set()


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok"),
    ],
)
async def test_every_way_to_end_a_body(answer: bytes, body: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _head(reader)
        writer.write(answer)

    async with serving(serve) as (server, client):
        assert await _fetch(client, server.url) == body


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        b"SMTP ready\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_answer_that_is_none_is_broken(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _head(reader)
        writer.write(answer)

    async with serving(serve) as (server, client):
        with pytest.raises(BackendBroken):
            await _fetch(client, server.url)


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok"])
async def test_silence_times_out(start: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _head(reader)
        writer.write(start)
        await reader.read()

    async with serving(serve, idle_timeout_s=0.1) as (server, client):
        with pytest.raises(BackendTimeout):
            await _fetch(client, server.url)


async def test_nobody_there_is_unreachable_and_the_address_stays_private() -> None:
    async with serving(_always(OK)) as (server, client):
        url = server.url
    with pytest.raises(BackendUnreachable) as refused:
        await _fetch(client, url)
    assert "127.0.0.1" not in str(refused.value)


async def test_certificate_that_is_not_trusted_is_told_as_that(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path, "model-server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    served = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", ssl=context)
    async with served:
        url = f"https://127.0.0.1:{served.sockets[0].getsockname()[1]}/v1/chat/completions"
        client = BackendClient()
        with pytest.raises(BackendUnreachable, match=r"TLS is refused .self-signed certificate.") as caught:
            await _fetch(client, url)
        assert caught.value.refused
        await client.close()


async def test_upload_as_it_arrives_with_and_without_a_length() -> None:
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await _head(reader)
            if b"chunked" in head:
                got.append(await reader.readuntil(b"0\r\n\r\n"))
            else:
                got.append(await reader.readexactly(6))
            writer.write(OK)

    async def parts() -> AsyncIterator[bytes]:
        for part in (b"abc", b"def"):
            await asyncio.sleep(0)
            yield part

    async with serving(serve) as (server, client):
        assert await _fetch(client, server.url, parts()) == b"ok"
        async with client.exchange("POST", server.url, [(b"content-length", b"6")], parts()) as reply:
            assert await reply.read_some() == b"ok"
    assert got == [b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n", b"abcdef"]


async def test_answer_before_the_upload_is_whole_ends_the_upload() -> None:
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _head(reader)
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        while await reader.read(65_536):
            pass

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                await asyncio.sleep(0)
                yield b"x" * 65_536
        finally:
            left.set()

    async with serving(serve) as (server, client):
        async with client.exchange("POST", server.url, [], endless()) as reply:
            assert reply.status == 413
        await left.wait()


@pytest.mark.parametrize(("status", "stops"), [(413, True), (200, False)])
async def test_refusal_stops_the_upload_and_success_does_not(status: int, *, stops: bool) -> None:
    """A model server may answer while it reads; what it refuses is not worth the rest of the upload."""
    seen = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _head(reader)
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n" % status)
        while not seen.endswith(b"0\r\n\r\n"):
            seen.extend(await reader.readexactly(1))
        writer.write(b"ok")

    asked, go_on = asyncio.Event(), asyncio.Event()
    ended = ""

    async def body() -> AsyncIterator[bytes]:
        nonlocal ended
        try:
            yield b"one"
            asked.set()
            await go_on.wait()
            yield b"two"
            ended = "whole"
        except asyncio.CancelledError:
            ended = "stopped"
            raise

    async with serving(serve) as (server, client), client.exchange("POST", server.url, [], body()) as reply:
        await asked.wait()
        assert reply.status == status
        if stops:
            await until(lambda: ended == "stopped")
        else:
            go_on.set()
            assert await reply.read_some() == b"ok"
            assert (ended, bytes(seen)) == ("whole", b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


async def test_server_that_takes_an_upload_is_not_silent() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"0\r\n\r\n")
        writer.write(OK)
        await reader.read()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(8):
            await asyncio.sleep(0.3)
            yield b"part"

    async with (
        serving(serve, idle_timeout_s=2.0) as (server, client),
        client.exchange("POST", server.url, [], body()) as reply,
    ):
        assert await reply.read_some() == b"ok"


async def test_caller_that_fails_and_is_cancelled_at_once_leaves_no_connection() -> None:
    """So a stream that is reset ends: the write fails, and the watch over the stream cancels in the same moment."""
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        try:
            while await reader.read(65_536):
                pass
        finally:
            gone.set()

    async def body() -> AsyncIterator[bytes]:
        yield b"all of it"

    async with serving(serve) as (server, client):

        async def fail() -> None:
            async with client.exchange("POST", server.url, [], body()):
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                raise BackendBroken("the write failed")

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(fail())
        await gone.wait()


async def test_large_answer_waits_for_its_reader() -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await _head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n")
        for _ in range(1_024):
            writer.write(b"x" * 65_536)
            await writer.drain()
            sent += 65_536

    async with serving(serve) as (server, client), client.exchange("POST", server.url, [], b"") as reply:
        last = -1
        while sent != last:  # until nothing moves between two looks
            last = sent
            await asyncio.sleep(0.1)
        assert sent < 33_554_432
        got = 0
        while part := await reply.read_some():
            got += len(part)
        assert got == 67_108_864


async def test_server_that_speaks_unasked_is_left() -> None:
    spoke = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _head(reader)
        writer.write(OK)
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(b"more")
        await writer.drain()
        spoke.set()
        await reader.read()

    async with serving(serve) as (server, client):
        assert await _fetch(client, server.url) == b"ok"
        await spoke.wait()
        await until(lambda: not any(each.reusable for each in client._open))
        assert await _fetch(client, server.url) == b"ok"
        assert server.connections == 2


async def test_nobody_waits_behind_all_that_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "BACKEND_MAX_CONNECTIONS", 1)
    async with serving(_always(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")) as (server, client):
        async with client.exchange("POST", server.url, (), b"") as reply:
            with pytest.raises(Overloaded):
                await _fetch(client, server.url)
            assert await reply.read_some() == b"ok"
        assert await _fetch(client, server.url) == b"ok"


@pytest.mark.parametrize("status", [0, 99, 600, 999])
async def test_a_status_that_is_none_is_broken(status: int) -> None:
    async with serving(_always(b"HTTP/1.1 %03d X\r\ncontent-length: 0\r\n\r\n" % status)) as (server, client):
        with pytest.raises(BackendBroken):
            await _fetch(client, server.url)
