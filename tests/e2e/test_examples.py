"""The examples run as they stand."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from support.mock_model_server import MockModelServer, Plan
from support.processes import Nodes

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


async def example(name: str, *words: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, EXAMPLES / name, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_a_model_is_registered_and_then_asked(tmp_path: Path) -> None:
    async with MockModelServer(Plan(events=3)) as server, Nodes(tmp_path) as nodes:
        entry = await nodes.input()
        worker = await nodes.worker(entry)
        worker_url, entry_url = (node.api.removesuffix("/api/v0") for node in (worker, entry))

        status, out, err = await example("register_model.py", "P", "m", server.chat_url, worker_url)
        assert (status, out, err) == (0, "ok\n", "")
        await nodes.until_seen(entry, "P", "m", worker)

        status, out, err = await example("stream_chat.py", "P", "m", "Hello!", entry_url)
        assert (status, err) == (0, "")
        assert out == f"token0 token1 token2 \n\nanswered by {worker.peer}\n"

        server.plan = Plan(events=3, die_after=2, gap_ms=100)
        status, out, err = await example("stream_chat.py", "P", "m", "Hello!", entry_url)
        assert status == 1
        assert out.startswith("token0 token1 ")
        assert err == "the answer broke off\n"


async def test_a_model_of_another_machine_is_refused(tmp_path: Path) -> None:
    async with Nodes(tmp_path) as nodes:
        worker = await nodes.worker()
        url = worker.api.removesuffix("/api/v0")
        status, _, err = await example("register_model.py", "P", "m", "http://192.0.2.1/v1", url)
    assert status == 1
    assert err == "the url and the node are not on the same machine\n"
