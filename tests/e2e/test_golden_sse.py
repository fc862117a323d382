"""The golden streams through an Input and a Worker: what model servers write, and what a client gets of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from aicn.endpoints import Endpoint
from support.golden_sse import CASES, DONE, FINISH, ROLE, USAGE, WORDS, Golden
from support.mock_model_server import Plan
from support.processes import POLL_S

from .conftest import MODEL, PROJECT, Network

pytestmark = pytest.mark.asyncio(loop_scope="module")

_MESSAGES = [{"role": "user", "content": "hi"}]
_ASKS: dict[Endpoint, dict[str, Any]] = {
    Endpoint.CHAT: {"messages": _MESSAGES},
    Endpoint.COMPLETIONS: {"prompt": "hi"},
    Endpoint.RESPONSES: {"input": "hi"},
    Endpoint.MESSAGES: {"messages": _MESSAGES, "max_tokens": 9},
    Endpoint.SPEECH: {"input": "hi", "voice": "v", "stream_format": "sse"},
}
_DYING_GAP_MS = 100
"""A reset may overtake what was written just before it; it must not overtake all."""

OLD, NEW = "/api/v0", "/v1"
PAIRS = [(NEW, case) for case in CASES] + [(OLD, case) for case in CASES if case.endpoint is Endpoint.CHAT]


def _url(network: Network, api: str, endpoint: Endpoint) -> str:
    return network.proxy_url if api == OLD else f"{network.entry.api.removesuffix(OLD)}/v1/{endpoint}"


def _ask(case: Golden) -> dict[str, Any]:
    asked = {"project": PROJECT, "model": MODEL, "stream": True, **_ASKS[case.endpoint]}
    return {**asked, "stream_options": {"include_usage": True}} if case.wants_usage else asked


def _play(network: Network, case: Golden) -> None:
    plan = Plan(chunks=case.writes, piece_bytes=case.piece_bytes)
    if case.dies:
        plan = Plan(chunks=(*case.writes, b""), gap_ms=_DYING_GAP_MS, die_after=len(case.writes) + 1)
    for server in network.servers:
        server.plan = plan


async def _read(network: Network, api: str, case: Golden) -> bytes:
    async with network.http.post(_url(network, api, case.endpoint), json=_ask(case)) as answer:
        body = await answer.read()
        assert answer.status == 200, body
        assert answer.content_type == "text/event-stream"
        return body


def _without_error(body: bytes) -> bytes:
    """Return what stands before the error event of the network, which must be the last one."""
    lines = body.removesuffix(b"\n\n").splitlines(keepends=True)
    said = json.loads(lines.pop().removeprefix(b"data: "))
    assert said["error"]["message"]
    if lines and lines[-1] == b"event: error\n":
        lines.pop()
    return b"".join(lines)


@pytest.mark.parametrize(("api", "case"), PAIRS, ids=lambda value: value if isinstance(value, str) else value.name)
async def test_golden_stream(shared: Network, api: str, case: Golden) -> None:
    _play(shared, case)
    body = await _read(shared, api, case)
    if not case.cut:
        assert body == case.seen
    elif case.dies:
        got = _without_error(body)
        assert got
        assert case.seen.startswith(got)
    else:
        assert _without_error(body) == case.seen
    assert len(shared.servers[0].seen) + len(shared.servers[1].seen) == 1


@pytest.mark.parametrize("api", [OLD, NEW])
async def test_usage_is_asked_for_and_kept_from_a_client_that_did_not(shared: Network, api: str) -> None:
    for server in shared.servers:
        server.plan = Plan(lifelike=True)
    case = next(case for case in CASES if case.name == "whole events")
    body = await _read(shared, api, case)
    assert USAGE_KEY not in body
    assert body.endswith(DONE)
    [seen] = [seen for server in shared.servers for seen in server.seen]
    assert seen.json()["stream_options"] == {"include_usage": True}


USAGE_KEY = b'"usage": {'


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("api", [OLD, NEW])
async def test_model_server_that_refuses_the_wish_for_usage_is_asked_without(
    shared: Network, api: str, status: int
) -> None:
    refusal = json.dumps({"error": {"message": "unknown field stream_options"}}).encode()
    answer = Plan(chunks=(ROLE, *WORDS, FINISH, DONE))
    for server in shared.servers:
        server.once = [Plan(status=status, body=refusal)]
        server.plan = answer
    case = next(case for case in CASES if case.name == "whole events")
    assert await _read(shared, api, case) == case.seen
    asked = [[seen.json() for seen in server.seen] for server in shared.servers if server.seen]
    assert [["stream_options" in one for one in server] for server in asked] == [[True, False]]


async def test_refusal_of_what_the_client_wrote_is_the_clients(shared: Network) -> None:
    refusal = json.dumps({"error": {"message": "temperature is too high", "type": "invalid_request_error"}}).encode()
    for server in shared.servers:
        server.plan = Plan(status=400, body=refusal)
    url = _url(shared, NEW, Endpoint.CHAT)
    asked = {"model": MODEL, "messages": _MESSAGES, "stream": True, "stream_options": {"include_usage": True}}
    async with shared.http.post(url, json=asked) as answer:
        assert (answer.status, await answer.read()) == (400, refusal)
    assert len(shared.servers[0].seen) + len(shared.servers[1].seen) == 1


async def _tokens(network: Network) -> dict[str, float]:
    """Return the tokens of questions and answers that the Input has counted so far."""
    async with network.http.get(f"{network.entry.api}/debug/metrics/prometheus") as answer:
        lines = (await answer.text()).splitlines()
    counted = dict.fromkeys(("input", "output"), 0.0)
    for line in lines:
        if line.startswith("aicn_tokens_total{") and 'side="input"' in line:
            kind = next(kind for kind in counted if f'type="{kind}"' in line)
            counted[kind] += float(line.rpartition(" ")[2])
    return counted


async def test_usage_that_the_client_does_not_see_is_counted(shared: Network) -> None:
    case = next(case for case in CASES if case.name == "usage not asked for")
    before = await _tokens(shared)
    expected = {
        "input": before["input"] + USAGE["prompt_tokens"],
        "output": before["output"] + USAGE["completion_tokens"],
    }
    _play(shared, case)
    assert await _read(shared, NEW, case) == case.seen
    async with asyncio.timeout(10):
        # It is counted when the answer is over, which the client may know first.
        while True:
            counted = await _tokens(shared)
            if counted != before:
                break
            await asyncio.sleep(POLL_S)
    assert counted == expected
