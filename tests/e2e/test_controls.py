"""What an operator does with a model of a running Worker is so for the whole network at once, and after a restart."""

from __future__ import annotations

import asyncio
from typing import Any

from support.mock_model_server import DONE, Plan
from support.processes import NodeProcess

from .conftest import MODEL, PROJECT, Network

CHAT: dict[str, Any] = {"project": PROJECT, "model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
DEADLINE_S = 20.0
POLL_S = 0.05


async def control(network: Network, node: NodeProcess, what: str, **fields: Any) -> tuple[int, Any]:
    body = {"project": PROJECT, "model": MODEL, **fields}
    async with network.http.post(f"{node.api}/ai/model/{what}", json=body) as answer:
        return answer.status, await answer.json()


async def own_models(network: Network, node: NodeProcess) -> list[dict[str, Any]]:
    async with network.http.get(f"{node.api}/ai/model/list") as answer:
        assert answer.status == 200
        listed: list[dict[str, Any]] = (await answer.json())["data"]
        return listed


async def until_serving(network: Network, model: str, *nodes: NodeProcess) -> None:
    """Wait until the Input lists just `nodes` as serving the model."""
    wanted = {node.peer for node in nodes}
    query = {"project": PROJECT, "model": model}
    async with asyncio.timeout(DEADLINE_S):
        while True:
            async with network.http.get(f"{network.entry.api}/ai/projects/peers", params=query) as answer:
                listed = {peer["node_id"] for peer in (await answer.json())["data"] or []}
            if listed == wanted:
                return
            await asyncio.sleep(POLL_S)


async def ask(network: Network, model: str = MODEL) -> tuple[int, str]:
    """Return status and node of an answer."""
    async with network.http.post(network.proxy_url, json=CHAT | {"model": model}) as answer:
        await answer.read()
        return answer.status, answer.headers.get("x-aicn-node", "")


async def test_a_paused_model_takes_no_requests_until_it_is_resumed(network: Network) -> None:
    first, second = network.workers
    assert await control(network, first, "pause") == (200, {"message": "ok"})
    (listed,) = await own_models(network, first)
    assert (listed["state"], listed["paused"], listed["in_flight"]) == ("paused", True, 0)
    assert [await ask(network) for _ in range(6)] == [(200, second.peer)] * 6
    await until_serving(network, MODEL, second)

    await first.stop()
    await first.start()
    (listed,) = await own_models(network, first)
    assert listed["state"] == "paused", "it stays so over a restart"

    assert await control(network, first, "resume") == (200, {"message": "ok"})
    await until_serving(network, MODEL, first, second)
    assert "Paused" not in first.config()["AIProjects"][0]["Models"][0]
    await control(network, second, "pause")
    assert await ask(network) == (200, first.peer)


async def test_a_request_to_a_model_that_is_paused_everywhere_is_told_to_come_back(network: Network) -> None:
    for worker in network.workers:
        await control(network, worker, "pause")
    base = network.entry.api.removesuffix("/api/v0")
    body = {"model": f"{PROJECT}/{MODEL}", "messages": CHAT["messages"]}
    async with network.http.post(f"{base}/v1/chat/completions", json=body) as answer:
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        assert (await answer.json())["error"]["type"] == "server_error"


async def test_who_drains_is_answered_when_nothing_is_under_way(network: Network) -> None:
    for server in network.servers:
        server.plan = Plan(chunks=(b"data: {}\n\n",) * 3 + (DONE,), gap_ms=300)

    async def chat() -> tuple[int, bytes, str]:
        async with network.http.post(network.proxy_url, json=CHAT | {"stream": True}) as answer:
            return answer.status, await answer.read(), answer.headers["x-aicn-node"]

    asked = asyncio.create_task(chat())
    heads = [asyncio.create_task(server.next_request()) for server in network.servers]
    done, _ = await asyncio.wait(heads, return_when=asyncio.FIRST_COMPLETED)
    server = network.servers[heads.index(done.pop())]
    worker = network.worker_of(server)
    assert await control(network, worker, "drain") == (200, {"message": "ok", "in_flight": 0})
    assert server.in_flight == 0
    status, body, node = await asked
    assert (status, node, body.endswith(DONE)) == (200, worker.peer, True), "it was not cut"
    (listed,) = await own_models(network, worker)
    assert listed["state"] == "paused"
    for head in heads:
        head.cancel()


async def test_a_full_model_sends_what_comes_beyond_elsewhere(network: Network) -> None:
    for worker in network.workers:
        assert await control(network, worker, "cap", max_concurrent=1) == (200, {"message": "ok"})
    for server in network.servers:
        server.plan = Plan(hang=True)
    asked = [asyncio.create_task(ask(network)) for _ in range(2)]
    for server in network.servers:
        await server.next_request()
    # Both are full, whatever the Input thinks of it.
    status, _ = await ask(network)
    assert status == 500
    assert [len(server.seen) for server in network.servers] == [1, 1]
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    assert await control(network, network.workers[0], "cap", max_concurrent=-1) == (
        400,
        {"code": 1001, "message": "max_concurrent is a number from 0 (no limit) to 1000000"},
    )


async def test_a_renamed_model_is_found_by_its_new_name_only(network: Network) -> None:
    for worker in network.workers:
        assert await control(network, worker, "rename", name="org/new") == (200, {"message": "ok"})
    await until_serving(network, "org/new", *network.workers)
    await until_serving(network, MODEL)
    base = network.entry.api.removesuffix("/api/v0")
    async with network.http.post(
        f"{base}/v1/chat/completions", json={"model": "org/new", "messages": CHAT["messages"]}
    ) as answer:
        assert answer.status == 200
        server = network.server_of(answer.headers["x-aicn-node"])
    assert (await server.next_request()).json()["model"] == MODEL, "its server goes on to be asked by the old one"


async def test_what_is_not_there_is_not_controlled(network: Network) -> None:
    for what in ("pause", "resume", "drain", "cap"):
        status, told = await control(network, network.workers[0], what, model="other")
        assert (status, told["code"]) == (500, 1007), what
    assert (await control(network, network.workers[0], "rename", name=""))[0] == 400
