"""How soon the model server sees its socket close when a client leaves: in every mode, p99 over all of them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bench.client import percentile
from support.drawing import draw
from support.mock_model_server import MockModelServer, Plan, event
from support.processes import Nodes

PROJECT, CHAT, DRAW, EDIT = "bench", "chat", "draw", "edit"
DEADLINE_S = 10.0
LONG_MS = 3_600_000.0
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'


@dataclass(frozen=True, slots=True)
class Mode:
    """One kind of request, and what the model server is at when the client leaves."""

    name: str
    path: str
    fields: dict[str, Any]
    plan: Plan
    inside: bool = False
    """Whether the client leaves after the first bytes of the answer."""
    form: bool = False
    query: dict[str, str] = field(default_factory=dict)


def _chat(*, stream: bool) -> dict[str, Any]:
    return {"project": PROJECT, "model": CHAT, "stream": stream, "messages": [{"role": "user", "content": "hi"}]}


_EDIT = {"project": PROJECT, "model": EDIT}
_DRAW = {"project": PROJECT, "model": DRAW, "prompt": "a cat"}

MODES = (
    Mode("stream", "chat/completion", _chat(stream=True), Plan(events=10_000, gap_ms=20), inside=True),
    Mode("before the head", "chat/completion", _chat(stream=True), Plan(hang=True)),
    Mode("prefill", "chat/completion", _chat(stream=True), Plan(first_event_ms=LONG_MS)),
    Mode("role only", "chat/completion", _chat(stream=True), Plan(chunks=(ROLE, event(CHAT, 0)), gap_ms=LONG_MS)),
    Mode("no stream", "chat/completion", _chat(stream=False), Plan(hang=True)),
    Mode("image", "image/gen", _DRAW, Plan(hang=True)),
    Mode("image edit", "image/edit", {"prompt": "a hat"}, Plan(hang=True), form=True, query=_EDIT),
)


async def cancel(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Return for each mode how many milliseconds each of `rounds` clients took from leaving to the closed socket."""
    async with MockModelServer() as server, Nodes(folder) as nodes:
        entry = await nodes.input(log_level="warn")
        models = [
            (PROJECT, CHAT, server.chat_url, 0),
            (PROJECT, DRAW, server.image_url, 1),
            (PROJECT, EDIT, server.edit_url, 2),
        ]
        worker = await nodes.worker(entry, models=models, log_level="warn")
        for model in (CHAT, DRAW, EDIT):
            await nodes.until_seen(entry, PROJECT, model, worker)
        return {
            mode.name: [await _leave(server, f"{entry.api}/{mode.path}/proxy", mode) for _ in range(rounds)]
            for mode in MODES
        }


async def _leave(server: MockModelServer, url: str, mode: Mode) -> float:
    server.plan = mode.plan
    async with aiohttp.ClientSession() as client:
        post = asyncio.create_task(client.post(url, params=mode.query, **_body(mode)))
        seen = await server.next_request(DEADLINE_S)
        if mode.inside:
            answer = await post
            await answer.content.readany()
            left_s = time.monotonic()
            answer.close()
        else:
            left_s = time.monotonic()
            post.cancel()
            await asyncio.wait((post,))
        async with asyncio.timeout(DEADLINE_S):
            await seen.gone.wait()
    assert seen.gone_s is not None
    return (seen.gone_s - left_s) * 1_000


def _body(mode: Mode) -> dict[str, Any]:
    if not mode.form:
        return {"json": mode.fields}
    form = aiohttp.FormData(mode.fields)
    form.add_field("image", draw("a cat"), filename="cat.png", content_type="image/png")
    return {"data": form}


def worst(delays_ms: dict[str, list[float]], percent: float) -> tuple[str, float]:
    """Return the mode that is slowest at `percent`, and its milliseconds."""
    return max(((name, percentile(ms, percent)) for name, ms in delays_ms.items()), key=lambda found: found[1])
