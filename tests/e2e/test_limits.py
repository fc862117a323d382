"""Limits at a real Input, where several callers want the same places: fair turns, places that are given back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from support.command_line import aicn
from support.keyed_gateway import BODY, DEADLINE_S, NAME, KeyedGateway, keyed_gateway
from support.mock_model_server import Plan

V0_PATH = "/api/v0/chat/completion/proxy"


@pytest.fixture
async def gateway(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[KeyedGateway]:
    async with keyed_gateway(tmp_path, getattr(request, "param", {})) as made:
        yield made


def stream_of(gateway: KeyedGateway, secret: str) -> aiohttp.client._RequestContextManager:
    """Ask for a stream, as a caller from elsewhere."""
    headers = {"Host": NAME, "Authorization": f"Bearer {secret}"}
    return gateway.http.post(f"{gateway.url}/v1/chat/completions", headers=headers, json={**BODY, "stream": True})


async def queued(gateway: KeyedGateway) -> int:
    """Return how many requests wait for their turn."""
    async with gateway.http.get(f"{gateway.entry.api}/debug/metrics/prometheus") as answer:
        lines = (await answer.text()).splitlines()
    return next(int(float(line.split()[-1])) for line in lines if line.startswith("aicn_requests_queued"))


async def until_queued(gateway: KeyedGateway, number: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while await queued(gateway) != number:  # noqa: ASYNC110 - only an answer tells
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("gateway", [{"MaxConcurrent": 1}], indirect=True)
async def test_one_who_sends_many_delays_another_by_one_turn(gateway: KeyedGateway) -> None:
    _, many = await gateway.add("--name", "many")
    _, few = await gateway.add("--name", "few")
    gateway.server.once = [Plan(hang=True)]
    first = asyncio.create_task(gateway.ask(many, user="many"))
    await gateway.server.next_request()
    crowd = [asyncio.create_task(gateway.ask(many, user="many")) for _ in range(8)]
    await until_queued(gateway, 8)
    late = asyncio.create_task(gateway.ask(few, user="few"))
    await until_queued(gateway, 9)
    first.cancel()
    assert [answer[0] for answer in await asyncio.gather(late, *crowd)] == [200] * 9
    users = [seen.json()["user"] for seen in gateway.server.seen[1:]]
    assert users.index("few") <= 1, users


@pytest.mark.parametrize("gateway", [{"MaxConcurrent": 1, "QueueLength": 1}], indirect=True)
async def test_who_hangs_up_in_the_queue_frees_the_place_there(gateway: KeyedGateway) -> None:
    _, secret = await gateway.add("--name", "Ann")
    gateway.server.once = [Plan(hang=True)]
    holds = asyncio.create_task(gateway.ask(secret))
    await gateway.server.next_request()
    waits = asyncio.create_task(gateway.ask(secret))
    await until_queued(gateway, 1)
    assert (await gateway.ask(secret))[0] == 429
    waits.cancel()
    await until_queued(gateway, 0)
    again = asyncio.create_task(gateway.ask(secret))
    await until_queued(gateway, 1)
    holds.cancel()
    assert (await again)[0] == 200
    assert len(gateway.server.seen) == 2, "who had left was never brought to the model server"


async def test_a_stream_holds_its_place_to_its_end(gateway: KeyedGateway) -> None:
    _, secret = await gateway.add("--name", "Ann", "--concurrent", "1")
    gateway.server.once = [Plan(events=3, gap_ms=600)]
    async with stream_of(gateway, secret) as answer:
        assert answer.status == 200
        await answer.content.readany()
        second = asyncio.create_task(gateway.ask(secret))
        await until_queued(gateway, 1)
        assert len(gateway.server.seen) == 1
        assert b"[DONE]" in await answer.content.read()
    assert (await second)[0] == 200


async def test_tokens_of_a_stream_that_is_left_early_count(gateway: KeyedGateway) -> None:
    number, secret = await gateway.add("--name", "Ann", "--tokens-per-minute", "1000")
    gateway.server.once = [Plan(events=200, gap_ms=1, done=False), Plan(events=200, gap_ms=10)]
    async with stream_of(gateway, secret) as answer:
        head = answer.headers
        got = b""
        while got.count(b"data:") < 20:
            got += await answer.content.readany()
        answer.close()
    assert int(head["x-ratelimit-remaining-tokens"]) < 1000
    path = gateway.entry.config_path
    async with asyncio.timeout(DEADLINE_S):
        while not (rows := aicn("ledger", path, "--json", "--key", number, cwd=path.parent).stdout):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    assert json.loads(rows)["completion_tokens"] >= 20


async def test_the_operators_surface_tells_when_to_come_again(gateway: KeyedGateway) -> None:
    _, secret = await gateway.add("--name", "Ann", "--requests-per-minute", "1")
    v0 = {"project": "P", "model": "m"}
    assert (await gateway.ask(secret, path=V0_PATH, **v0))[0] == 200
    status, headers, body = await gateway.ask(secret, path=V0_PATH, **v0)
    assert (status, sorted(body)) == (429, ["code", "message"])
    assert 50 <= int(headers["Retry-After"]) <= 60
    # The limit is the key's, whichever surface it is used on.
    assert (await gateway.ask(secret))[0] == 429


async def test_a_secret_is_nobodys_business_but_this_nodes(gateway: KeyedGateway) -> None:
    _, secret = await gateway.add("--name", "Ann")
    headers = {"Host": NAME, "x-api-key": secret, "Cookie": f"key={secret}"}
    for path in ("/v1/chat/completions", V0_PATH):
        url = f"{gateway.url}{path}"
        async with gateway.http.post(url, headers=headers, json={**BODY, "project": "P"}) as answer:
            assert answer.status == 200
    assert (await gateway.ask(secret))[0] == 200
    assert (await gateway.ask(secret + "x"))[0] == 401
    for seen in gateway.server.seen:
        assert secret not in str(seen.headers)
    assert len(gateway.server.seen) == 3
    assert await gateway.entry.stop() == 0
    stored = b"".join(path.read_bytes() for path in gateway.entry.folder.rglob("*") if path.is_file())
    assert secret.encode() not in stored, "neither log nor datastore has it"
    assert b"Ann" in stored
