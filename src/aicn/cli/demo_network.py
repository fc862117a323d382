"""The demonstration's network: a model server, a Worker and an Input, three processes on loopback.

Nothing of it touches the machine beyond a temporary folder: keys and the pre-shared key are fresh, every address is
a loopback one, so the network meets no other.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from aicn.cli.children import Children
from aicn.config import Raw, Role, new_config
from aicn.errors import DemoFailed
from aicn.identity import PreSharedKey, PrivateKey

__all__ = ["DemoNetwork"]

PROJECT: Final = "demo"
"""What the model is registered under."""

START_TIMEOUT_S: Final = 30.0
"""For each part: well under a second here, but a loaded machine may read the model from a slow disk."""

MEET_TIMEOUT_S: Final = 60.0
"""From the start of the Input until it has heard the Worker's heartbeat."""

PREFERRED_API_PORT: Final = 7002
"""What a first Input has as its API port."""


@dataclass(frozen=True, slots=True)
class _NodePlan:
    """One node before its start."""

    role: str
    """`Input` or `Worker`."""
    key: PrivateKey
    api_port: int
    p2p_port: int

    @property
    def peer(self) -> str:
        return self.key.public.peer_id

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def multiaddr(self) -> str:
        return f"/ip4/127.0.0.1/tcp/{self.p2p_port}/p2p/{self.peer}"


class DemoNetwork:
    """Start with `async with`; on leaving, every process is gone and so is the folder.

    Attributes:
        input_url: base URL of the Input's HTTP API.
        model_url: base URL of the model server.
        input_peer: peer id of the Input.
        worker_peer: peer id of the Worker.
        project: what the model is registered under.
        folder: configurations and logs.
    """

    def __init__(self, weights: Path, model: str, *, port: int | None, say: Callable[[str], None]) -> None:
        """Plan the network.

        Args:
            weights: GGUF file of the model.
            model: the name to register it under.
            port: the Input's API port; None: 7002 if it is free, else any.
            say: told each step as it is done, for people.
        """
        self._weights = weights
        self._model = model
        self._port = port
        self._say = say
        self.project = PROJECT
        self._holder = tempfile.TemporaryDirectory(prefix="aicn-demo-", ignore_cleanup_errors=True)
        self.folder = Path(self._holder.name)
        self._children = Children(self.folder)
        self.input_url = self.model_url = self.input_peer = self.worker_peer = ""

    async def __aenter__(self) -> Self:
        """Start the three, in order, and wait until the Input sees the model."""
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the three, in reverse order."""
        await self._stop()

    async def watch(self) -> None:
        """Run until a process stops by itself.

        Raises:
            DemoFailed: one did.
        """
        await self._children.watch()

    async def _start(self) -> None:
        input_api, input_p2p, worker_api, worker_p2p, model_port = _free_ports(5)
        if self._port is not None:
            if not _is_free(self._port):
                raise DemoFailed(f"port {self._port} of 127.0.0.1 is taken: name another one with --port")
            input_api = self._port
        elif _is_free(PREFERRED_API_PORT):
            input_api = PREFERRED_API_PORT
        entry = _NodePlan("Input", PrivateKey.generate(), input_api, input_p2p)
        worker = _NodePlan("Worker", PrivateKey.generate(), worker_api, worker_p2p)
        self.input_url, self.input_peer, self.worker_peer = entry.api_url, entry.peer, worker.peer
        self.model_url = f"http://127.0.0.1:{model_port}"
        psk = PreSharedKey.generate().hex
        model = {"Model": self._model, "API": f"{self.model_url}/v1/chat/completions", "Type": 0, "CID": ""}
        configs = (
            _config(entry, self.folder, psk, [], []),
            _config(worker, self.folder, psk, [entry.multiaddr], [{"Project": PROJECT, "Models": [model]}]),
        )
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            words = ("--weights", str(self._weights.resolve()), "--port", str(model_port), "--name", self._model)
            await self._bring_up(session, "Model server", self.model_url, "/health", "aicn.tools.model_server", *words)
            for plan, config in zip((entry, worker), configs, strict=True):
                path = self._write(plan, config)
                await self._bring_up(session, plan.role, plan.api_url, "/api/v0/id", "aicn", "run", "-c", str(path))
            await self._meet(session)

    async def _bring_up(
        self, session: aiohttp.ClientSession, name: str, url: str, path: str, module: str, *words: str
    ) -> None:
        started_s = time.monotonic()
        await self._children.start(name, module, *words)

        async def answers() -> bool:
            try:
                async with session.get(url + path) as answer:
                    return answer.status == HTTPStatus.OK
            except (aiohttp.ClientError, TimeoutError):
                return False

        await self._children.until(answers, f"the {name} did not answer at {url}{path}", START_TIMEOUT_S)
        self._say(f"{name} is up at {url} ({time.monotonic() - started_s:.1f} s)")

    async def _meet(self, session: aiohttp.ClientSession) -> None:
        started_s = time.monotonic()
        url = f"{self.input_url}/api/v0/ai/projects/peers"

        async def seen() -> bool:
            try:
                async with session.get(url, params={"project": PROJECT, "model": self._model}) as answer:
                    peers = (await answer.json())["data"]
            except (aiohttp.ClientError, TimeoutError, KeyError, ValueError):
                return False
            return any(peer["node_id"] == self.worker_peer and peer["connectivity"] == 1 for peer in peers or ())

        await self._children.until(seen, "the Input did not hear of the Worker's model", MEET_TIMEOUT_S)
        self._say(f"The Input has heard of {self._model} from the Worker ({time.monotonic() - started_s:.1f} s)")

    def _write(self, plan: _NodePlan, config: Raw) -> Path:
        Path(config["App"]["Datastore"]).mkdir()
        path = self.folder / f"{plan.role.lower()}.json"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            json.dump(config, out, indent=2)
        return path

    async def _stop(self) -> None:
        await self._children.stop()
        self._holder.cleanup()


def _config(plan: _NodePlan, folder: Path, psk: str, bootstrap: list[str], projects: list[dict[str, Any]]) -> Raw:
    """Return what `aicn init` writes for the role, shut off from everything but loopback."""
    raw = new_config(
        Role(plan.role.lower()),
        plan.key,
        tcp_port=plan.p2p_port,
        http_port=plan.api_port,
        datastore=folder / f"datastore-{plan.role.lower()}",
        log_file=folder / f"{plan.role.lower()}-node.log",
        pre_shared_key=psk,
    )
    raw["Addresses"] = [f"/ip4/127.0.0.1/tcp/{plan.p2p_port}"]
    raw["Bootstrap"] = bootstrap
    raw["AIProjects"] = projects
    raw["Swarm"]["DisableNatPortMap"] = True
    raw["Swarm"]["EnableAutoNATService"] = False
    # One log for each process, whose last line explains a failure: what `Children` collects.
    raw["App"]["LogOutput"] = "stderr"
    raw["App"]["AutoUpgrade"]["Enabled"] = False
    return raw


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        if sys.platform != "win32":
            # As servers do: a port whose last connection is still being buried counts as free.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
