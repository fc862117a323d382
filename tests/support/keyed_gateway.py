"""An Input that is reached under a name of its own, as through a reverse proxy, and the keys that it has given out.

async with keyed_gateway(tmp_path) as gateway:
    number, secret = await gateway.add("--name", "Ann")
    status, headers, body = await gateway.ask(secret)
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from support.command_line import aicn
from support.mock_model_server import MockModelServer
from support.processes import NodeProcess, Nodes

NAME = "models.example"
BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
DEADLINE_S = 20.0


class KeyedGateway:
    """An Input that is reached under a name of its own, and a Worker with two models."""

    def __init__(self, nodes: Nodes, entry: NodeProcess, worker: NodeProcess, server: MockModelServer) -> None:
        self.nodes = nodes
        self.entry = entry
        self.worker = worker
        self.server = server
        self.http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=DEADLINE_S)
        )
        self.url = self.entry.api.removesuffix("/api/v0")

    def keys(self, *words: str) -> str:
        done = aicn("keys", words[0], str(self.entry.config_path), *words[1:], cwd=self.entry.config_path.parent)
        assert done.returncode == 0, done.stderr
        return done.stdout

    async def add(self, *words: str) -> tuple[str, str]:
        """Make a key, and wait until the node knows it; return its id and its secret."""
        made = json.loads(await asyncio.to_thread(self.keys, "add", "--json", *words))
        async with asyncio.timeout(DEADLINE_S):
            while (await self.ask(made["secret"], path="/v1/models", method="GET"))[0] == 401:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return made["id"], made["secret"]

    async def ask(
        self,
        secret: str = "",
        *,
        path: str = "/v1/chat/completions",
        method: str = "POST",
        host: str = NAME,
        **more: Any,
    ) -> tuple[int, dict[str, str], Any]:
        """Ask as a caller from elsewhere; return status, headers and body."""
        headers = {"Host": host, **({"Authorization": f"Bearer {secret}"} if secret else {})}
        body = None if method == "GET" else {**BODY, **more}
        async with self.http.request(method, f"{self.url}{path}", headers=headers, json=body) as answer:
            return answer.status, dict(answer.headers), await answer.json(content_type=None)


@asynccontextmanager
async def keyed_gateway(folder: Path, limits: Mapping[str, Any] | None = None) -> AsyncIterator[KeyedGateway]:
    """Run an Input with `limits` as its `AICN.Limits`, and a Worker with the models P/m and Q/other."""
    settings = {"API": {"AllowedHosts": [NAME]}, "Limits": dict(limits or {})}
    async with MockModelServer() as server, Nodes(folder) as nodes:
        entry = await nodes.input(AICN=settings)
        models = [("P", "m", server.chat_url), ("Q", "other", server.chat_url)]
        worker = await nodes.worker(entry, models=models)
        for project, model, _ in models:
            await nodes.until_seen(entry, project, model, worker)
        made = KeyedGateway(nodes, entry, worker, server)
        try:
            yield made
        finally:
            await made.http.close()
