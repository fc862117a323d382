"""Keys and limits at a real Input: made on the command line, taken up by the running node, counted in the ledger.

A caller from elsewhere is one that comes under another name than this machine's, as through a reverse proxy.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aicn import defaults
from aicn.ids import PeerId
from support.command_line import aicn, refused
from support.keyed_gateway import DEADLINE_S, NAME, KeyedGateway, keyed_gateway
from support.mock_model_server import Plan

SPENT = b'{"id":"c","object":"chat.completion","choices":[{}],"usage":{"prompt_tokens":30,"completion_tokens":70}}'


@pytest.fixture
async def gateway(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[KeyedGateway]:
    async with keyed_gateway(tmp_path, getattr(request, "param", {})) as made:
        yield made


async def test_a_key_opens_inference_from_elsewhere_and_nothing_else(gateway: KeyedGateway) -> None:
    status, headers, body = await gateway.ask()
    assert (status, body["error"]["code"]) == (401, "invalid_api_key")
    assert headers["WWW-Authenticate"] == "Bearer"
    _, secret = await gateway.add("--name", "Ann")
    assert (await gateway.ask(secret))[0] == 200
    assert (await gateway.ask(secret + "x"))[0] == 401
    v0 = {"project": "P", "model": "m"}
    assert (await gateway.ask(secret, path="/api/v0/chat/completion/proxy", **v0))[0] == 200
    status, _, body = await gateway.ask(secret, path="/api/v0/swarm/peers", method="GET")
    assert (status, body["message"]) == (403, "this route needs an admin's key; this one is for inference")
    assert (await gateway.ask(path="/api/v0/swarm/peers", method="GET"))[0] == 403
    # On this machine nothing is needed, and what SDKs send where none is needed is no key of ours.
    local = gateway.url.removeprefix("http://")
    assert (await gateway.ask("none", host=local))[0] == 200
    assert (await gateway.ask("sk-aicn-of-yesterday", host=local))[0] == 401


async def test_an_admins_key_opens_the_operators_routes(gateway: KeyedGateway) -> None:
    _, secret = await gateway.add("--name", "operator", "--admin")
    assert (await gateway.ask(secret, path="/api/v0/swarm/peers", method="GET"))[0] == 200
    assert (await gateway.ask(secret))[0] == 200


async def test_a_revoked_key_stops_working_while_the_node_runs(gateway: KeyedGateway) -> None:
    number, secret = await gateway.add("--name", "Ann")
    await asyncio.to_thread(gateway.keys, "revoke", number)
    async with asyncio.timeout(DEADLINE_S):
        while (await gateway.ask(secret))[0] != 401:  # noqa: ASYNC110 - only an answer tells
            await asyncio.sleep(0.05)
    assert "revoked" in gateway.keys("list")
    assert secret not in gateway.keys("list", "--json")


async def test_an_expired_key_stops_working_by_itself(gateway: KeyedGateway) -> None:
    _, secret = await gateway.add("--name", "short", "--expires", "3s")
    async with asyncio.timeout(DEADLINE_S):
        while (await gateway.ask(secret))[0] != 401:  # noqa: ASYNC110 - only an answer tells
            await asyncio.sleep(0.1)


async def test_models_of_a_key(gateway: KeyedGateway) -> None:
    _, secret = await gateway.add("--name", "Ann", "--model", "P/*")
    assert (await gateway.ask(secret))[0] == 200
    status, _, body = await gateway.ask(secret, model="other")
    assert (status, body["error"]["code"], body["error"]["param"]) == (403, "model_not_allowed", "model")
    _, _, listed = await gateway.ask(secret, path="/v1/models", method="GET")
    assert [each["id"] for each in listed["data"]] == ["m"]
    assert (await gateway.ask(secret, path="/v1/models/m", method="GET"))[0] == 200
    status, _, body = await gateway.ask(secret, path="/v1/models/other", method="GET")
    assert (status, body["error"]["code"]) == (403, "model_not_allowed")
    # The operator's surface tells such a key no more, and lets it ask no more, by whatever way.
    for path, told in (("list?", ["P"]), ("models?project=P", ["m"]), ("models?project=Q", [])):
        _, _, body = await gateway.ask(secret, path=f"/api/v0/ai/projects/{path}", method="GET")
        assert body["data"] == told
    peers = "/api/v0/ai/projects/peers"
    assert (await gateway.ask(secret, path=f"{peers}?project=P&model=m", method="GET"))[0] == 200
    assert (await gateway.ask(secret, path=f"{peers}?project=Q&model=other", method="GET"))[0] == 403
    asked = {"project": "Q", "model": "other", "node_id": gateway.worker.peer}
    for path in ("chat/completion", "chat/completion/proxy"):
        assert (await gateway.ask(secret, path=f"/api/v0/{path}", **asked))[0] == 403
    assert (await gateway.ask(secret, model="Q/other"))[0] == 403
    assert (await gateway.ask(secret, path="/v1/responses", model="Q/other", input="hi"))[0] == 403
    assert len(gateway.server.seen) == 1
    _, unlimited = await gateway.add("--name", "Bob")
    _, _, body = await gateway.ask(unlimited, path="/api/v0/ai/projects/list", method="GET")
    assert body["data"] == ["P", "Q"]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(("named", "passes"), [("m", True), (None, True), ("other", False)])
async def test_a_form_names_no_model_that_its_key_may_not_ask(
    gateway: KeyedGateway, named: str | None, *, passes: bool, large: bool
) -> None:
    _, secret = await gateway.add("--name", "Ann", "--model", "P/*")
    form = aiohttp.FormData()
    form.add_field("image", b"x" * (100_000 if large else 10), filename="a.png")
    if named is not None:
        form.add_field("model", named)
    headers = {"Host": NAME, "Authorization": f"Bearer {secret}"}
    url = f"{gateway.url}/api/v0/image/edit/proxy?project=P&model=m"
    async with gateway.http.post(url, headers=headers, data=form) as answer:
        told = await answer.text()
    # The model server wants more than that of a form, and says so of what it gets.
    assert answer.status == 400
    assert ("names another model" in told) is not passes
    assert len(gateway.server.seen) == passes


async def test_what_is_refused_unread_is_told_in_the_log_and_counted(gateway: KeyedGateway) -> None:
    number, secret = await gateway.add("--name", "Ann")
    wrong: dict[str, dict[str, Any]] = {"/v1/chat/completions": {"model": "nobody's"}, "/v1/embeddings": {"model": 7}}
    for path, more in wrong.items():
        status, headers, _ = await gateway.ask(secret, path=path, **more)
        assert status == (404 if path.endswith("completions") else 400)
        name = next(value for name, value in headers.items() if name.lower() == "x-request-id")
        told = await gateway.entry.until_logged(f"request_id={name} ")
        assert f" key={number} " in told
        assert f" outcome=refused status={status} " in told
    async with gateway.http.get(f"{gateway.entry.api}/debug/metrics/prometheus") as answer:
        counted = await answer.text()
    (line,) = (
        each for each in counted.splitlines() if each.startswith("aicn_requests_total{") and "embeddings" in each
    )
    assert 'outcome="refused"' in line
    assert line.endswith(" 1.0")
    assert (await gateway.ask("sk-aicn-wrong"))[0] == 401
    await gateway.entry.until_logged("refused '/v1/chat/completions' of 127.0.0.1: this API key is wrong")


async def test_requests_beyond_the_limit_are_refused_with_the_time_to_come_again(
    gateway: KeyedGateway,
) -> None:
    _, secret = await gateway.add("--name", "Ann", "--requests-per-minute", "2")
    _, headers, _ = await gateway.ask(secret)
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("2", "1")
    await gateway.ask(secret)
    status, headers, body = await gateway.ask(secret)
    assert (status, body["error"]["type"], body["error"]["code"]) == (429, "rate_limit_error", "rate_limit_exceeded")
    assert 1 <= int(headers["Retry-After"]) <= 30
    assert len(gateway.server.seen) == 2


async def test_tokens_of_a_month_are_used_up_and_stay_so_over_a_restart(gateway: KeyedGateway) -> None:
    gateway.server.plan = Plan(body=SPENT)
    number, secret = await gateway.add("--name", "Ann", "--tokens-per-month", "150")
    assert [(await gateway.ask(secret))[0] for _ in range(2)] == [200, 200]
    # A client has its answer a moment before what it took is counted.
    await until_written(gateway, number, requests=2)
    assert (await gateway.ask(secret))[0] == 429
    await gateway.entry.kill()
    await gateway.entry.start()
    await gateway.nodes.until_seen(gateway.entry, "P", "m", gateway.worker)
    status, _, body = await gateway.ask(secret)
    assert (status, body["error"]["code"]) == (429, "insufficient_quota")


async def until_written(gateway: KeyedGateway, key: str, *, requests: int) -> list[dict[str, str]]:
    """Wait until the ledger has so many requests of a key; return its rows."""
    path = str(gateway.entry.config_path)
    async with asyncio.timeout(DEADLINE_S):
        while True:
            done = await asyncio.to_thread(aicn, "ledger", path, "--csv", "--key", key, cwd=Path(path).parent)
            assert done.returncode == 0, done.stderr
            rows = list(csv.DictReader(io.StringIO(done.stdout)))
            if sum(int(row["requests"]) for row in rows) >= requests:
                return rows
            await asyncio.sleep(defaults.LEDGER_WRITE_DELAY_S / 5)


async def test_the_ledger_tells_who_used_what_where(gateway: KeyedGateway) -> None:
    gateway.server.plan = Plan(body=SPENT)
    number, secret = await gateway.add("--name", "=Ann()")
    await gateway.ask(secret)
    await gateway.ask(secret)
    gateway.server.plan = Plan(status=400, body=b'{"error":{"message":"no"}}')
    await gateway.ask(secret)
    (row,) = await until_written(gateway, number, requests=3)
    worker: PeerId = PeerId(gateway.worker.peer)
    assert row["key_name"] == "'=Ann()", "no formula of a spreadsheet"
    assert (row["key"], row["project"], row["model"], row["node"]) == (number, "P", "m", worker)
    assert (row["requests"], row["failed"], row["prompt_tokens"], row["completion_tokens"]) == ("3", "1", "60", "140")


async def test_requests_of_one_key_wait_for_each_other_and_delay_nobody_else(gateway: KeyedGateway) -> None:
    _, one = await gateway.add("--name", "one", "--concurrent", "1")
    _, other = await gateway.add("--name", "other")
    gateway.server.once = [Plan(hang=True)]
    first = asyncio.create_task(gateway.ask(one))
    await gateway.server.next_request()
    second = asyncio.create_task(gateway.ask(one))
    assert (await gateway.ask(other))[0] == 200
    await gateway.server.next_request()
    assert not second.done()
    first.cancel()
    status, headers, _ = await second
    assert status == 200
    assert int(headers["x-aicn-queue-ms"]) > 0


@pytest.mark.parametrize("gateway", [{"MaxConcurrent": 1, "QueueLength": 1, "QueueTimeout": "1s"}], indirect=True)
async def test_a_node_at_its_limit_says_so(gateway: KeyedGateway) -> None:
    _, one = await gateway.add("--name", "one")
    _, other = await gateway.add("--name", "other")
    gateway.server.once = [Plan(hang=True)]
    holds = asyncio.create_task(gateway.ask(one))
    await gateway.server.next_request()
    waits = [asyncio.create_task(gateway.ask(secret)) for secret in (one, one, other)]
    refused_at_once, _ = await asyncio.wait(waits[:2], return_when=asyncio.FIRST_COMPLETED)
    assert len(refused_at_once) == 1, "the line of a key is one long"
    for status, headers, body in await asyncio.gather(*waits):
        assert (status, body["error"]["code"]) == (429, "too_many_requests")
        assert headers["Retry-After"] == "1"
    holds.cancel()
    assert (await gateway.ask(other))[0] == 200


def test_what_the_command_line_refuses(tmp_path: Path) -> None:
    (tmp_path / "datastore").mkdir()

    def add(*words: str) -> str:
        return refused(aicn("keys", "add", "datastore", *words, cwd=tmp_path), 2)

    assert "the name is empty" in add("--name", " ")
    assert "is over already" in add("--name", "a", "--expires", "2020-01-01")
    assert "is no time" in add("--name", "a", "--expires", "soon")
    assert "names no model; write PROJECT/MODEL" in add("--name", "a", "--model", "m")
    assert "no key with the id or name 'x'" in refused(aicn("keys", "revoke", "datastore", "x", cwd=tmp_path), 2)
    assert "there is no datastore" in refused(aicn("keys", "list", "nowhere", cwd=tmp_path), 1)
    assert "choose one of --json and --csv" in refused(aicn("ledger", "datastore", "--json", "--csv", cwd=tmp_path), 2)


def test_keys_are_made_before_the_node_has_ever_run(tmp_path: Path) -> None:
    (tmp_path / "datastore").mkdir()
    done = aicn("keys", "add", "datastore", "--name", "Ann", "--tokens-per-minute", "5", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("sk-aicn-")
    assert "shown now and never again" in done.stderr
    listed = aicn("keys", "list", "datastore", cwd=tmp_path).stdout
    assert "Ann" in listed
    assert "5 tokens/min" in listed
    empty = aicn("ledger", "datastore", cwd=tmp_path)
    assert empty.stdout.splitlines()[-1].split() == ["total", "0", "0", "0", "0", "0"]
