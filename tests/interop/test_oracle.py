"""The oracle against itself: what it says of us can be believed only if it is right about its own kind."""

from __future__ import annotations

import asyncio
import shutil
import subprocess

import pytest

from interop.conftest import OracleStart, without_go
from interop.oracle_build import SOURCE, OracleFailed
from interop.waiting import eventually

PSK = bytes(range(32))
TOPIC = "DeepBrainChain"
EVENTS = [f"data: {number}\n\n".encode() for number in range(10)]


@pytest.mark.parametrize("router", ["floodsub", "gossipsub"])
@pytest.mark.parametrize("psk", [PSK, None], ids=["psk", "public"])
async def test_gossip(start_oracle: OracleStart, router: str, psk: bytes | None) -> None:
    one, two = await start_oracle(router=router, psk=psk), await start_oracle(router=router, psk=psk)
    assert await one.connect(two.addr) == two.peer
    await asyncio.gather(one.event("subscribed", peer=two.peer), two.event("subscribed", peer=one.peer))
    await one.publish(b"hello")
    heard, own = await asyncio.gather(two.event("gossip"), one.event("published"))
    assert (heard["from"], heard["data"]) == (one.peer, b"hello")
    assert len(heard["seqno"]) == 8
    assert heard["seqno"] == own["seqno"]


async def test_wrong_psk_is_refused(start_oracle: OracleStart) -> None:
    one, two = await start_oracle(psk=PSK), await start_oracle(psk=bytes(32))
    with pytest.raises(OracleFailed, match="connect"):
        await one.connect(two.addr, timeout_ms=2_000)


async def test_rendezvous_from_client_through_server(start_oracle: OracleStart) -> None:
    server = await start_oracle(psk=PSK)
    clients = [await start_oracle(psk=PSK, dht="client") for _ in range(2)]
    for client in clients:
        await client.connect(server.addr)
        await client.routing_peer(server.peer)
        await client.provide(TOPIC)
    one, two = clients

    async def found() -> bool:
        return bool((await one.find(TOPIC)).get(two.peer))

    await eventually("the record has arrived", found)
    assert await one.find_peer(two.peer)


async def test_identify_and_ping(start_oracle: OracleStart) -> None:
    one, two = await start_oracle(psk=PSK), await start_oracle(psk=PSK)
    await one.connect(two.addr)
    told = await one.identify(two.peer, "/floodsub/1.0.0")
    assert told["protocol_version"] == "aicn/0.0.1"
    assert {"/chat-proxy/0.0.1", "/dbc/kad/1.0.0", "/floodsub/1.0.0"} <= set(told["protocols"])
    assert await one.ping(two.peer) > 0


async def test_chat_proxy_whole_and_cut(start_oracle: OracleStart) -> None:
    client, server = await start_oracle(psk=PSK), await start_oracle(psk=PSK)
    await client.connect(server.addr)
    await server.serve([b'{"ok":true}'], headers={"Content-Type": "application/json"})
    answer = await client.request(server.peer, "/x?project=P&model=m&cid=", body=b"{}", headers={"X-A": "b"})
    asked = await server.event("request")
    assert (asked["method"], asked["target"], asked["body"]) == ("POST", "/x?project=P&model=m&cid=", b"{}")
    assert asked["headers"]["X-A"] == ["b"]
    assert (answer.status, answer.body, answer.content_length) == (200, b'{"ok":true}', 11)
    assert (answer.end, answer.after) == ("eof", "eof")

    await server.serve(EVENTS, chunked=True, gap_ms=20)
    answer = await client.request(server.peer, "/x?model=m")
    assert [chunk.data for chunk in answer.chunks] == EVENTS
    assert answer.chunks[-1].at_ms - answer.chunks[0].at_ms >= 150

    await server.serve(EVENTS, chunked=True, cut="reset", cut_after=3)
    assert (await client.request(server.peer)).end == "reset"
    await server.serve(EVENTS, chunked=True, cut="close", cut_after=3)
    answer = await client.request(server.peer)
    assert (answer.body, answer.end) == (b"".join(EVENTS[:3]), "truncated")


async def test_cancel_is_seen_at_once(start_oracle: OracleStart) -> None:
    client, server = await start_oracle(psk=PSK), await start_oracle(psk=PSK)
    await client.connect(server.addr)
    await server.serve(kind="hang")
    asking = asyncio.create_task(client.request(server.peer, tag="one"))
    await server.event("request")
    at_us = await client.cancel("one")
    outcome = await server.event("answered")
    assert (outcome["outcome"], outcome["how"]) == ("cancelled", "reset")
    assert outcome["at_unix_us"] - at_us < 200_000
    assert (await asking).status == 0


async def test_circuit_through_relay(start_oracle: OracleStart) -> None:
    relay = await start_oracle(psk=PSK, relay_service=True, public=True)
    hidden, seeker = await start_oracle(psk=PSK, listen="none"), await start_oracle(psk=PSK)
    await hidden.connect(relay.addr)
    await hidden.reserve(relay.addr)
    await seeker.connect(f"{relay.addr}/p2p-circuit/p2p/{hidden.peer}")
    assert [one["relayed"] for one in await seeker.connections(hidden.peer)] == [True]


async def test_a_refused_command_names_the_cause(start_oracle: OracleStart) -> None:
    one = await start_oracle()
    with pytest.raises(OracleFailed, match='no command "nonsense"'):
        await one.call("nonsense")
    with pytest.raises(OracleFailed, match="unknown field"):
        await one.call("ping", nobody=True)


def test_source_is_formatted_and_vetted() -> None:
    go, gofmt = shutil.which("go"), shutil.which("gofmt")
    if go is None or gofmt is None:
        without_go("go toolchain missing: source of the oracle not checked")
    assert _run([gofmt, "-l", "."]) == ""
    assert _run([go, "vet", "."]) == ""


def _run(command: list[str]) -> str:
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    return done.stdout + done.stderr
