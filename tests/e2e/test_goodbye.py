"""A Worker that is stopped says so at once: nobody sends it requests while it ends those that it has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from support.mock_model_server import DONE, Plan

from .conftest import MODEL, PROJECT, Network
from .test_controls import CHAT, until_serving

WORD = b'data: {"choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'
ENDLESS = Plan(chunks=(WORD,) * 10_000, gap_ms=100)
STOPPING = "this node is stopping; ask again in a moment"

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


async def test_an_input_that_stops_tells_why_it_cuts_what_it_cannot_end(network: Network) -> None:
    """In a stream by an event and without `[DONE]`, anywhere else by a status that says: come again."""
    worker = network.workers[0]
    leaving = network.nodes.make("input", bootstrap=[worker.multiaddr])
    await leaving.start()
    await network.nodes.until_seen(leaving, PROJECT, MODEL, worker)
    server = network.server_of(worker.peer)
    server.once, server.plan = [ENDLESS], Plan(hang=True)
    asked = CHAT | {"node_id": worker.peer}

    async with network.http.post(f"{leaving.api}/chat/completion", json=asked | {"stream": True}) as stream:
        assert await stream.content.readuntil(b"\n\n") == WORD
        whole = asyncio.create_task(_answer(network, f"{leaving.api}/chat/completion", asked))
        await server.next_request()
        await server.next_request()
        assert leaving.process is not None
        leaving.process.terminate()
        rest = await stream.read()
    *words, last, _ = rest.split(b"\n\n")
    assert set(words) <= {WORD.strip()}
    assert json.loads(last.removeprefix(b"data: "))["message"] == STOPPING
    status, headers, body = await whole
    assert (status, headers["retry-after"], json.loads(body)["message"]) == (503, "1", STOPPING)
    assert await leaving.process.wait() == 0


async def _answer(network: Network, url: str, asked: dict[str, object]) -> tuple[int, Mapping[str, str], bytes]:
    async with network.http.post(url, json=asked) as answer:
        return answer.status, answer.headers, await answer.read()
