"""Registrations: heard by the Input, kept by the file, whatever happens to the process."""

from __future__ import annotations

import json
from typing import Any

from .conftest import PROJECT, Network


async def _post(network: Network, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    async with network.http.post(f"{network.workers[0].api}/{path}", json=body) as answer:
        return answer.status, await answer.json()


async def test_registrations_reach_the_input_and_the_file(network: Network) -> None:
    url = network.servers[0].chat_url
    model = {"project": "R", "model": "r", "api": url, "type": 0, "cid": "c3"}
    assert await _post(network, "ai/model/register", model) == (200, {"message": "ok"})
    await network.nodes.until_seen(network.entry, "R", "r", network.workers[0])
    kept = {entry["Project"]: entry["Models"] for entry in network.workers[0].config()["AIProjects"]}
    assert kept["R"] == [{"Model": "r", "API": url, "Type": 0, "CID": "c3"}]

    project = {"project": "R", "models": [{"model": "s", "api": url, "type": 1, "cid": ""}]}
    assert await _post(network, "ai/project/register", project) == (200, {"message": "ok"})
    await network.nodes.until_seen(network.entry, "R", "s", network.workers[0])

    gone = {"project": "R", "model": "s", "cid": ""}
    assert await _post(network, "ai/model/unregister", gone) == (200, {"message": "ok"})
    assert await _post(network, "ai/project/unregister", {"project": PROJECT}) == (200, {"message": "ok"})
    assert network.workers[0].config()["AIProjects"] == []
    assert await _post(network, "ai/model/unregister", gone) == (200, {"message": "not existed"})
    assert await _post(network, "ai/project/unregister", {"project": PROJECT}) == (200, {"message": "not existed"})


async def test_registration_survives_a_kill(network: Network) -> None:
    worker = network.workers[0]
    model = {"project": "K", "model": "k", "api": network.servers[0].chat_url, "type": 0, "cid": ""}
    assert await _post(network, "ai/model/register", model) == (200, {"message": "ok"})
    await worker.kill()
    json.loads(worker.config_path.read_bytes())
    assert worker.config_path.stat().st_mode & 0o777 == 0o600
    await worker.start()
    await network.nodes.until_seen(network.entry, "K", "k", worker)
