"""A Worker that is stopped says so at once: nobody sends it requests while it ends those that it has."""

from __future__ import annotations

import asyncio

from support.mock_model_server import DONE, Plan

from .conftest import MODEL, PROJECT, Network
from .test_controls import CHAT, until_serving

SLOW = Plan(chunks=(b"data: {}\n\n",) * 8 + (DONE,), gap_ms=500)
"""Takes about four seconds, less than a node waits for the requests under way when it stops."""


async def test_an_input_sends_nothing_to_a_worker_that_was_told_to_stop(network: Network) -> None:
    leaving, staying = network.workers
    assert leaving.process is not None
    network.server_of(leaving.peer).plan = SLOW
    # One request that keeps its HTTP API from closing, and one of the Input that keeps its streams.
    urls = [
        f"{leaving.api}/chat/completion",
        f"{network.entry.api}/chat/completion",
    ]
    await network.nodes.until_seen(network.entry, PROJECT, MODEL, leaving, staying)

    async def slow(url: str) -> bytes:
        async with network.http.post(url, json=CHAT | {"node_id": leaving.peer, "stream": True}) as answer:
            assert answer.status == 200
            return await answer.read()

    under_way = [asyncio.create_task(slow(url)) for url in urls]
    for _ in urls:
        await network.server_of(leaving.peer).next_request()
    leaving.process.terminate()
    await until_serving(network, MODEL, staying)
    assert leaving.running, "it still works"
    assert not any(task.done() for task in under_way)
    for _ in range(10):
        async with network.http.post(network.proxy_url, json=CHAT) as answer:
            assert answer.status == 200
            assert (answer.headers["x-aicn-node"], answer.headers["x-aicn-attempts"]) == (staying.peer, "1")
    assert all(body.endswith(DONE) for body in await asyncio.gather(*under_way)), "what it had begun was not cut"
    assert await leaving.process.wait() == 0
    assert len(network.server_of(leaving.peer).seen) == len(urls)
