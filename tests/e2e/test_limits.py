"""Limits at a real Input, where several callers want the same places: fair turns, places that are given back."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from support.command_line import aicn
from support.keyed_gateway import BODY, DEADLINE_S, NAME, KeyedGateway, keyed_gateway
from support.mock_model_server import Plan

SPENT = b'{"id":"c","object":"chat.completion","choices":[{}],"usage":{"prompt_tokens":30,"completion_tokens":70}}'
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
    assert (await until_written(gateway, number, requests=1))["completion_tokens"] >= 20


async def until_written(gateway: KeyedGateway, key: str, *, requests: int) -> dict[str, Any]:
    """Wait until the ledger has so many requests of a key at its one place; return what it tells of them."""
    path = gateway.entry.config_path
    async with asyncio.timeout(DEADLINE_S):
        while True:
            done = await asyncio.to_thread(aicn, "ledger", path, "--json", "--key", key, cwd=path.parent)
            if done.stdout and (row := json.loads(done.stdout))["requests"] == requests:
                return dict(row)
            await asyncio.sleep(0.2)


async def test_to_count_tokens_is_a_request_that_takes_none(gateway: KeyedGateway) -> None:
    number, secret = await gateway.add("--name", "Ann", "--requests-per-minute", "4", "--tokens-per-minute", "100")
    gateway.server.once = [Plan(body=SPENT)]
    assert (await gateway.ask(secret))[0] == 200
    # A client has its answer a moment before what it took is counted.
    await until_written(gateway, number, requests=1)
    assert (await gateway.ask(secret))[0] == 429, "its tokens are used up"
    asked = [await gateway.ask(secret, path="/v1/messages/count_tokens") for _ in range(4)]
    assert [status for status, _, _ in asked] == [200, 200, 200, 429]
    assert [list(body) for _, _, body in asked[:3]] == [["input_tokens"]] * 3
    row = await until_written(gateway, number, requests=4)
    assert row["prompt_tokens"] + row["completion_tokens"] == 100


async def burst(gateway: KeyedGateway, secret: str, number: int = 200) -> Counter[int]:
    """Ask so many times at once; return how often each status was answered."""
    return Counter(answer[0] for answer in await asyncio.gather(*(gateway.ask(secret) for _ in range(number))))


async def test_a_burst_gets_the_requests_of_its_minute_and_no_more(gateway: KeyedGateway) -> None:
    _, secret = await gateway.add("--name", "Ann", "--requests-per-minute", "20")
    began_s = time.monotonic()
    told = await burst(gateway, secret)
    flowed_in = (time.monotonic() - began_s) * 20 / 60
    assert set(told) == {200, 429}
    assert 20 <= told[200] <= 20 + flowed_in + 1
    assert len(gateway.server.seen) == told[200]


async def test_a_burst_of_a_key_holds_its_places_and_no_more(gateway: KeyedGateway) -> None:
    _, secret = await gateway.add("--name", "Ann", "--concurrent", "3")
    gateway.server.plan = Plan(first_byte_ms=50)
    told = await burst(gateway, secret)
    assert told == {200: 103, 429: 97}, "three have places, a hundred wait, and all others are sent away"
    arrivals = sorted(seen.arrived_s for seen in gateway.server.seen)
    assert len(arrivals) == 103
    # An answer takes 50 ms: the fourth may not come before the first has gone.
    assert min(later - early for early, later in zip(arrivals, arrivals[3:], strict=False)) > 0.049


async def test_a_burst_takes_little_more_than_is_left_of_the_month(gateway: KeyedGateway) -> None:
    gateway.server.plan = Plan(body=SPENT)
    _, secret = await gateway.add("--name", "Ann", "--tokens-per-month", "2000")
    for _ in range(10):
        assert (await gateway.ask(secret))[0] == 200
    gateway.server.plan = Plan(body=SPENT, first_byte_ms=500)
    told = await burst(gateway, secret)
    assert set(told) == {200, 429}
    assert 10 <= told[200] <= 12, "requests of this key take 100 tokens, as far as it knows 89"
    async with asyncio.timeout(DEADLINE_S):
        while (answer := await gateway.ask(secret))[2]["error"]["code"] == "too_many_requests":  # noqa: ASYNC110
            await asyncio.sleep(float(answer[1]["Retry-After"]))
    assert answer[2]["error"]["code"] == "insufficient_quota"


@pytest.mark.parametrize("path", ["/v1/chat/completions", V0_PATH])
async def test_what_answers_may_have_is_held_for_a_new_key(gateway: KeyedGateway, path: str) -> None:
    _, secret = await gateway.add("--name", "Ann", "--tokens-per-minute", "1000")
    gateway.server.plan = Plan(body=SPENT, hang=True)
    asked: dict[str, Any] = {
        "path": path,
        "project": "P",
        "model": "P/m" if path != V0_PATH else "m",
        "max_tokens": 400,
    }
    under_way = [asyncio.create_task(gateway.ask(secret, **asked)) for _ in range(2)]
    await gateway.server.next_request()
    await gateway.server.next_request()
    status, headers, _ = await gateway.ask(secret, **asked)
    assert (status, len(gateway.server.seen)) == (429, 2)
    assert int(headers["x-ratelimit-remaining-tokens"]) < 200
    for task in under_way:
        task.cancel()


async def test_who_waits_as_long_as_he_was_told_is_let_in(gateway: KeyedGateway) -> None:
    _, secret = await gateway.add("--name", "Ann", "--requests-per-minute", "40", "--tokens-per-minute", "60000")
    await burst(gateway, secret, 60)
    status, headers, _ = await gateway.ask(secret)
    assert status == 429
    await asyncio.sleep(int(headers["Retry-After"]))
    status, headers, _ = await gateway.ask(secret)
    assert (status, headers["x-ratelimit-limit-requests"]) == (200, "40")


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
