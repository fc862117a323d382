"""Our Input has images made and edited by a Go Worker, on chat-proxy streams."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from interop.dialogue import Asks, Model
from interop.networks import ALONE, Network, joined, one_network, two_networks
from interop.oracle import Oracle
from interop.pictures import B64, FORM, IMAGE, JSON, MULTIPART, URL
from interop.waiting import eventually
from support.processes import NodeProcess, Nodes

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(slots=True)
class Meeting:
    """Our Input and a Go Worker that it lists."""

    entry: NodeProcess
    go: Oracle
    http: aiohttp.ClientSession

    async def carried(self, path: str) -> dict[str, Any]:
        """Return the request that came to the Worker, for a path, from the Input."""
        request = await self.go.event("request")
        assert (request["peer"], request["method"]) == (self.entry.peer, "POST")
        assert request["target"].partition("?")[0].endswith(path)
        return request


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def met(
    network: Network, oracle_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Meeting]:
    """Return an Input and a Go Worker that have met."""
    async with (
        Nodes(tmp_path_factory.mktemp("input"), psk=network.psk_hex) as nodes,
        Oracle(oracle_binary, psk=network.psk, router=network.router, prefix=ALONE) as go,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http,
    ):
        entry = await nodes.input(router=network.router)
        await go.connect(entry.multiaddr)
        await joined(go, entry)
        api = "http://127.0.0.1:9009/v1/images"
        await go.offer(Model("P", "i", api, 1, "c1"), Model("P", "e", api, 2))

        async def is_listed() -> bool:
            async with http.get(f"{entry.api}/ai/projects/peers", params={"project": "P", "model": "e"}) as answer:
                return go.peer in {one["node_id"] for one in (await answer.json())["data"] or []}

        await eventually("the Input lists the Go Worker", is_listed)
        yield Meeting(entry, go, http)


@two_networks
@pytest.mark.parametrize("proxy", ["", "/proxy"])
@pytest.mark.parametrize("shape", ["b64_json", "url"])
async def test_a_go_worker_makes_an_image(met: Meeting, proxy: str, shape: str) -> None:
    body = json.dumps(B64 if shape == "b64_json" else URL).encode()
    await met.go.serve([body[:70_000], body[70_000:]], headers=JSON)
    whom = {} if proxy else {"node_id": met.go.peer, "cid": "c1"}
    question = {"project": "P", **IMAGE, "response_format": shape, **whom}
    async with met.http.post(f"{met.entry.api}/image/gen{proxy}", json=question) as answer:
        assert (answer.status, await answer.json()) == (200, json.loads(body))
    request = await met.carried("/image/gen")
    assert set(request["target"].partition("?")[2].split("&")) == {"project=P", "model=i", "cid=c1"}
    assert {**IMAGE, "response_format": shape}.items() <= json.loads(request["body"]).items()
    assert not met.go.heard("asked", type=Asks.IMAGE), "a stream is better than gossip wherever it is spoken"


@two_networks
@pytest.mark.parametrize("proxy", ["", "/proxy"])
async def test_a_go_worker_edits_an_image(met: Meeting, proxy: str) -> None:
    body = json.dumps(B64).encode()
    await met.go.serve([body], headers=JSON)
    query = {"project": "P", "model": "e", **({} if proxy else {"node_id": met.go.peer})}
    async with met.http.post(
        f"{met.entry.api}/image/edit{proxy}", params=query, data=FORM, headers=MULTIPART
    ) as answer:
        assert (answer.status, await answer.json()) == (200, B64)
    request = await met.carried("/image/edit")
    assert {"project=P", "model=e"} <= set(request["target"].partition("?")[2].split("&"))
    assert request["body"] == FORM
    assert request["headers"]["Content-Type"] == [MULTIPART["Content-Type"]]


@one_network
async def test_a_go_worker_that_resets_is_an_error(met: Meeting) -> None:
    await met.go.serve(kind="reset")
    question = {"project": "P", **IMAGE, "node_id": met.go.peer, "cid": "none"}
    async with met.http.post(f"{met.entry.api}/image/gen", json=question) as answer:
        assert answer.status == 500
        assert (await answer.json())["code"] != 0
    query = {"project": "P", "model": "none", "node_id": met.go.peer}
    async with met.http.post(f"{met.entry.api}/image/edit", params=query, data=FORM, headers=MULTIPART) as answer:
        assert answer.status == 500
        assert (await answer.json())["code"] != 0
