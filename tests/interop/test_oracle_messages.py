"""The oracle's messages: those that were recorded on the network, and those that it sends to its own kind."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

from aicn.ids import PeerId
from interop.conftest import OracleStart
from interop.dialogue import DECRYPT_ERROR, MODEL_ERROR, Asks, Model
from interop.heartbeats import read_heartbeat
from interop.networks import joined
from interop.oracle import Oracle

GOLDEN = json.loads((Path(__file__).parents[1] / "fixtures" / "golden-wire.json").read_text(encoding="utf-8"))
CHAT = {"project": "P", "model": "m", "messages": [{"role": "user", "content": b'"hi"'.hex()}], "wallet": {}}


async def test_every_recorded_message_is_read_and_could_be_its_own(start_oracle: OracleStart) -> None:
    """Sealed ones by who they were for: with the keys that were recorded along with them."""
    keys = {GOLDEN[role]["PeerID"]: base64.b64decode(GOLDEN[role]["PrivKey"]) for role in ("input", "worker")}
    nodes = {peer: await start_oracle(key=key) for peer, key in keys.items()}
    assert set(nodes) == {node.peer for node in nodes.values()}
    questions, answers, heartbeats, errors = set(), set(), 0, 0
    for recorded in GOLDEN["messages"]:
        reader = next(node for peer, node in nodes.items() if peer != recorded["from"])
        said = await reader.read(bytes.fromhex(recorded["hex"]))
        assert said.exact
        assert said.node_id == recorded["from"]
        if not said.receiver:
            assert (said.message, said.sealed, said.id) == ("heartbeat", False, "")
            heartbeats += 1
            continue
        assert said.receiver == reader.peer
        errors += said.code != 0
        if said.question is not None:
            questions.add(said.type)
        if said.answer is not None and said.sealed:
            answers.add(said.type)
    assert questions == answers == set(Asks)
    assert heartbeats > 3
    assert errors > 0


async def two(start_oracle: OracleStart) -> tuple[Oracle, Oracle]:
    one, other = await start_oracle(prefix="/one"), await start_oracle(prefix="/other")
    await one.connect(other.addr)
    await joined(one, other)
    await joined(other, one)
    return one, other


async def test_every_question_is_answered(start_oracle: OracleStart) -> None:
    one, other = await two(start_oracle)
    await other.offer(Model("P", "m", cid="c1"), Model("P", "i", type=1))
    await one.event("gossip", **{"from": other.peer})
    asked: dict[Asks, dict[str, Any]] = {
        Asks.PEER_IDENTITY: {},
        Asks.HOST_INFO: {},
        Asks.AI_PROJECT: {},
        Asks.CHAT: CHAT,
        Asks.IMAGE: {"project": "P", "model": "i", "prompt": "a cat", "number": 1},
    }
    for what, body in asked.items():
        said = await one.ask(PeerId(other.peer), what, body)
        assert (said.code, said.sealed, said.exact, said.signer, said.node_id) == (
            0,
            True,
            True,
            other.peer,
            other.peer,
        )
        assert said.answer
        heard = await other.asked(what)
        assert (heard.id, heard.question, heard.sealed, heard.exact) == (said.id, body, True, True)


async def in_flight(listener: Oracle, teller: Oracle) -> int:
    """Return the number of requests in flight that the next heartbeat tells."""
    data = b""
    while not data.endswith(b"heartbeat"):  # but a reply
        data = (await listener.event("gossip", **{"from": teller.peer}))["data"]
    return read_heartbeat(data).offers[0].in_flight


async def test_requests_in_flight_are_told(start_oracle: OracleStart) -> None:
    one, other = await two(start_oracle)
    await other.offer(Model("P", "m"))
    assert await in_flight(one, other) == 0
    await other.answer(Asks.CHAT, kind="hold")
    id_ = await one.say(PeerId(other.peer), Asks.CHAT, CHAT)
    assert await in_flight(one, other) == 1
    await other.release(id_)
    said = await one.replied(id_)
    assert said.answer is not None
    assert said.answer["choices"][0]["message"] == {"role": "assistant", "content": "I am m"}
    assert await in_flight(one, other) == 0

    await other.serve(kind="hang")
    asking = asyncio.create_task(one.request(PeerId(other.peer), "/?project=P&model=m&cid=", tag="t"))
    assert await in_flight(one, other) == 1
    await one.cancel("t")
    assert await in_flight(one, other) == 0
    await asking


async def test_what_is_not_offered_is_refused_both_ways(start_oracle: OracleStart) -> None:
    one, other = await two(start_oracle)
    await other.offer(Model("P", "other"))
    said = await one.ask(PeerId(other.peer), Asks.CHAT, CHAT)
    assert (said.code, said.answer) == (MODEL_ERROR, {})
    answer = await one.request(PeerId(other.peer), "/?project=P&model=m&cid=")
    assert (answer.status, answer.end) == (0, "reset")


async def test_what_is_not_sealed_is_answered_as_the_network_does(start_oracle: OracleStart) -> None:
    """With a key in the header it must be sealed; without one it need not, which is a hole that ours must not have."""
    one, other = await two(start_oracle)
    said = await one.ask(PeerId(other.peer), Asks.HOST_INFO, plain=True)
    assert (said.code, said.sealed, said.answer) == (DECRYPT_ERROR, False, None)
    await other.answer(Asks.HOST_INFO, code=1012, message="why not", bare=True)
    said = await one.ask(PeerId(other.peer), Asks.HOST_INFO)
    assert (said.code, said.message, said.sealed, said.answer) == (1012, "why not", False, None)
