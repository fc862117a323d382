"""The HTTP proxy over a real libp2p connection: both sides, a real server, real clients."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
import pytest

from aicn.backends import BackendClient
from aicn.errors import ListenFailed, NetworkTimeout
from aicn.ids import Multiaddr, PeerId
from aicn.multiaddr import with_peer
from aicn.p2p.host import Stream
from aicn.tools.proxy_access import AllowedTargets
from aicn.tools.proxy_far import FarProxy
from aicn.tools.proxy_near import NearProxy
from aicn.tools.temporary_host import temporary_host
from support.mock_model_server import MockModelServer, Plan, completion

PROTOCOL = "/proxy-example/0.0.1"
LOOPBACK = Multiaddr("/ip4/127.0.0.1/tcp/0")
PATIENCE_S = 20.0


@dataclass
class Pair:
    """Both sides, connected."""

    url: str
    near: PeerId
    told: list[tuple[PeerId, str, str]] = field(default_factory=list)

    async def raw(self, request: bytes) -> bytes:
        """Send bytes as they are and return all that comes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", int(self.url.rpartition(":")[2]))
        writer.write(request)
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await reader.read(1 << 20)
        finally:
            writer.close()
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def pair(
    *allow: str,
    only: PeerId | None = None,
    handler: Callable[[Stream], Awaitable[None]] | None = None,
) -> AsyncIterator[Pair]:
    """Run a near and a far side; `handler` stands in for the far side's own."""
    client = BackendClient()
    told: list[tuple[PeerId, str, str]] = []
    far = FarProxy(
        client,
        AllowedTargets(allow),
        peers=None if only is None else {only},
        on_request=lambda *what: told.append(what),
    )
    handlers = {PROTOCOL: handler or far.handle}
    async with (
        temporary_host(None, listen_addrs=(LOOPBACK,), handlers=handlers) as there,
        temporary_host(None) as here,
    ):
        addr = with_peer(there.listen_addrs()[0], there.peer_id)

        async def open_stream(first: bytes) -> Stream:
            return await here.open_stream(await here.connect(addr), PROTOCOL, first=first)

        async with NearProxy(open_stream, "127.0.0.1", 0) as near:
            yield Pair(f"http://127.0.0.1:{near.address[1]}", here.peer_id, told)
    await client.close()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as session:
        yield session


async def test_a_request_and_its_answer(session: aiohttp.ClientSession) -> None:
    answer = completion("m")
    async with MockModelServer(Plan(status=201, body=answer, headers={"X-Theirs": "1", "Set-Cookie": "a=b"})) as server:
        async with (
            pair() as proxy,
            session.post(
                f"{server.url}/v1/x?y=1&z",
                proxy=proxy.url,
                data=b"body",
                headers={"X-Ours": "1", "Proxy-Authorization": "s"},
            ) as got,
        ):
            assert (got.status, await got.read()) == (201, answer)
            assert (got.headers["X-Theirs"], got.headers["Set-Cookie"]) == ("1", "a=b")
            assert got.headers["Content-Length"] == str(len(answer))
        seen = server.seen[0]
        assert (seen.method, seen.path, seen.query, seen.body) == ("POST", "/v1/x", "y=1&z", b"body")
        assert (seen.header("x-ours"), seen.header("proxy-authorization")) == ("1", None)
        assert seen.header("host") == server.url.removeprefix("http://")
        assert proxy.told == [(proxy.near, f"POST {server.url.removeprefix('http://')}", "201")]


async def test_events_pass_when_they_are_written(session: aiohttp.ClientSession) -> None:
    async with MockModelServer(Plan(events=20, gap_ms=20, stamp=True)) as server, pair() as proxy:
        late_ms = []
        async with session.post(server.chat_url, proxy=proxy.url, json={"stream": True}) as got:
            assert got.headers["Content-Type"] == "text/event-stream"
            async for line in got.content:
                if line.startswith(b"data: {"):
                    written_ns = json.loads(line.removeprefix(b"data:"))["written_ns"]
                    late_ms.append((time.monotonic_ns() - written_ns) / 1e6)
    assert len(late_ms) == 20
    assert sorted(late_ms)[10] < 20


async def test_a_large_body_both_ways(session: aiohttp.ClientSession) -> None:
    body = bytes(range(256)) * 40_000

    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1 << 20):
            yield body[start : start + (1 << 20)]

    async with MockModelServer(Plan(body=body[::-1])) as server, pair() as proxy:
        for data in (io.BytesIO(body), parts()):  # of declared length, then in chunks
            async with session.post(f"{server.url}/", proxy=proxy.url, data=data) as got:
                assert await got.read() == body[::-1]
    assert [seen.body == body for seen in server.seen] == [True, True]
    assert server.seen[1].header("transfer-encoding") == "chunked"


async def test_a_client_that_reads_slowly_slows_the_server(session: aiohttp.ClientSession) -> None:
    """What lies between the two is bounded, whatever the kernel's buffers hold beside it."""
    chunk = bytes(65_536)
    async with MockModelServer(Plan(chunks=(chunk,) * 2_000)) as server, pair() as proxy:
        async with session.post(server.chat_url, proxy=proxy.url, json={"stream": True}) as got:
            seen = await server.next_request()
            before = -1
            while before != seen.writes:
                before = seen.writes
                await asyncio.sleep(0.5)
            assert 0 < seen.writes < 1_000
            size = 0
            async for part in got.content.iter_any():
                size += len(part)
        assert size == 2_000 * len(chunk)


async def test_expectations_are_met_here(session: aiohttp.ClientSession) -> None:
    async with (
        MockModelServer(Plan(body=b"{}")) as server,
        pair() as proxy,
        session.put(f"{server.url}/", proxy=proxy.url, data=b"x" * 100_000, expect100=True) as got,
    ):
        assert got.status == 200
    assert (len(server.seen[0].body), server.seen[0].header("expect")) == (100_000, None)


async def test_answers_without_a_body(session: aiohttp.ClientSession) -> None:
    async with MockModelServer(Plan(body=b"12345")) as server, pair() as proxy:
        async with session.head(f"{server.url}/", proxy=proxy.url) as got:
            assert (got.status, got.headers["Content-Length"], await got.read()) == (200, "5", b"")
        server.plan = Plan(status=204, body=b"")
        async with session.get(f"{server.url}/", proxy=proxy.url) as got:
            assert (got.status, await got.read()) == (204, b"")


async def test_only_what_is_allowed(session: aiohttp.ClientSession) -> None:
    async with MockModelServer(Plan(body=b"{}")) as server:
        port = server.url.rpartition(":")[2]
        async with pair(f"127.0.0.1:{port}") as proxy:
            async with session.get(f"{server.url}/", proxy=proxy.url) as got:
                assert got.status == 200
            async with session.get(f"http://localhost:{port}/", proxy=proxy.url) as got:
                assert (got.status, got.headers["x-aicn-error"]) == (403, "target_not_allowed")
                assert f"localhost:{port} may not be asked" in (await got.json())["message"]
        async with pair() as proxy:
            # The answer comes before the body is through, and is seen all the same.
            async with session.post("http://198.51.100.1/", proxy=proxy.url, data=io.BytesIO(bytes(5_000_000))) as got:
                assert got.status == 403
            async with session.head("http://198.51.100.1/", proxy=proxy.url) as got:
                assert (got.status, await got.read()) == (403, b"")
    assert len(server.seen) == 1


async def test_only_who_is_allowed(session: aiohttp.ClientSession) -> None:
    async with (
        MockModelServer() as server,
        temporary_host(None) as other,
        pair(only=other.peer_id) as proxy,
        session.get(f"{server.url}/", proxy=proxy.url) as got,
    ):
        assert (got.status, got.headers["x-aicn-error"]) == (403, "peer_not_allowed")
        assert proxy.near in (await got.json())["message"]
    assert server.seen == []


async def test_a_server_that_is_not_there(session: aiohttp.ClientSession) -> None:
    async with MockModelServer() as server:
        url = server.url
    async with pair() as proxy, session.get(f"{url}/", proxy=proxy.url) as got:
        told = await got.json()
        assert (got.status, told["code"]) == (502, "backend_unreachable")
        assert told["message"] == "the server cannot be reached (Connection refused)"


@pytest.mark.parametrize("plan", [Plan(die_after=2, events=9), Plan(die_after=5, body=b"0123456789")])
async def test_a_cut_answer_never_looks_whole(session: aiohttp.ClientSession, plan: Plan) -> None:
    async with (
        MockModelServer(plan) as server,
        pair() as proxy,
        session.post(server.chat_url, proxy=proxy.url, json={"stream": plan.body is None}) as got,
    ):
        assert got.status == 200
        with pytest.raises(aiohttp.ClientError):
            await got.read()
    assert [outcome.partition(":")[0] for *_, outcome in proxy.told] == ["broken off"]


async def test_a_client_that_leaves_is_told_to_the_server(session: aiohttp.ClientSession) -> None:
    async with MockModelServer(Plan(hang=True)) as server, pair() as proxy:
        asking = asyncio.create_task(session.post(server.chat_url, proxy=proxy.url, json={"stream": True}))
        silent = await server.next_request()
        asking.cancel()
        server.plan = Plan(events=1_000, gap_ms=20)
        async with session.post(server.chat_url, proxy=proxy.url, json={"stream": True}) as got:
            await got.content.readline()
        async with asyncio.timeout(PATIENCE_S):
            await silent.gone.wait()
            await (await server.next_request()).gone.wait()


async def test_a_far_side_that_resets_as_the_references_does(session: aiohttp.ClientSession) -> None:
    async def reset(stream: Stream) -> None:
        await stream.read()
        stream.reset()

    async with pair(handler=reset) as proxy, session.get("http://127.0.0.1/", proxy=proxy.url) as got:
        assert (got.status, got.headers["x-aicn-error"]) == (502, "stream_reset")


@pytest.mark.parametrize("answer", [b"frob\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: " + bytes(80_000), b""])
async def test_a_far_side_that_speaks_no_http(session: aiohttp.ClientSession, answer: bytes) -> None:
    async def babble(stream: Stream) -> None:
        await stream.read()
        await stream.finish(answer)

    async with pair(handler=babble) as proxy, session.get("http://127.0.0.1/", proxy=proxy.url) as got:
        assert got.status == 502
        assert "far side" in (await got.json())["message"]


async def test_an_answer_that_ends_with_its_stream(session: aiohttp.ClientSession) -> None:
    async def old(stream: Stream) -> None:
        await stream.read()
        await stream.finish(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it")

    async with pair(handler=old) as proxy, session.get("http://127.0.0.1/", proxy=proxy.url) as got:
        assert (got.status, await got.read()) == (200, b"all of it")


@pytest.mark.parametrize(
    ("request_bytes", "status", "said"),
    [
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400, b"curl -x"),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 400, b"no tunnels"),
        (b"GET http://127.0.0.1/ HTTP/1.0\r\n\r\n", 400, b"HTTP/1.1"),
        (b"frob\r\n\r\n", 400, b"HTTP/1.1"),
        (b"GET http://127.0.0.1/ HTTP/1.1\r\nA: " + b"x" * 70_000 + b"\r\n\r\n", 400, b"longer than"),
        (b"GET http://a/ HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 400, b"upgrade"),
    ],
    ids=["not to a proxy", "tunnel", "old", "no http", "long", "upgrade"],
)
async def test_what_is_no_request_for_a_proxy(request_bytes: bytes, status: int, said: bytes) -> None:
    async with pair() as proxy:
        answer = await proxy.raw(request_bytes)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert said in answer
    assert proxy.told == []


async def test_what_is_no_request_on_a_stream() -> None:
    told: list[tuple[PeerId, str, str]] = []
    client = BackendClient()
    far = FarProxy(client, AllowedTargets(), peers=None, on_request=lambda *what: told.append(what))
    async with (
        temporary_host(None, listen_addrs=(LOOPBACK,), handlers={PROTOCOL: far.handle}) as there,
        temporary_host(None) as here,
    ):
        peer = await here.connect(with_peer(there.listen_addrs()[0], there.peer_id))
        for request in (b"GET / HTTP/1.1\r\n\r\n", b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", b"\x00\x01\r\n\r\n"):
            stream = await here.open_stream(peer, PROTOCOL, first=request)
            async with asyncio.timeout(PATIENCE_S):
                assert (await stream.read()).startswith(b"HTTP/1.1 400 ")
            await stream.close()
    await client.close()


async def test_a_port_that_is_taken() -> None:
    async def nowhere(_first: bytes) -> Stream:
        raise NetworkTimeout("never asked")

    async with NearProxy(nowhere, "127.0.0.1", 0) as near:
        with pytest.raises(ListenFailed, match="--listen"):
            async with NearProxy(nowhere, *near.address):
                pytest.fail("it listens")
        reader, writer = await asyncio.open_connection(*near.address)
        writer.write(b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 504 ")
        writer.close()
        await writer.wait_closed()


async def test_leaving_ends_what_is_under_way() -> None:
    async with MockModelServer(Plan(hang=True)) as server:
        async with pair() as proxy:
            asking = asyncio.create_task(proxy.raw(b"GET %b/ HTTP/1.1\r\nHost: a\r\n\r\n" % server.url.encode()))
            seen = await server.next_request()
        async with asyncio.timeout(PATIENCE_S):
            await seen.gone.wait()
            with contextlib.suppress(ConnectionError):
                assert await asking == b""
