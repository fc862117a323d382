"""Real nodes as processes: `aicn run` with a configuration in a temporary folder.

    async with Nodes(tmp_path) as nodes:
        entry = await nodes.input()
        worker = await nodes.worker(entry, models=[("P", "m", server.chat_url)])
        await nodes.until_seen(entry, "P", "m", worker)

Waiting is polling of what a user can see, with a deadline; a failure shows the log of every node.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from aicn.identity import PreSharedKey, PrivateKey

READY_TIMEOUT_S = 30.0
SEEN_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.03
LOG_LINES = 40
"""Of each node, in the message of a failure."""


ModelEntry = tuple[str, str, str] | tuple[str, str, str, int]
"""Project, model and URL of a model; its type where that is not 0, a chat model."""


class NodeFailed(AssertionError):
    """A node did not do what the test needs it for; carries every log."""


@dataclass(slots=True)
class NodeProcess:
    """One node: its files, its addresses and, while it runs, its process."""

    name: str
    folder: Path
    peer: str
    api_port: int
    p2p_port: int
    process: asyncio.subprocess.Process | None = None
    starts: int = 0
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def api(self) -> str:
        """Base URL of the API, up to and with `/api/v0`."""
        return f"http://127.0.0.1:{self.api_port}/api/v0"

    @property
    def multiaddr(self) -> str:
        """Where others dial it."""
        return f"/ip4/127.0.0.1/tcp/{self.p2p_port}/p2p/{self.peer}"

    @property
    def config_path(self) -> Path:
        """The configuration file."""
        return self.folder / "node.json"

    @property
    def log(self) -> str:
        """Everything the process wrote to its output and error, over all its starts."""
        path = self.folder / "output.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    async def until_logged(self, *words: str, seconds: float = 60.0) -> str:
        """Wait until one line of the log has all `words`; return the first that does.

        Raises:
            NodeFailed: none had, for so long.
        """
        async with _deadline(seconds, f"{self.name} never said {words}", [self]):
            while True:
                for line in self.log.splitlines():
                    if all(word in line for word in words):
                        return line
                await asyncio.sleep(POLL_S)

    def last_lines(self) -> str:
        """Return the end of the log, for messages."""
        return "\n".join(self.log.splitlines()[-LOG_LINES:])

    @property
    def pid(self) -> int:
        """Process id of the running node."""
        assert self.process is not None, f"{self.name} does not run"
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.returncode is None

    def config(self) -> dict[str, Any]:
        """Return the configuration file as it stands on disk."""
        decoded: dict[str, Any] = json.loads(self.config_path.read_text(encoding="utf-8"))
        return decoded

    async def start(self, *, wait: bool = True) -> None:
        """Start `aicn run -c node.json`, and wait until its API answers unless told otherwise."""
        with (self.folder / "output.log").open("ab") as out:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "aicn",
                "run",
                "-c",
                str(self.config_path),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=asyncio.subprocess.STDOUT,
                cwd=self.folder,
                env={**os.environ, **self.env},
            )
        self.starts += 1
        if wait:
            await self.ready()

    async def ready(self) -> None:
        """Wait until the API answers."""
        what = f"{self.name} did not answer at {self.api}/id"
        async with aiohttp.ClientSession() as session, _deadline(READY_TIMEOUT_S, what, [self]):
            while True:
                if not self.running:
                    status = self.process.returncode if self.process else None
                    raise NodeFailed(f"{self.name} ended with {status}\n{self.last_lines()}")
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{self.api}/id") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(POLL_S)

    async def stop(self) -> int:
        """Ask the node to stop and return its exit status; kill it if it does not."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                return await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            raise NodeFailed(f"{self.name} did not stop within {STOP_TIMEOUT_S} s\n{self.last_lines()}") from None

    async def kill(self) -> None:
        """End the process with SIGKILL."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    def rss_bytes(self) -> int:
        """Return the memory of the process that lies in RAM."""
        return self._status_bytes("VmRSS")

    def peak_rss_bytes(self) -> int:
        """Return the most memory of the process that lay in RAM at once, since `forget_peak_rss`."""
        return self._status_bytes("VmHWM")

    def forget_peak_rss(self) -> None:
        """Let the peak be what lies in RAM now (Linux)."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")

    def _status_bytes(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1_024
        raise NodeFailed(f"no {name} of {self.pid}")


class Nodes:
    """The nodes of one test: one private network, one folder. Leaving stops them all."""

    def __init__(self, folder: Path, *, psk: str | None = None) -> None:
        """Make nodes in `folder`; `psk` is 64 hex digits, "" for none, None for a fresh one."""
        self._folder = folder
        self._psk = PreSharedKey.generate().hex if psk is None else psk
        self.all: list[NodeProcess] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in reversed(self.all):
            if node.running:
                await node.kill()
        if error is not None and not isinstance(error, NodeFailed):
            error.add_note(_logs(self.all))

    async def input(self, *, start: bool = True, **changes: Any) -> NodeProcess:
        """Make an Input, and start it unless told otherwise. `changes`: see `make`."""
        node = self.make("input", **changes)
        if start:
            await node.start()
        return node

    async def worker(
        self, *inputs: NodeProcess, models: Iterable[ModelEntry] = (), start: bool = True, **changes: Any
    ) -> NodeProcess:
        """Make a Worker that knows `inputs` and has `models`."""
        node = self.make("worker", bootstrap=[one.multiaddr for one in inputs], models=models, **changes)
        if start:
            await node.start()
        return node

    def make(
        self,
        role: str,
        *,
        name: str = "",
        bootstrap: Iterable[str] = (),
        models: Iterable[ModelEntry] = (),
        router: str = "floodsub",
        log_level: str = "info",
        app: Mapping[str, Any] | None = None,
        **sections: Any,
    ) -> NodeProcess:
        """Write the configuration of a node and return it, not started.

        Args:
            role: `input` or `worker`.
            name: folder and name in messages; by default the role and a number.
            bootstrap: multiaddrs to dial at the start.
            models: what it serves.
            router: gossip protocol.
            log_level: as in the configuration.
            app: laid over the section `App`.
            sections: top-level sections laid over the rest.
        """
        key = PrivateKey.generate()
        name = name or f"{role}{sum(one.name.startswith(role) for one in self.all)}"
        folder = self._folder / name
        (folder / "datastore").mkdir(parents=True)
        api_port, p2p_port = free_ports(2)
        node = NodeProcess(name, folder, key.public.peer_id, api_port, p2p_port)
        is_input = role == "input"
        projects: dict[str, list[dict[str, Any]]] = {}
        for project, model, url, *kind in models:
            projects.setdefault(project, []).append(
                {"Model": model, "API": url, "Type": kind[0] if kind else 0, "CID": ""}
            )
        config = {
            "Bootstrap": list(bootstrap),
            "Addresses": [f"/ip4/127.0.0.1/tcp/{p2p_port}"],
            "API": {"Addr": f"127.0.0.1:{api_port}"},
            "Identity": {"PeerID": node.peer, "PrivKey": key.base64},
            "Swarm": {
                "ConnMgr": {"Type": "basic", "HighWater": 400, "LowWater": 100, "GracePeriod": "60s"},
                "DisableNatPortMap": True,
                "RelayClient": {"Enabled": False, "StaticRelays": []},
                "RelayService": {"Enabled": is_input},
                "EnableHolePunching": False,
                "EnableAutoNATService": False,
                "DialTimeout": "",
            },
            "Pubsub": {"Enabled": True, "Router": router, "FloodPublish": True},
            "Routing": {"Type": "dhtserver" if is_input else "dhtclient", "ProtocolPrefix": "/dbc"},
            "App": {
                "LogLevel": log_level,
                "LogFile": "",
                "LogOutput": "stderr",
                "PreSharedKey": self._psk,
                "TopicName": "DeepBrainChain",
                "Datastore": str(folder / "datastore"),
                "AutoUpgrade": {"Enabled": False, "TimeInterval": "1h"},
                "PeersCollect": {"Enabled": is_input, "HeartbeatInterval": "180s", "ClientProject": ""},
                **(app or {}),
            },
            "AIProjects": [{"Project": project, "Models": entries} for project, entries in projects.items()],
            **sections,
        }
        # Model servers of tests die and hang on purpose; that they are watched is for the tests of that.
        config["AICN"] = {"Health": {"Enabled": False}, **sections.get("AICN", {})}
        node.config_path.write_text(json.dumps(config, indent=2), encoding="utf-8")
        node.config_path.chmod(0o600)
        self.all.append(node)
        return node

    async def until_seen(self, entry: NodeProcess, project: str, model: str, *workers: NodeProcess) -> None:
        """Wait until `entry` lists every one of `workers`, connected, as serving the model."""
        wanted = {worker.peer for worker in workers}
        query = {"project": project, "model": model}
        what = f"{entry.name} did not see {model} of {project} at {[worker.name for worker in workers]}"
        async with aiohttp.ClientSession() as session, _deadline(SEEN_TIMEOUT_S, what, self.all):
            while True:
                async with session.get(f"{entry.api}/ai/projects/peers", params=query) as answer:
                    listed = (await answer.json())["data"] or []
                if wanted <= {peer["node_id"] for peer in listed if peer["connectivity"] == 1}:
                    return
                await asyncio.sleep(POLL_S)


def free_ports(count: int) -> list[int]:
    """Return distinct loopback TCP ports that were free a moment ago.

    They lie below those that the system gives to outgoing connections: of them, many come and go at any moment.
    """
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(found) < count:
            port = secrets.choice(_PORTS)
            one = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                one.bind(("127.0.0.1", port))
                found.append(port)
    return found


_PORTS = range(10_000, 32_000)


@contextlib.asynccontextmanager
async def _deadline(seconds: float, what: str, nodes: Iterable[NodeProcess]) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise NodeFailed(f"{what} within {seconds} s\n{_logs(nodes)}") from None


def _logs(nodes: Iterable[NodeProcess]) -> str:
    return "\n".join(f"--- {node.name}\n{node.last_lines()}" for node in nodes)
