"""Connections and bootstrap peers by hand: the recorded words, the file, and what the running node does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aicn.identity import PrivateKey
from support.processes import NodeProcess, Nodes

DEADLINE_S = 30.0
NOBODY = "/ip4/127.0.0.1/tcp/1/p2p/16Uiu2HAmDeqPaYx42CKMAoSy11YCMpd8xtLPbyhVqysLQDgedhFY"


class _Two:
    """Two nodes that do not know each other."""

    def __init__(self, here: NodeProcess, there: NodeProcess, http: aiohttp.ClientSession) -> None:
        self.here = here
        self.there = there
        self._http = http

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        async with self._http.post(f"{self.here.api}/{path}", json=body) as answer:
            assert answer.headers["content-type"] == "application/json; charset=utf-8"
            return answer.status, await answer.json()

    async def get(self, path: str) -> Any:
        async with self._http.get(f"{self.here.api}/{path}") as answer:
            assert answer.status == 200
            return await answer.json()

    async def connected(self) -> bool:
        return self.there.peer in {each["peer"] for each in await self.get("swarm/peers")}

    async def until_connected(self, wanted: bool = True) -> None:  # noqa: FBT001, FBT002 - a test's own word
        async with asyncio.timeout(DEADLINE_S):
            while await self.connected() is not wanted:
                continue

    def kept(self) -> list[str]:
        kept: list[str] = self.here.config()["Bootstrap"]
        return kept


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[_Two]:
    async with Nodes(tmp_path) as nodes, aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        here = nodes.make("worker", name="here")
        there = nodes.make("input", name="there")
        await asyncio.gather(here.start(), there.start())
        yield _Two(here, there, http)


OK = (200, {"message": "ok"})


async def test_connect_and_disconnect(two: _Two) -> None:
    addr = {"node_addr": two.there.multiaddr}
    status, answer = await two.post("swarm/disconnect", addr)
    assert (status, answer["code"]) == (500, 5000)
    assert answer["message"].startswith("not connected")
    assert await two.post("swarm/connect", addr) == OK
    assert await two.connected()
    assert await two.post("swarm/connect", addr) == OK
    assert await two.post("swarm/disconnect", addr) == OK
    assert not await two.connected()
    assert two.kept() == []


@pytest.mark.parametrize("path", ["swarm/connect", "swarm/disconnect", "bootstrap/add", "bootstrap/rm"])
async def test_what_is_no_address_is_refused_in_the_recorded_words(two: _Two, path: str) -> None:
    words = 'failed to parse multiaddr "x": must begin with /'
    assert await two.post(path, {"node_addr": "x"}) == (500, {"code": 5000, "message": words})
    assert await two.post(path, {}) == (400, {"code": 1001, "message": "empty node_addr"})
    assert await two.post(path, [1]) == (400, {"code": 1002, "message": "Parsing error"})
    status, answer = await two.post(path, {"node_addr": "/ip4/127.0.0.1/tcp/7001"})
    assert (status, answer["code"]) == (500, 5000)
    assert answer["message"].startswith("invalid p2p multiaddr: /ip4/127.0.0.1/tcp/7001 ")
    assert two.kept() == []


@pytest.mark.parametrize("path", ["swarm/connect", "bootstrap/add"])
async def test_a_dial_that_fails_changes_nothing_and_says_why(two: _Two, path: str) -> None:
    before = two.here.config_path.read_bytes()
    stranger = PrivateKey.generate().public.peer_id
    cases = {
        NOBODY: f"failed to dial: failed to dial {NOBODY.rpartition('/')[2]}: ",
        f"/ip4/127.0.0.1/tcp/{two.there.p2p_port}/p2p/{stranger}": f"failed to dial: failed to dial {stranger}: ",
        two.here.multiaddr: "failed to dial: dial to self attempted",
    }
    for addr, words in cases.items():
        status, answer = await two.post(path, {"node_addr": addr})
        assert (status, answer["code"]) == (500, 5000)
        assert answer["message"].startswith(words)
    assert two.here.config_path.read_bytes() == before
    assert await two.get("bootstrap/list") == {"data": []}


async def test_a_bootstrap_peer_that_is_added_is_kept_and_dialled_again(two: _Two) -> None:
    addr = {"node_addr": two.there.multiaddr}
    assert await two.post("bootstrap/add", addr) == OK
    assert await two.post("bootstrap/add", addr) == OK
    assert two.kept() == [two.there.multiaddr]
    assert await two.get("bootstrap/list") == {"data": [two.there.multiaddr]}
    assert await two.connected()
    # The other side goes and comes back: this node is the one that dials.
    await two.there.kill()
    await two.until_connected(wanted=False)
    await two.there.start()
    await two.until_connected()
    # And so it does after its own restart.
    await two.here.kill()
    await two.here.start()
    await two.until_connected()
    assert await two.get("bootstrap/list") == {"data": [two.there.multiaddr]}


async def test_a_bootstrap_peer_that_is_removed_is_let_go_and_stays_removed(two: _Two) -> None:
    addr = {"node_addr": two.there.multiaddr}
    assert await two.post("bootstrap/add", addr) == OK
    assert await two.post("bootstrap/rm", addr) == OK
    assert two.kept() == []
    assert await two.get("bootstrap/list") == {"data": []}
    assert not await two.connected()
    await two.here.kill()
    await two.here.start()
    assert await two.get("bootstrap/list") == {"data": []}
    assert await two.post("bootstrap/rm", addr) == OK


async def test_removing_what_is_not_there_changes_nothing(two: _Two) -> None:
    assert await two.post("swarm/connect", {"node_addr": two.there.multiaddr}) == OK
    before = two.here.config_path.read_bytes()
    for addr in (NOBODY, two.there.multiaddr):
        assert await two.post("bootstrap/rm", {"node_addr": addr}) == OK
    assert two.here.config_path.read_bytes() == before
    assert await two.connected()


async def test_an_address_added_by_hand_meanwhile_is_kept(two: _Two) -> None:
    config = two.here.config()
    config["Bootstrap"] = [NOBODY]
    config["Note"] = "by hand"
    two.here.config_path.write_text(json.dumps(config), encoding="utf-8")
    assert await two.post("bootstrap/add", {"node_addr": two.there.multiaddr}) == OK
    assert two.kept() == [NOBODY, two.there.multiaddr]
    assert two.here.config()["Note"] == "by hand"
    assert await two.get("bootstrap/list") == {"data": [two.there.multiaddr]}
    assert await two.post("bootstrap/rm", {"node_addr": NOBODY}) == OK
    assert two.kept() == [two.there.multiaddr]


async def test_a_file_that_cannot_be_written_changes_nothing_at_all(two: _Two) -> None:
    two.here.config_path.write_text("{ broken", encoding="utf-8")
    status, answer = await two.post("bootstrap/add", {"node_addr": two.there.multiaddr})
    assert (status, answer["code"]) == (500, 5000)
    assert await two.get("bootstrap/list") == {"data": []}
    assert two.here.config_path.read_text(encoding="utf-8") == "{ broken"


async def test_many_changes_at_once_are_all_kept(two: _Two) -> None:
    here = f"/ip4/127.0.0.1/tcp/{two.there.p2p_port}/p2p/{two.there.peer}"
    name = f"/dns4/localhost/tcp/{two.there.p2p_port}/p2p/{two.there.peer}"
    answers = await asyncio.gather(*(two.post("bootstrap/add", {"node_addr": addr}) for addr in (here, name) * 4))
    assert answers == [OK] * 8
    assert sorted(two.kept()) == sorted([here, name])
    assert await two.post("bootstrap/rm", {"node_addr": name}) == OK
    assert await two.connected(), "the peer is still a bootstrap peer by its other address"
    assert await two.get("bootstrap/list") == {"data": [here]}
