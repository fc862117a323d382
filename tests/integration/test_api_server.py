"""The HTTP server as a hostile or careless client meets it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.types import Receive, Scope, Send

from aicn import defaults
from aicn.api.caller import Caller, ClientGone
from aicn.api.errors import ApiError
from aicn.api.server import ApiServer
from aicn.errors import ConfigError, ListenFailed
from aicn.tripwire import Tripwire

DEADLINE_S = 10.0


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    caller = Caller(scope, receive, send)
    try:
        if scope["path"] == "/pour":
            await caller.read_body()
            async with Tripwire(caller.raise_when_gone):
                await caller.start(200, [(b"content-type", b"text/plain")])
                while True:
                    await caller.send(b"x" * 65_536)
        body = await caller.read_body(1_000)
        await caller.answer_json(200, len(body))
    except ApiError as error:
        await caller.answer_json(error.status, error.body())
    except ClientGone:
        gone.set()


gone = asyncio.Event()


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    gone.clear()
    server = ApiServer(_app, "127.0.0.1:0")
    await server.start()
    yield server
    await server.close()
    await server.close()


async def _exchange(server: ApiServer, *parts: bytes) -> bytes:
    """Send parts, then read until the server closes."""
    host, _, port = server.address.rpartition(":")
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            return await reader.read()
        finally:
            writer.close()


CLOSE = b"Host: a\r\nConnection: close\r\n"


async def test_two_requests_on_one_connection(server: ApiServer) -> None:
    answers = await _exchange(
        server,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\n" + CLOSE + b"Content-Length: 3\r\n\r\nabc",
    )
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.endswith(b"3")


@pytest.mark.parametrize("endless", [b"GET / HTTP/1.1\r\nX: ", b"GET /", b"GET / HTTP/1.1\r\n"])
async def test_endless_head_is_cut_off(server: ApiServer, endless: bytes) -> None:
    filler = b"x" * 1_000 if not endless.endswith(b"\r\n") else b"a: b\r\n" * 170
    answer = await _exchange(server, endless, *([filler] * (defaults.HTTP_HEAD_MAX_BYTES // 1_000 + 2)))
    assert answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("start", [(), (b"GET / HTT",), (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP",)])
async def test_head_that_never_comes_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, start: tuple[bytes, ...]
) -> None:
    monkeypatch.setattr(defaults, "API_HEAD_TIMEOUT_S", 0.1)
    server = ApiServer(_app, "127.0.0.1:0")
    await server.start()
    answer = await _exchange(server, *start)
    assert b"HTTP/1.1 408 " in answer
    await server.close()


async def test_body_that_is_too_large_is_refused(server: ApiServer) -> None:
    answer = await _exchange(server, b"POST / HTTP/1.1\r\n" + CLOSE + b"Content-Length: 2000\r\n\r\n" + b"x" * 2_000)
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_body_that_never_comes_is_not_waited_for(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "BODY_TIMEOUT_S", 0.1)
    answer = await _exchange(server, b"POST / HTTP/1.1\r\n" + CLOSE + b"Content-Length: 20\r\n\r\nx")
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_client_that_reads_nothing_counts_as_gone(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "STALL_TIMEOUT_S", 0.2)
    host, _, port = server.address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), limit=1_000)
    writer.write(b"GET /pour HTTP/1.1\r\nHost: a\r\n\r\n")
    async with asyncio.timeout(DEADLINE_S):
        await gone.wait()
    writer.close()


async def test_taken_port_says_what_to_do(server: ApiServer) -> None:
    late = ApiServer(_app, server.address)
    with pytest.raises(ListenFailed, match=r"API\.Addr"):
        late.bind()


@pytest.mark.parametrize("address", ["", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", ":-1"])
async def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=r"API\.Addr"):
        ApiServer(_app, address).bind()


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:1", True),
        ("localhost:1", True),
        ("[::1]:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        (":1", False),
    ],
)
def test_address_that_only_this_machine_reaches(address: str, *, local: bool) -> None:
    assert ApiServer(_app, address).is_local is local
