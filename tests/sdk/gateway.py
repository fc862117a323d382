"""An Input and two Workers, each beside a model server with OpenAI's and Anthropic's API."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aicn.ids import ModelKind
from support.mock_model_server import MockModelServer, Plan, Seen
from support.processes import NodeProcess, Nodes

PROJECT = "P"
OTHER_PROJECT = "Q"
TALKER = "talker"
PAINTER = "painter"
EDITOR = "editor"
SLASHED = "org/tiny"
ODD = "odd"
"""At a URL that tells nothing of where its server has other endpoints."""
TWICE = "twice"
"""Served under both projects, so that its name alone does not say which is meant."""
TWICE_OF_OTHER = "twice-of-the-other"
"""What the model server calls the second of them."""
KEY = "unused"
"""The SDKs want one; a caller on the node's own machine needs none."""


@dataclass(slots=True)
class Gateway:
    """The running network."""

    nodes: Nodes
    entry: NodeProcess
    workers: tuple[NodeProcess, NodeProcess]
    servers: tuple[MockModelServer, MockModelServer]

    @property
    def root(self) -> str:
        """What Anthropic's SDK calls the base URL."""
        return self.entry.api.removesuffix("/api/v0")

    @property
    def base_url(self) -> str:
        """What OpenAI's SDKs call the base URL."""
        return f"{self.root}/v1"

    @property
    def direct_root(self) -> str:
        """The first model server itself, without a network before it."""
        return self.servers[0].url

    def renew(self) -> None:
        """Make the model servers as new."""
        for server in self.servers:
            server.plan = Plan(lifelike=True)
            server.once.clear()
            server.forget()

    async def next_request(self) -> Seen:
        """Return the oldest request that arrived at a model server since the last `renew` or call."""
        return await self._first(*(server.next_request() for server in self.servers))

    async def _first(self, *waits: Any) -> Seen:
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            seen: Seen = done.pop().result()
            return seen
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def seen(self) -> list[Seen]:
        """Return every request that arrived since the last `renew`."""
        return sorted((one for server in self.servers for one in server.seen), key=lambda one: one.arrived_s)


def projects_of(server: MockModelServer) -> list[dict[str, Any]]:
    """Return `AIProjects` of a Worker beside `server`."""
    own = [
        (TALKER, server.chat_url, ModelKind.CHAT),
        (SLASHED, server.chat_url, ModelKind.CHAT),
        (TWICE, server.chat_url, ModelKind.CHAT),
        (ODD, f"{server.url}/generate", ModelKind.CHAT),
        (PAINTER, server.image_url, ModelKind.IMAGE_GENERATION),
        (EDITOR, server.edit_url, ModelKind.IMAGE_EDIT),
    ]
    other = {"Model": TWICE, "API": server.chat_url, "Type": 0, "CID": "", "ServerModel": TWICE_OF_OTHER}
    return [
        {
            "Project": PROJECT,
            "Models": [{"Model": name, "API": url, "Type": kind, "CID": ""} for name, url, kind in own],
        },
        {"Project": OTHER_PROJECT, "Models": [other]},
    ]


@contextlib.asynccontextmanager
async def running_gateway(
    folder: Path, *, prepare: Callable[[NodeProcess], object] = id, **settings: Any
) -> AsyncIterator[Gateway]:
    """Start everything, and wait until the Input sees every model of both Workers.

    Args:
        folder: for the nodes.
        prepare: called with the Input before it starts.
        settings: sections of the Input's configuration.
    """
    async with MockModelServer() as first, MockModelServer() as second, Nodes(folder) as nodes:
        entry = nodes.make("input", **settings)
        prepare(entry)
        workers = [
            nodes.make("worker", bootstrap=[entry.multiaddr], AIProjects=projects_of(server))
            for server in (first, second)
        ]
        await asyncio.gather(*(node.start() for node in (entry, *workers)))
        for project in projects_of(first):
            for model in project["Models"]:
                await nodes.until_seen(entry, project["Project"], model["Model"], *workers)
        gateway = Gateway(nodes, entry, (workers[0], workers[1]), (first, second))
        gateway.renew()
        yield gateway
