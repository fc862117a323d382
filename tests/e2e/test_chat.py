"""A chat through Input, libp2p and Worker: what the model server wrote is what the client reads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.mock_model_server import DONE, Plan, completion, event

from .conftest import MODEL, PROJECT, Network

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = [{"role": "user", "content": "hi"}]


def _ask(**more: Any) -> dict[str, Any]:
    return {"project": PROJECT, "model": MODEL, "messages": MESSAGES, **more}


async def test_answer_is_the_model_servers_own_bytes(shared: Network) -> None:
    async with shared.http.post(shared.proxy_url, json=_ask()) as answer:
        assert answer.status == 200
        assert answer.content_type == "application/json"
        assert await answer.read() == completion(MODEL)
        assert answer.headers["x-aicn-node"] in {worker.peer for worker in shared.workers}
        assert answer.headers["x-aicn-attempts"] == "1"
        assert answer.headers["x-aicn-path"] == "direct"


async def test_stream_is_the_model_servers_own_bytes(shared: Network) -> None:
    for server in shared.servers:
        server.plan = Plan(events=20)
    async with shared.http.post(shared.proxy_url, json=_ask(stream=True)) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        assert await answer.read() == b"".join(event(MODEL, index) for index in range(20)) + DONE


async def test_events_leave_one_by_one(shared: Network) -> None:
    """The model server waits for the client to have read each event before it writes the next."""
    for server in shared.servers:
        server.plan = Plan(events=5, gap_ms=50)
    async with shared.http.post(shared.proxy_url, json=_ask(stream=True)) as answer:
        server = shared.server_of(answer.headers["x-aicn-node"])
        seen = await server.next_request()
        for index in range(4):
            assert await answer.content.readuntil(b"\n\n") == event(MODEL, index)
            # The event was read while the model server was still to write later ones.
            assert seen.writes < 5


async def test_request_reaches_the_model_server_untouched_but_for_routing(shared: Network) -> None:
    body = (
        b'{"project": "P", "model": "m", "messages": [{"role": "developer", "content": null}],'
        b' "temperature": 0, "max_tokens": 7, "tools": [{"type":"function"}], "seed": 18446744073709551615,'
        b' "x": 1e-7, "y": 1.10, "stop": ["\\u00e9"], "unknown": {"b": 1, "a": [ ]}}'
    )
    headers = {"Content-Type": "application/json"}
    async with shared.http.post(shared.proxy_url, data=body, headers=headers) as answer:
        assert answer.status == 200
        seen = await shared.server_of(answer.headers["x-aicn-node"]).next_request()
    assert seen.method == "POST"
    assert seen.path == "/v1/chat/completions"
    assert seen.query == ""
    expected = json.loads(body)
    del expected["project"]
    assert seen.json() == expected
    assert b'"y":1.10' in seen.body
    assert b'"x":1e-7' in seen.body
    assert b'"unknown":{"b": 1, "a": [ ]}' in seen.body
    assert seen.header("authorization") is None


async def test_named_node_and_instance_are_used(shared: Network) -> None:
    worker, server = shared.workers[1], shared.servers[1]
    for _ in range(3):
        url = f"{shared.entry.api}/chat/completion"
        async with shared.http.post(url, json=_ask(node_id=worker.peer, cid="")) as answer:
            assert answer.status == 200
            assert answer.headers["x-aicn-node"] == worker.peer
    assert len(server.seen) == 3
    assert b"node_id" not in server.seen[0].body


async def test_input_serves_its_own_models_too(shared: Network) -> None:
    url = shared.servers[0].chat_url
    registration = {"project": "own", "model": "o", "api": url, "type": 0, "cid": "gpu0"}
    async with shared.http.post(f"{shared.entry.api}/ai/model/register", json=registration) as answer:
        assert await answer.json() == {"message": "ok"}
    await shared.nodes.until_seen(shared.entry, "own", "o", shared.entry)
    ask = {"project": "own", "model": "o", "messages": MESSAGES}
    async with shared.http.post(shared.proxy_url, json=ask) as answer:
        assert await answer.read() == completion("o")
        assert answer.headers["x-aicn-node"] == shared.entry.peer


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{bad", 400, 1002),
        (b"[]", 400, 1002),
        (b"\xff\xfe", 400, 1002),
        (b'{"model": "m"}', 400, 1001),
        (b'{"project": "P"}', 400, 1001),
        (b'{"project": "P", "model": 5}', 400, 1002),
        (b'{"project": "P", "model": "unknown"}', 500, 1017),
    ],
)
async def test_bad_request_is_told_by_its_code(shared: Network, body: bytes, status: int, code: int) -> None:
    async with shared.http.post(shared.proxy_url, data=body) as answer:
        assert answer.status == status
        assert (await answer.json())["code"] == code


async def test_node_that_is_asked_for_a_model_it_does_not_have(shared: Network) -> None:
    ask = _ask(node_id=shared.workers[0].peer, cid="") | {"model": "zz"}
    async with shared.http.post(f"{shared.entry.api}/chat/completion", json=ask) as answer:
        assert answer.status == 500
        assert await answer.json() == {
            "code": 1007,
            "message": "can not find in registered project and model",
            "id": "",
            "object": "",
            "created": 0,
            "choices": None,
            "usage": {"completion_tokens": 0, "prompt_tokens": 0, "total_tokens": 0},
        }


async def test_error_of_the_model_server_is_passed_on_as_it_is(shared: Network) -> None:
    body = b'{"error": {"message": "no such parameter", "type": "invalid_request_error"}}'
    for server in shared.servers:
        server.plan = Plan(status=422, body=body)
    async with shared.http.post(shared.proxy_url, json=_ask()) as answer:
        assert answer.status == 422
        assert await answer.read() == body
        assert answer.headers["x-aicn-attempts"] == "1"


async def test_code_in_a_successful_answer_is_a_failure(shared: Network) -> None:
    body = b'{"code": 7, "message": "out of memory"}'
    for server in shared.servers:
        server.plan = Plan(body=body)
    async with shared.http.post(shared.proxy_url, json=_ask()) as answer:
        assert answer.status == 500
        assert await answer.read() == body


async def test_charset_in_the_content_type_is_no_error(shared: Network) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    for server in shared.servers:
        server.plan = Plan(headers=headers, body=completion(MODEL))
    async with shared.http.post(shared.proxy_url, json=_ask()) as answer:
        assert answer.status == 200
        assert await answer.read() == completion(MODEL)
