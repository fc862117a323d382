"""Our tools and Go peers: pings, and the HTTP proxy with either of them at either end."""

from __future__ import annotations

import json
import time

import aiohttp
import pytest

from aicn import defaults
from aicn.backends import BackendClient
from aicn.errors import DialFailed, NetworkTimeout
from aicn.ids import Multiaddr
from aicn.multiaddr import with_peer
from aicn.p2p.host import Stream
from aicn.tools.ping import Pinger, RoundTrips, ping_once
from aicn.tools.proxy_access import AllowedTargets
from aicn.tools.proxy_far import FarProxy
from aicn.tools.proxy_near import NearProxy
from aicn.tools.temporary_host import temporary_host
from interop.conftest import OracleStart
from interop.oracle_process import PATIENCE_S
from support.mock_model_server import MockModelServer, Plan

PSK = bytes(range(32))
LOOPBACK = Multiaddr("/ip4/127.0.0.1/tcp/0")
both_networks = pytest.mark.parametrize("psk", [PSK, None], ids=["psk", "public"])


def session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S))


@both_networks
async def test_pings(start_oracle: OracleStart, psk: bytes | None) -> None:
    go = await start_oracle(psk=psk)
    async with temporary_host(psk) as host:
        pinger, results = Pinger(host, Multiaddr(go.addr), timeout_s=10), RoundTrips()
        for _ in range(20):
            assert await ping_once(pinger, results) is not None
        assert (results.sent, results.answered) == (20, 20)
        assert 0 < results.min_ms <= results.mean_ms <= results.max_ms < 1_000
        assert [one["peer"] for one in await go.connections()] == [host.peer_id]
        await pinger.close()


async def test_pings_through_a_go_relay(start_oracle: OracleStart) -> None:
    relay = await start_oracle(psk=PSK, relay_service=True, public=True)
    go = await start_oracle(psk=PSK, listen="none")
    await go.call("reserve", addr=relay.addr)
    async with temporary_host(PSK) as host:
        pinger = Pinger(host, Multiaddr(f"{relay.addr}/p2p-circuit/p2p/{go.peer}"), timeout_s=20)
        assert await pinger.ping() > 0
        assert pinger.connection is not None
        assert pinger.connection.relayed
        await pinger.close()


async def test_pings_to_a_peer_that_goes(start_oracle: OracleStart) -> None:
    go = await start_oracle(psk=PSK)
    async with temporary_host(PSK) as host:
        pinger = Pinger(host, Multiaddr(go.addr), timeout_s=5)
        assert await pinger.ping() > 0
        await go.kill()
        with pytest.raises((DialFailed, NetworkTimeout)):
            await pinger.ping()


@both_networks
async def test_a_go_far_side(start_oracle: OracleStart, psk: bytes | None) -> None:
    go = await start_oracle(psk=psk)
    await go.call("proxy_serve")
    async with temporary_host(psk) as host, MockModelServer(Plan(events=20, gap_ms=20, stamp=True)) as server:

        async def open_stream(first: bytes) -> Stream:
            peer = await host.connect(Multiaddr(go.addr))
            return await host.open_stream(peer, defaults.HTTP_PROXY_PROTOCOL, first=first)

        async with NearProxy(open_stream, "127.0.0.1", 0) as near, session() as client:
            await check(client, server, f"http://127.0.0.1:{near.address[1]}")
            async with client.get("http://127.0.0.1:1/", proxy=f"http://127.0.0.1:{near.address[1]}") as got:
                assert (got.status, got.headers["x-aicn-error"]) == (502, "stream_reset")
    outcomes = [(await go.event("proxied"))["outcome"] for _ in range(3)]
    assert outcomes[:2] == ["answered"] * 2
    assert "connection refused" in outcomes[2]


async def test_a_go_near_side(start_oracle: OracleStart) -> None:
    go = await start_oracle(psk=PSK)
    backends = BackendClient()
    far = FarProxy(backends, AllowedTargets(), peers={go.peer}, on_request=lambda *_: None)
    handlers = {defaults.HTTP_PROXY_PROTOCOL: far.handle}
    async with (
        temporary_host(PSK, listen_addrs=(LOOPBACK,), handlers=handlers) as host,
        MockModelServer(Plan(events=20, gap_ms=20, stamp=True)) as server,
        session() as client,
    ):
        await go.connect(with_peer(host.listen_addrs()[0], host.peer_id))
        proxy = "http://" + (await go.call("proxy_listen", peer=host.peer_id))["addr"]
        await check(client, server, proxy)
        async with client.get("http://192.0.2.1/", proxy=proxy) as got:
            assert (got.status, got.headers["x-aicn-error"]) == (403, "target_not_allowed")
    await backends.close()


async def check(client: aiohttp.ClientSession, server: MockModelServer, proxy: str) -> None:
    """A stream whose events arrive when they are written, and bodies both ways."""
    late_ms = []
    async with client.post(server.chat_url, proxy=proxy, json={"stream": True}) as got:
        async for line in got.content:
            if line.startswith(b"data: {"):
                written_ns = json.loads(line.removeprefix(b"data:"))["written_ns"]
                late_ms.append((time.monotonic_ns() - written_ns) / 1e6)
    assert len(late_ms) == 20
    assert sorted(late_ms)[10] < 20
    body = bytes(range(256)) * 1_000
    server.once = [Plan(status=201, body=body[::-1], headers={"X-Theirs": "1"})]
    async with client.put(f"{server.url}/x?y=1", proxy=proxy, data=body, headers={"X-Ours": "1"}) as got:
        assert (got.status, got.headers["X-Theirs"], await got.read()) == (201, "1", body[::-1])
    seen = server.seen[-1]
    assert (seen.method, seen.path, seen.query, seen.body) == ("PUT", "/x", "y=1", body)
    assert (seen.header("x-ours"), seen.header("host")) == ("1", server.url.removeprefix("http://"))
