"""A chat is seen in the history and the metrics of both nodes, and its words nowhere unless that is switched on."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from aicn.store import HistoryReader, Query
from support.command_line import aicn, environment, refused
from support.hosts import until
from support.mock_model_server import MockModelServer, Plan
from support.processes import NodeProcess, Nodes

SECRET = "the gardener did it"
DEADLINE_S = 20.0


class _Pair:
    """An Input and a Worker beside a model server."""

    def __init__(self, entry: NodeProcess, worker: NodeProcess, server: MockModelServer) -> None:
        self.entry = entry
        self.worker = worker
        self.server = server
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE_S))

    async def chat(self, *, model: str = "m", stream: bool = False) -> tuple[int, bytes]:
        ask = {"project": "P", "model": model, "stream": stream, "messages": [{"role": "user", "content": SECRET}]}
        async with self.http.post(f"{self.entry.api}/chat/completion/proxy", json=ask) as answer:
            return answer.status, await answer.read()

    async def metrics(self, node: NodeProcess) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        async with self.http.get(f"{node.api}/debug/metrics/prometheus") as answer:
            assert answer.status == 200
            assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
            text = await answer.text()
        samples = [sample for family in parse(text) for sample in family.samples]
        return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}


@pytest.fixture
async def pair(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[_Pair]:
    settings: dict[str, Any] = {"AICN": {"History": getattr(request, "param", {})}}
    async with MockModelServer() as server, Nodes(tmp_path) as nodes:
        entry = nodes.make("input", **settings)
        models: list[tuple[str, str, str, int]] = [
            ("P", "m", server.chat_url, 0),
            ("P", "painter", server.image_url, 1),
        ]
        worker = nodes.make("worker", bootstrap=[entry.multiaddr], models=models, **settings)
        await asyncio.gather(entry.start(), worker.start())
        await nodes.until_seen(entry, "P", "m", worker)
        running = _Pair(entry, worker, server)
        yield running
        await running.http.close()


def history(node: NodeProcess, *words: str) -> list[dict[str, Any]]:
    done = aicn("history", node.config_path, "--json", *words, cwd=node.folder)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


async def until_written(node: NodeProcess, number: int) -> list[dict[str, Any]]:
    with HistoryReader(node.folder / "datastore" / "aicn.db") as reader:
        await until(lambda: len(reader.read(Query())) >= number)
    return history(node)


def kept_bytes(node: NodeProcess) -> bytes:
    return b"".join(path.read_bytes() for path in (node.folder / "datastore").iterdir() if path.is_file())


async def test_a_chat_is_in_the_history_of_both_nodes(pair: _Pair) -> None:
    assert (await pair.chat())[0] == 200
    pair.server.plan = Plan(events=3, gap_ms=200)
    assert (await pair.chat(stream=True))[0] == 200
    assert (await pair.chat(model="invented"))[0] == 500

    asked = await until_written(pair.entry, 3)
    assert [(each["model"], each["outcome"]) for each in asked] == [
        ("m", "ok"),
        ("m", "ok"),
        ("invented", "no_candidate"),
    ]
    first = asked[0]
    assert (first["side"], first["kind"], first["caller"], first["peer"]) == (
        "input",
        "chat",
        "127.0.0.1",
        pair.worker.peer,
    )
    assert (first["prompt_tokens"], first["completion_tokens"], first["status"], first["attempts"]) == (3, 2, 200, 1)
    assert 0 < first["first_byte_ms"] <= first["total_ms"] < DEADLINE_S * 1_000
    assert asked[1]["total_ms"] - asked[1]["first_byte_ms"] >= 50
    assert asked[2]["peer"] == ""

    answered = await until_written(pair.worker, 2)
    assert [(each["side"], each["caller"], each["peer"], each["outcome"]) for each in answered] == [
        ("worker", pair.entry.peer, pair.worker.peer, "ok")
    ] * 2
    assert answered[0]["answer_bytes"] == first["answer_bytes"] > 0
    assert answered[0]["completion_tokens"] == 2

    assert history(pair.entry, "--outcome", "no_candidate") == asked[2:]
    assert history(pair.entry, "--peer", pair.worker.peer[-6:], "--limit", "1") == asked[1:2]
    assert history(pair.entry, "--model", "P/m", "--since", "1h") == asked[:2]
    assert history(pair.entry, "--since", "2999-01-01") == []


@pytest.mark.parametrize("pair", [{"Prompts": True}], indirect=True)
async def test_images_are_counted_and_their_prompts_are_words_too(pair: _Pair) -> None:
    ask = {"project": "P", "model": "painter", "prompt": SECRET, "n": 2, "response_format": "b64_json"}
    async with pair.http.post(f"{pair.entry.api}/image/gen/proxy", json=ask) as answer:
        assert answer.status == 200
        assert len((await answer.json())["data"]) == 2
    for node in (pair.entry, pair.worker):
        (entry,) = await until_written(node, 1)
        assert (entry["kind"], entry["model"], entry["images"]) == ("image_generation", "painter", 2)
        assert json.loads(entry["prompt"]) == SECRET
        use = {"kind": "image_generation", "project": "P", "model": "painter", "side": entry["side"]}
        assert (await pair.metrics(node))["aicn_images_total", frozenset(use.items())] == 2


async def test_no_words_are_kept_unless_they_are_wanted(pair: _Pair) -> None:
    await pair.chat()
    for node in (pair.entry, pair.worker):
        (entry,) = await until_written(node, 1)
        assert entry["prompt"] is None
        assert SECRET.encode() not in kept_bytes(node)
        assert SECRET not in node.log


@pytest.mark.parametrize("pair", [{"Prompts": True}], indirect=True)
async def test_words_are_kept_where_they_are_wanted_and_deleted_when_they_are_not(pair: _Pair) -> None:
    await pair.chat()
    for node in (pair.entry, pair.worker):
        (entry,) = await until_written(node, 1)
        assert json.loads(entry["prompt"]) == [{"role": "user", "content": SECRET}]
    await pair.worker.stop()
    assert SECRET.encode() in kept_bytes(pair.worker)
    config = pair.worker.config()
    config["AICN"]["History"]["Prompts"] = False
    pair.worker.config_path.write_text(json.dumps(config), encoding="utf-8")
    await pair.worker.start()
    await pair.worker.stop()
    assert SECRET.encode() not in kept_bytes(pair.worker)
    assert [each["prompt"] for each in history(pair.worker)] == [None]


@pytest.mark.parametrize("pair", [{"Enabled": False}], indirect=True)
async def test_nothing_is_kept_when_it_is_switched_off(pair: _Pair) -> None:
    await pair.chat()
    await asyncio.gather(pair.entry.stop(), pair.worker.stop())
    assert history(pair.entry) == history(pair.worker) == []


async def test_what_was_asked_just_before_the_end_is_kept(pair: _Pair) -> None:
    await asyncio.gather(*(pair.chat() for _ in range(20)))
    await pair.entry.stop()
    assert len(history(pair.entry)) == 20


async def test_what_is_written_survives_a_kill(pair: _Pair) -> None:
    await pair.chat()
    kept = await until_written(pair.entry, 1)
    await pair.entry.kill()
    assert history(pair.entry) == kept
    await pair.entry.start()
    assert history(pair.entry) == kept


async def test_a_client_that_leaves_and_a_model_that_breaks_off(pair: _Pair) -> None:
    pair.server.once = [Plan(events=1_000, gap_ms=20), Plan(die_after=2, gap_ms=20), Plan(status=500, body=b"{}")]
    ask = {"project": "P", "model": "m", "stream": True, "messages": []}
    async with pair.http.post(f"{pair.entry.api}/chat/completion/proxy", json=ask) as answer:
        await answer.content.readany()
        answer.close()
    assert [each["outcome"] for each in await until_written(pair.entry, 1)] == ["client_gone"]
    assert [each["outcome"] for each in await until_written(pair.worker, 1)] == ["client_gone"]
    await pair.chat(stream=True)
    assert [each["outcome"] for each in await until_written(pair.entry, 2)][1:] == ["cut"]
    assert [each["outcome"] for each in await until_written(pair.worker, 2)][1:] == ["cut"]
    await pair.chat()
    assert [each["outcome"] for each in await until_written(pair.worker, 3)][2:] == ["upstream_error"]


async def test_metrics_count_what_happened(pair: _Pair) -> None:
    before = await pair.metrics(pair.entry)
    assert before["aicn_peers_connected", frozenset({("direction", "inbound"), ("path", "direct")})] == 1
    assert before["aicn_candidates", frozenset()] == 2
    assert before["aicn_directory_peers", frozenset()] == 2
    assert before["aicn_models_registered", frozenset()] == 0
    assert before["process_resident_memory_bytes", frozenset()] > 1_000_000
    for _ in range(3):
        await pair.chat()
    await pair.chat(model="invented")

    async def counted(node: NodeProcess, name: str, **labels: str) -> float:
        return (await pair.metrics(node)).get((name, frozenset(labels.items())), 0.0)

    use = {"kind": "chat", "project": "P", "model": "m"}
    for node, side in ((pair.entry, "input"), (pair.worker, "worker")):
        async with asyncio.timeout(DEADLINE_S):  # the worker may still be at its end when the client has its answer
            while await counted(node, "aicn_requests_total", side=side, **use, outcome="ok") < 3:
                continue
        assert await counted(node, "aicn_requests_total", side=side, **use, outcome="ok") == 3
        assert await counted(node, "aicn_tokens_total", side=side, **use, type="output") == 6
        assert await counted(node, "aicn_tokens_total", side=side, **use, type="input") == 9
        assert await counted(node, "gen_ai_server_time_to_first_token_seconds_count", side=side, **use) == 3
        assert await counted(node, "gen_ai_server_request_duration_seconds_count", side=side, **use) == 3
        assert await counted(node, "aicn_requests_in_flight", side=side, kind="chat") == 0
        assert await counted(node, "aicn_answer_bytes_total", side=side, **use) > 0
    other = {"kind": "chat", "project": "other", "model": "other"}
    assert await counted(pair.entry, "aicn_requests_total", side="input", **other, outcome="no_candidate") == 1
    assert await counted(pair.entry, "aicn_gossip_messages_total", outcome="applied") >= 1
    assert await counted(pair.entry, "aicn_gossip_published_total") >= 1
    assert await counted(pair.worker, "aicn_dials_total", result="ok") >= 1
    assert await counted(pair.worker, "aicn_models_registered") == 2
    assert await counted(pair.entry, "aicn_history_lost_total") == 0


async def test_table_csv_and_follow(pair: _Pair) -> None:
    await pair.chat()
    await until_written(pair.entry, 1)
    table = aicn("history", pair.entry.folder / "datastore", cwd=pair.entry.folder).stdout.splitlines()
    assert table[0].split() == ["WHEN", "SIDE", "MODEL", "FROM", "TO", "FIRST", "TOTAL", "TOKENS", "BYTES", "OUTCOME"]
    assert table[1].split()[2:6] == ["input", "P/m", "127.0.0.1", f"…{pair.worker.peer[-9:]}"]
    assert table[1].endswith("  ok")
    rows = list(
        csv.DictReader(io.StringIO(aicn("history", pair.entry.config_path, "--csv", cwd=pair.entry.folder).stdout))
    )
    assert [(row["model"], row["completion_tokens"], row["outcome"]) for row in rows] == [("m", "2", "ok")]

    following = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aicn", "history", str(pair.entry.config_path), "--json", "--follow"),
        stdout=subprocess.PIPE,
        env=environment(),
    )
    assert following.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        assert json.loads(await following.stdout.readline())["id"] == 1
        await pair.chat(model="invented")
        assert json.loads(await following.stdout.readline())["model"] == "invented"
    following.terminate()
    await following.wait()


def test_what_is_no_datastore_is_told(tmp_path: Path) -> None:
    assert "there is no datastore" in refused(aicn("history", tmp_path, cwd=tmp_path), 1)
    assert "choose one" in refused(aicn("history", tmp_path, "--json", "--csv", cwd=tmp_path), 2)
    assert "is no time" in refused(aicn("history", tmp_path, "--since", "soon", cwd=tmp_path), 2)
