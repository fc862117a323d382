"""The HTTP server as a hostile or careless client meets it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from aicn import defaults
from aicn.api.caller import Caller, ClientGone
from aicn.api.errors import ApiError
from aicn.api.server import ApiServer
from aicn.api.tls import TlsFiles
from aicn.errors import ConfigError, ListenFailed
from aicn.tripwire import Tripwire
from support.certificates import write_certificate

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
        if scope["path"] == "/headers":
            await caller.read_body()
            names = [name.decode() for name, _ in scope["headers"]]
            await caller.answer_json(200, names)
            return
        body = await caller.read_body(1_000 if scope["path"] == "/" else 100_000)
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


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\nHost: a\r\n"
SMUGGLED = b"GET /headers HTTP/1.1\r\nHost: localhost\r\nX-Smuggled: 1\r\n\r\n"


@pytest.mark.parametrize("at_once_bytes", [1, 7, 10_000])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize(
    "offer", [OFFER, OFFER.replace(b"h2c", b"websocket"), OFFER.replace(b"Upgrade,", b"upgrade ,")]
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_an_offer_of_another_protocol_is_ignored_and_its_body_read(
    server: ApiServer, offer: bytes, version: bytes, at_once_bytes: int, *, chunked: bool
) -> None:
    length = len(SMUGGLED)
    framed = b"%x\r\n%b\r\n0\r\n\r\n" % (length, SMUGGLED) if chunked else SMUGGLED
    framing = b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: %d\r\n" % length
    request = b"POST /long HTTP/" + version + b"\r\n" + offer + framing + b"\r\n" + framed
    last = b"GET / HTTP/1.1\r\n" + CLOSE + b"\r\n"
    sent = request + (request + last if version == b"1.1" else b"")
    parts = [sent[at : at + at_once_bytes] for at in range(0, len(sent), at_once_bytes)]
    answers = await _exchange(server, *parts)
    assert b"x-smuggled" not in answers
    bodies = [each.partition(b"\r\n\r\n")[2] for each in answers.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert bodies == ([b"%d" % length] * 2 + [b"0"] if version == b"1.1" else [b"%d" % length])


async def test_what_follows_a_request_without_a_body_is_the_next_one(server: ApiServer) -> None:
    last = b"GET /headers HTTP/1.1\r\n" + CLOSE + b"\r\n"
    answers = await _exchange(server, b"GET /headers HTTP/1.1\r\n" + OFFER + b"\r\n" + last)
    assert answers.count(b"HTTP/1.1 200 OK") == 2


async def test_an_offer_with_the_last_request_of_a_connection(server: ApiServer) -> None:
    offer = OFFER.replace(b"Upgrade,", b"close, Upgrade,")
    answers = await _exchange(server, b"POST / HTTP/1.1\r\n" + offer + b"Content-Length: 2\r\n\r\nab" + SMUGGLED)
    assert answers.count(b"HTTP/1.1 ") == 1
    assert answers.endswith(b"\r\n\r\n2")


async def test_a_tunnel_is_not_made(server: ApiServer) -> None:
    tunnel = b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: %d\r\n\r\n%b" % (len(SMUGGLED), SMUGGLED)
    answers = await _exchange(server, tunnel)
    assert answers.startswith(b"HTTP/1.1 400 ")
    assert answers.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("endless", [b"GET / HTTP/1.1\r\nX: ", b"GET /", b"GET / HTTP/1.1\r\n"])
async def test_endless_head_is_cut_off(server: ApiServer, endless: bytes) -> None:
    filler = b"x" * 1_000 if not endless.endswith(b"\r\n") else b"a: b\r\n" * 170
    answer = await _exchange(server, endless, *([filler] * (defaults.HTTP_HEAD_MAX_BYTES // 1_000 + 2)))
    assert answer.startswith(b"HTTP/1.1 431 ")


LARGE_BYTES = 16 << 20
"""More than the buffers of a connection take."""

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("endless", [b"0\r\na: ", b"0\r\n", b"1;", b"1\r\nx\r\n2;"], ids=str)
async def test_what_stands_around_a_body_ends_too(server: ApiServer, endless: bytes) -> None:
    filler = b"a: b\r\n" * 170 if endless.endswith(b"\r\n") else b"x" * 1_000
    host, _, port = server.address.rpartition(":")
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(CHUNKED + endless)
        with pytest.raises(ConnectionError):
            while True:
                writer.write(filler)
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            assert b"HTTP/1.1 2" not in await reader.read()


async def test_a_body_in_many_small_parts_is_no_head(server: ApiServer) -> None:
    parts = [b"1;x=y\r\na\r\n" * 1_000] * (2 * defaults.HTTP_HEAD_MAX_BYTES // 10_000)
    head = CHUNKED.replace(b"POST / ", b"POST /count ").replace(b"Host: a\r\n", CLOSE)
    answer = await _exchange(server, head, *parts, b"0\r\n\r\n")
    assert answer.endswith(b"%d" % (1_000 * len(parts)))


async def test_a_trailer_is_no_header(server: ApiServer) -> None:
    head = CHUNKED.replace(b"POST / ", b"POST /headers ").replace(b"Host: a\r\n", CLOSE)
    answer = await _exchange(server, head + b"1\r\nx\r\n0\r\nAuthorization: Bearer mine\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"authorization" not in answer


async def test_connections_that_ask_for_nothing_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "API_MAX_CONNECTIONS", 8)
    server = ApiServer(_app, "127.0.0.1:0")
    await server.start()
    host, _, port = server.address.rpartition(":")
    async with asyncio.timeout(DEADLINE_S):
        asks, asking = await asyncio.open_connection(host, int(port))
        asking.write(b"POST / HTTP/1.1\r\n" + CLOSE + b"Content-Length: 1\r\n\r\n")
        idle = [await asyncio.open_connection(host, int(port)) for _ in range(20)]
        answer = await _exchange(server, b"GET / HTTP/1.1\r\n" + CLOSE + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        asking.write(b"x")
        assert (await asks.read()).startswith(b"HTTP/1.1 200 "), "whose request is under way is not sent away"
        with contextlib.suppress(ConnectionError):
            assert await idle[0][0].read() == b"", "who has waited for longest goes first"
    for writer in (asking, *(each[1] for each in idle)):
        writer.close()
    await server.close()


@pytest.mark.parametrize(("path", "said"), [(b"/v1/models", b'{"error":{"message":'), (b"/", b'{"code":1009,')])
async def test_where_all_are_busy_it_is_told_when_to_come_again(
    monkeypatch: pytest.MonkeyPatch, path: bytes, said: bytes
) -> None:
    monkeypatch.setattr(defaults, "API_MAX_CONNECTIONS", 4)
    server = ApiServer(_app, "127.0.0.1:0")
    await server.start()
    host, _, port = server.address.rpartition(":")
    busy = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
    for _, writer in busy:
        writer.write(b"POST / HTTP/1.1\r\n" + CLOSE + b"Content-Length: 1\r\n\r\n")
    async with asyncio.timeout(DEADLINE_S):
        while server.requests_under_way < len(busy):  # noqa: ASYNC110 - only the server tells
            await asyncio.sleep(0.01)
        answer = await _exchange(server, b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in answer
        assert said in answer
        for reader, writer in busy:
            writer.write(b"x")
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
            writer.close()
    await server.close()


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


async def test_a_handshake_that_never_ends_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "TLS_HANDSHAKE_TIMEOUT_S", 0.1)
    files = TlsFiles(*write_certificate(tmp_path, "node.example"))
    server = ApiServer(_app, "127.0.0.1:0", tls=files.context)
    await server.start()
    for beginning in (b"", b"\x16\x03\x01\x02\x00\x01"):
        assert await _exchange(server, beginning) == b""
    await server.close()


async def test_body_that_is_too_large_is_refused(server: ApiServer) -> None:
    answer = await _exchange(server, b"POST / HTTP/1.1\r\n" + CLOSE + b"Content-Length: 2000\r\n\r\n" + b"x" * 2_000)
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("tls", [False, True])
async def test_the_refusal_of_a_large_body_arrives_before_the_connection_ends(
    tmp_path: Path, version: bytes, *, tls: bool
) -> None:
    """A proxy that sends all of a request before it reads the answer must find that answer, and no reset."""
    files = write_certificate(tmp_path, "127.0.0.1")
    trusting = ssl.create_default_context(cafile=files[0]) if tls else None
    server = ApiServer(_app, "127.0.0.1:0", tls=TlsFiles(*files).context if tls else None)
    await server.start()
    host, _, port = server.address.rpartition(":")
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(host, int(port), ssl=trusting)
        writer.write(b"POST / HTTP/%b\r\n%bContent-Length: %d\r\n\r\n" % (version, CLOSE, LARGE_BYTES))
        for _ in range(LARGE_BYTES // 65_536):
            writer.write(b"x" * 65_536)
            await writer.drain()
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"}")
    writer.close()
    await server.close()


async def test_what_is_sent_behind_a_refusal_is_not_read_for_ever(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "LINGER_S", 0.2)
    host, _, port = server.address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST / HTTP/1.1\r\n" + CLOSE + b"Content-Length: 1000000000000\r\n\r\n")
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(ConnectionError):
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
                await asyncio.sleep(0)


async def test_a_server_that_stops_waits_for_nobodys_leftovers(server: ApiServer) -> None:
    host, _, port = server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST / HTTP/1.1\r\n" + CLOSE + b"Content-Length: 100000\r\n\r\n" + b"x" * 2_000)
    async with asyncio.timeout(defaults.SHUTDOWN_GRACE_S):
        assert (await reader.read()).startswith(b"HTTP/1.1 413 ")
        await server.close()
    writer.close()


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01", 400, "invalid_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, "invalid_request"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 200_000, 431, "headers_too_large"),
    ],
)
async def test_what_is_no_request_is_answered_with_an_error_object(
    server: ApiServer, sent: bytes, status: int, code: str
) -> None:
    answer = await _exchange(server, sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"content-length: %d" % len(body) in head
    told = json.loads(body)
    assert (told["error"]["code"], told["error"]["message"]) == (code, told["message"])


async def test_nothing_is_said_in_the_middle_of_an_answer(server: ApiServer) -> None:
    """Even where what follows is no request: the client would take it for a part of the answer."""
    host, _, port = server.address.rpartition(":")
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /pour HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x00\x00\r\n")
        with contextlib.suppress(ConnectionError):
            while part := await reader.read(65_536):
                assert b"HTTP/1.1" not in part
        await gone.wait()
    writer.close()


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


async def test_who_reads_no_answer_at_all_is_hung_up_on(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the route: one that is answered whole has nobody who looks after its client."""
    monkeypatch.setattr(defaults, "STALL_TIMEOUT_S", 0.2)
    host, _, port = server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1_000)
    async with asyncio.timeout(DEADLINE_S):
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"GET /headers HTTP/1.1\r\nHost: a\r\n" + b"x: x\r\n" * 900 + b"\r\n")
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            while await reader.read(65_536):
                pass
    writer.close()


async def test_requests_that_do_not_wait_for_answers_are_few(server: ApiServer) -> None:
    """Each that waits takes memory, and reads of thousands of them come as soon as one is answered."""
    pipelined = b"GET /headers HTTP/1.1\r\nHost: a\r\n\r\n"
    few = await _exchange(server, pipelined * defaults.PIPELINED_MAX + b"GET / HTTP/1.1\r\n" + CLOSE + b"\r\n")
    assert few.count(b"HTTP/1.1 200 OK") == defaults.PIPELINED_MAX + 1
    with contextlib.suppress(ConnectionError):
        many = await _exchange(server, pipelined * 1_000)
        assert many.count(b"HTTP/1.1 200 OK") <= defaults.PIPELINED_MAX + 1


async def test_taken_port_says_what_to_do(server: ApiServer) -> None:
    late = ApiServer(_app, server.address)
    with pytest.raises(ListenFailed, match=r"\(Address already in use\); change API\.Addr"):
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
