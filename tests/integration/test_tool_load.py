"""`aicn tool load`: the real command against a real server, and through real nodes."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from support.command_line import aicn as command
from support.command_line import environment, refused
from support.mock_model_server import MockModelServer, Plan, completion
from support.processes import Nodes


async def start(*words: str | Path, cwd: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "aicn", "tool", "load", *map(str, words)),
        cwd=cwd,
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def load(*words: str | Path, cwd: Path) -> tuple[int, str, str]:
    process = await start(*words, cwd=cwd)
    async with asyncio.timeout(60):
        printed, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed.decode(), errors.decode()


async def measured(*words: str | Path, cwd: Path) -> tuple[int, dict[str, Any]]:
    status, printed, errors = await load(*words, "--json", cwd=cwd)
    assert errors == ""
    facts: dict[str, Any] = json.loads(printed)
    return status, facts


async def test_a_stream_through_the_network(tmp_path: Path) -> None:
    plan = Plan(events=4, first_event_ms=30, gap_ms=10)
    async with MockModelServer(plan) as server, Nodes(tmp_path) as nodes:
        entry = await nodes.input()
        worker = await nodes.worker(entry, models=[("P", "m", server.chat_url)])
        await nodes.until_seen(entry, "P", "m", worker)
        words = (f"http://127.0.0.1:{entry.api_port}", "--project", "P", "--model", "m", "--prompt", "hö", "-n", "12")
        status, facts = await measured(*words, "-c", "3", "--max-tokens", "9", cwd=tmp_path)
    assert (status, facts["ok"], facts["failed"], facts["ended"], facts["interrupted"]) == (0, 12, 0, 12, False)
    assert facts["url"].endswith("/api/v0/chat/completion/proxy")
    assert facts["content_events"] == 48
    first, whole = facts["first_token_ms"], facts["latency_ms"]
    assert 30 <= first["p50"] <= first["p90"] <= first["p95"] <= first["p99"] <= first["max"]
    assert first["p50"] + 25 < whole["p50"] <= whole["max"] < facts["wall_s"] * 1_000
    assert facts["requests_per_s"] == pytest.approx(12 / facts["wall_s"], rel=0.05)
    assert len(server.seen) == 12
    asked = server.seen[0].json()
    assert (asked["stream"], asked["max_tokens"], asked["messages"]) == (
        True,
        9,
        [{"role": "user", "content": "hö"}],
    )


async def test_never_more_at_once_than_asked_and_no_stream(tmp_path: Path) -> None:
    async with MockModelServer(Plan(first_byte_ms=20)) as server:
        words = (server.chat_url, "--model", "m", "--no-stream", "-n", "20", "-c", "4")
        process = await start(*words, "--json", cwd=tmp_path)
        most = 0
        for _ in range(20):
            await server.next_request()
            most = max(most, server.in_flight)
        printed, _ = await process.communicate()
    facts = json.loads(printed)
    assert process.returncode == 0
    assert (facts["ok"], facts["first_token_ms"], facts["content_events"]) == (20, None, 0)
    assert facts["latency_ms"]["p50"] >= 20
    assert 2 <= most <= 4
    assert server.seen[0].json()["stream"] is False


async def test_failures_by_kind(tmp_path: Path) -> None:
    error = b'data: {"error": {"message": "gone\\u001b[2J"}}\n\ndata: [DONE]\n\n'
    async with MockModelServer() as server:
        server.once = [
            Plan(),
            Plan(status=503, body=b'{"message": "busy"}'),
            Plan(status=503, body=b"later"),
            Plan(chunks=(error,)),
            Plan(done=False),
            Plan(die_after=1),
            Plan(hang=True),
        ]
        words = (server.chat_url, "--model", "m", "-n", "7", "-c", "1", "-t", "2")
        status, facts = await measured(*words, cwd=tmp_path)
        assert (status, facts["ok"], facts["failed"]) == (1, 1, 6)
        assert {kind: each["count"] for kind, each in facts["failures"].items()} == {
            "HTTP 503": 2,
            "broken off": 2,
            "error in the stream": 1,
            "timeout": 1,
        }
        assert facts["failures"]["HTTP 503"]["example"] == '{"message": "busy"}'
        server.once = [Plan(chunks=(error,))]
        status, printed, errors = await load(server.chat_url, "--model", "m", "-n", "2", cwd=tmp_path)
    assert (status, errors) == (1, "")
    assert "  1 well, 1 failed, 0 not ended, in " in printed
    assert "  error in the stream: 1 times, the first said: gone?[2J\n" in printed
    assert re.search(r"^  first token ms: mean [\d.]+  p50 [\d.]+  p90 .*  max [\d.]+$", printed, re.MULTILINE)


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    async with MockModelServer() as server:
        url = server.chat_url
    status, facts = await measured(url, "--model", "m", "-n", "3", cwd=tmp_path)
    assert (status, facts["failures"]["unreachable"]["count"], facts["latency_ms"]) == (1, 3, None)
    assert "refused" in facts["failures"]["unreachable"]["example"]


async def test_ctrl_c_shows_what_was_measured(tmp_path: Path) -> None:
    async with MockModelServer() as server:
        server.once = [Plan()] * 5
        server.plan = Plan(hang=True)
        process = await start(server.chat_url, "--model", "m", "-n", "50", "-c", "2", cwd=tmp_path)
        for _ in range(7):
            await server.next_request()
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(10):
            printed, errors = await process.communicate()
        assert (process.returncode, errors) == (0, b"")
        assert b"  5 well, 0 failed, 45 not ended, in " in printed
        async with asyncio.timeout(10):
            for seen in server.seen[5:]:
                await seen.gone.wait()


async def test_a_body_and_headers_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "body.json").write_bytes(b'{"any": "thing"}\n')
    async with MockModelServer(Plan(body=completion("m"))) as server:
        words = (f"{server.url}/x?y=1", "--body", tmp_path / "body.json", "-n", "2")
        status, facts = await measured(*words, "-H", "Authorization: Bearer t", "-H", "X-A:b", cwd=tmp_path)
    assert (status, facts["ok"]) == (0, 2)
    seen = server.seen[0]
    assert (seen.method, seen.path, seen.query, seen.body) == ("POST", "/x", "y=1", b'{"any": "thing"}\n')
    assert (seen.header("authorization"), seen.header("x-a")) == ("Bearer t", "b")
    assert seen.header("content-type") == "application/json"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("http://198.51.100.1:7002", "--model", "m"), ".*198.51.100.1 is not this machine.*--mine.*"),
        (("http://localhost.example/", "--model", "m"), ".*not this machine.*"),
        (("http://127.0.0.1:7002",), ".*name a model with --model.*"),
        (("127.0.0.1:7002", "--model", "m"), ".*is not a URL.*"),
        (("http://[::1", "--model", "m"), ".*is not a URL.*"),
        (("http://u:p@127.0.0.1/", "--model", "m"), ".*--header"),
        (("http://127.0.0.1/", "--model", "m", "-H", "frob"), ".*NAME:VALUE.*"),
        (("http://127.0.0.1/", "--body", __file__, "--max-tokens", "5"), ".*leave out --max-tokens.*"),
        (("http://127.0.0.1/", "--model", "m", "-c", "1001"), ".*1<=x<=1000.*"),
    ],
)
def test_refusals(tmp_path: Path, words: tuple[str, ...], line: str) -> None:
    assert re.fullmatch(line, refused(command("tool", "load", *words, cwd=tmp_path), 2))


async def test_another_machine_with_leave(tmp_path: Path) -> None:
    """The name is one that is never there: what counts is that it is asked."""
    status, facts = await measured("http://nobody.invalid/x", "--model", "m", "-n", "1", "--mine", cwd=tmp_path)
    assert (status, facts["failures"]["unreachable"]["count"]) == (1, 1)
