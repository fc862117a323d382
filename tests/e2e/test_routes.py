"""The read routes and the registrations of a running network, in the recorded shapes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .conftest import MODEL, PROJECT, Network

pytestmark = pytest.mark.asyncio(loop_scope="module")

GO_DURATION = re.compile(r"0s|\d+(\.\d+)?(µs|ms|s)")


async def _get(shared: Network, path: str, **params: str) -> Any:
    async with shared.http.get(f"{shared.entry.api}/{path}", params=params) as answer:
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        return await answer.json()


async def _post(shared: Network, node: int, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    async with shared.http.post(f"{shared.workers[node].api}/{path}", json=body) as answer:
        return answer.status, await answer.json()


async def test_id(shared: Network) -> None:
    told = await _get(shared, "id")
    assert list(told) == ["peer_id", "protocol_version", "addresses", "protocols"]
    assert told["peer_id"] == shared.entry.peer
    assert told["protocol_version"] == "aicn/0.0.1"
    assert told["addresses"] == [f"/ip4/127.0.0.1/tcp/{shared.entry.p2p_port}"]
    assert {"/chat-proxy/0.0.1", "/dbc/kad/1.0.0", "/floodsub/1.0.0", "/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"} <= set(
        told["protocols"]
    )


async def test_peers_of_every_kind(shared: Network) -> None:
    workers = {worker.peer for worker in shared.workers}
    assert set((await _get(shared, "peers"))["data"]) == workers | {shared.entry.peer}
    assert set(await _get(shared, "pubsub/peers")) == workers
    swarm = await _get(shared, "swarm/peers")
    assert {peer["peer"] for peer in swarm} == workers
    for peer in swarm:
        assert list(peer) == ["id", "peer", "addr", "latency", "direction"]
        assert GO_DURATION.fullmatch(peer["latency"])
        assert peer["direction"] == "Inbound"
        assert peer["addr"].startswith("/ip4/127.0.0.1/tcp/")
    addrs = {entry["peer"]: entry["addrs"] for entry in await _get(shared, "swarm/addrs")}
    for worker in shared.workers:
        assert f"/ip4/127.0.0.1/tcp/{worker.p2p_port}" in addrs[worker.peer]


async def test_rendezvous_finds_the_others(shared: Network) -> None:
    found: set[str] = set()
    wanted = {worker.peer for worker in shared.workers}
    for _ in range(50):
        found |= set((await _get(shared, "rendezvous/peers"))["data"])
        if wanted <= found:
            break
    assert wanted <= found


async def test_worker_without_peers_collect_has_no_list(shared: Network) -> None:
    async with shared.http.get(f"{shared.workers[0].api}/peers") as answer:
        assert answer.status == 500
        assert (await answer.json())["code"] == 1011
    ask = {"project": PROJECT, "model": MODEL, "messages": []}
    async with shared.http.post(f"{shared.workers[0].api}/chat/completion/proxy", json=ask) as answer:
        assert answer.status == 400
        assert (await answer.json())["code"] == 1011


async def test_lists(shared: Network) -> None:
    assert await _get(shared, "ai/projects/list") == {"data": [PROJECT]}
    assert await _get(shared, "ai/projects/models", project=PROJECT) == {"data": [MODEL]}
    assert await _get(shared, "ai/projects/models", project="none") == {"data": []}
    assert await _get(shared, "ai/projects/peers", project=PROJECT, model="none") == {"data": []}
    peers = (await _get(shared, "ai/projects/peers", project=PROJECT, model=MODEL))["data"]
    assert {peer["node_id"] for peer in peers} == {worker.peer for worker in shared.workers}
    for peer in peers:
        assert list(peer) == ["node_id", "connectivity", "latency", "Idle", "cid"]
        assert peer["connectivity"] == 1
        assert peer["Idle"] == 0
    one = await _get(shared, "ai/projects/peers", project=PROJECT, model=MODEL, number="1")
    assert len(one["data"]) == 1


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        ("ai/projects/models", {}, 1001),
        ("ai/projects/peers", {"project": PROJECT}, 1001),
        ("ai/projects/list", {"number": "-1"}, 1001),
        ("ai/projects/list", {"number": "x"}, 1002),
    ],
)
async def test_bad_parameters(shared: Network, path: str, params: dict[str, str], code: int) -> None:
    async with shared.http.get(f"{shared.entry.api}/{path}", params=params) as answer:
        assert answer.status == 400
        assert (await answer.json())["code"] == code


async def test_unknown_route_and_method_are_json(shared: Network) -> None:
    async with shared.http.get(f"{shared.entry.api}/nothing") as answer:
        assert answer.status == 404
        assert "message" in await answer.json()
    async with shared.http.get(f"{shared.entry.api}/chat/completion") as answer:
        assert answer.status == 405
        assert "message" in await answer.json()


async def test_model_elsewhere_is_refused_and_nothing_changes(shared: Network) -> None:
    before = shared.workers[0].config_path.read_bytes()
    model = {"project": "R", "model": "r", "api": "http://10.9.9.9:9009/v1", "type": 0, "cid": "c4"}
    status, answer = await _post(shared, 0, "ai/model/register", model)
    assert (status, answer) == (400, {"code": 1001, "message": "the url and the node are not on the same machine"})
    assert shared.workers[0].config_path.read_bytes() == before


async def test_page_of_another_site_may_not_register(shared: Network) -> None:
    model = {"project": "X", "model": "x", "api": shared.servers[0].chat_url, "type": 0, "cid": ""}
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        url = f"{shared.workers[0].api}/ai/model/register"
        async with shared.http.post(url, json=model, headers=headers) as answer:
            assert answer.status == 403
            assert (await answer.json())["code"] == 1010
