"""The models of a node, for the command line: through the HTTP API of a node that runs, else in its file.

Both write the same file in the end. A node that runs is asked because it alone can tell the network at once.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from aicn.config import Config, ConfigFile, set_models
from aicn.errors import RegistryError, UsageError
from aicn.ids import InstanceId, ModelName, ProjectName
from aicn.registry import Control, Model, ModelRegistry, capped, paused, renamed

_ANSWER_TIMEOUT_S: Final = 10.0
_DRAIN_TIMEOUT_S: Final = 320.0
"""A little more than a node waits for its requests to end."""

_EVERYWHERE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - what is compared with, not listened on


class ModelKeeper(ABC):
    """What can be done with the models of one node."""

    @abstractmethod
    def models(self) -> list[dict[str, Any]]:
        """Return every model, with the fields of `GET /api/v0/ai/model/list`."""

    @abstractmethod
    def register(self, model: Model) -> None:
        """Add a model, or replace it."""

    @abstractmethod
    def unregister(self, project: str, model: str, cid: str) -> bool:
        """Remove a model; return whether it was there."""

    @abstractmethod
    def pause(self, project: str, model: str, cid: str) -> None:
        """Take no more requests for it."""

    @abstractmethod
    def resume(self, project: str, model: str, cid: str) -> None:
        """Take requests for it again."""

    @abstractmethod
    def drain(self, project: str, model: str, cid: str) -> int:
        """Pause it and wait until nothing is under way; return how many requests still are."""

    @abstractmethod
    def cap(self, project: str, model: str, cid: str, max_concurrent: int) -> None:
        """Let it work on so many requests at once."""

    @abstractmethod
    def rename(self, project: str, model: str, name: str) -> None:
        """Serve it under another name."""


def keeper_of(path: Path) -> ModelKeeper:
    """Return the models of the node whose configuration file is at `path`.

    Raises:
        ConfigError: the file cannot be used.
    """
    file = ConfigFile.load(path)
    running = RunningNode(file.config)
    return running if running.answers() else StoppedNode(file)


class RunningNode(ModelKeeper):
    """A node that is asked over its API, on its own machine."""

    def __init__(self, config: Config) -> None:
        """Ask the node of `config`."""
        host, _, port = config.api.addr.rpartition(":")
        own = config.aicn.api
        where = "127.0.0.1" if host.strip("[]") in _EVERYWHERE else host
        self._base = f"{'https' if own.tls_certificate else 'http'}://{where}:{port}/api/v0"
        self._peer = config.identity.peer_id
        self._tls: ssl.SSLContext | None = None
        if own.tls_certificate:
            # It is the node's own certificate, and it names the node as others call it.
            self._tls = ssl.create_default_context(cafile=own.tls_certificate)
            self._tls.check_hostname = False
            self._tls.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # its authority need not be one of this machine's

    def answers(self) -> bool:
        """Return whether it is this node that answers there, and no other one."""
        try:
            return bool(self._ask("GET", "id", None).get("peer_id", self._peer) == self._peer)
        except (URLError, OSError, ValueError, RegistryError):
            return False

    def models(self) -> list[dict[str, Any]]:
        """Return every model."""
        listed: list[dict[str, Any]] = self._ask("GET", "ai/model/list", None)["data"]
        return listed

    def register(self, model: Model) -> None:
        """Add a model, or replace it."""
        fields = {"project": model.project, "model": model.model, "api": model.api, "type": int(model.kind)}
        self._post("register", {**fields, "cid": model.cid, "server_model": model.server_model})

    def unregister(self, project: str, model: str, cid: str) -> bool:
        """Remove a model; return whether it was there."""
        said = self._post("unregister", {"project": project, "model": model, "cid": cid})
        return bool(said.get("message") == "ok")

    def pause(self, project: str, model: str, cid: str) -> None:
        """Take no more requests for it."""
        self._post("pause", {"project": project, "model": model, "cid": cid})

    def resume(self, project: str, model: str, cid: str) -> None:
        """Take requests for it again."""
        self._post("resume", {"project": project, "model": model, "cid": cid})

    def drain(self, project: str, model: str, cid: str) -> int:
        """Pause it and wait until nothing is under way."""
        fields = {"project": project, "model": model, "cid": cid}
        return int(self._post("drain", fields, _DRAIN_TIMEOUT_S).get("in_flight", 0))

    def cap(self, project: str, model: str, cid: str, max_concurrent: int) -> None:
        """Let it work on so many requests at once."""
        self._post("cap", {"project": project, "model": model, "cid": cid, "max_concurrent": max_concurrent})

    def rename(self, project: str, model: str, name: str) -> None:
        """Serve it under another name."""
        self._post("rename", {"project": project, "model": model, "name": name})

    def _post(self, action: str, fields: dict[str, Any], timeout_s: float = _ANSWER_TIMEOUT_S) -> dict[str, Any]:
        return self._ask("POST", f"ai/model/{action}", fields, timeout_s)

    def _ask(
        self, method: str, path: str, fields: dict[str, Any] | None, timeout_s: float = _ANSWER_TIMEOUT_S
    ) -> dict[str, Any]:
        body = None if fields is None else json.dumps(fields).encode()
        request = Request(f"{self._base}/{path}", body, {"Content-Type": "application/json"}, method=method)  # noqa: S310
        try:
            with urlopen(request, timeout=timeout_s, context=self._tls) as answer:  # noqa: S310 - http and https only
                answered: dict[str, Any] = json.load(answer)
        except HTTPError as error:
            raise RegistryError(_message(error)) from None
        return answered


class StoppedNode(ModelKeeper):
    """The configuration file of a node that does not run."""

    def __init__(self, file: ConfigFile) -> None:
        """Change `file`."""
        self._file = file

    def models(self) -> list[dict[str, Any]]:
        """Return every model."""
        return [
            {
                "project": project.project,
                "model": entry.model,
                "cid": entry.cid,
                "api": entry.api,
                "type": entry.type,
                "server_model": entry.server_model,
                "paused": entry.paused,
                "max_concurrent": entry.max_concurrent,
                "in_flight": 0,
                "state": "paused" if entry.paused else "stopped",
                "reason": "",
            }
            for project in self._file.config.ai_projects
            for entry in project.models
        ]

    def register(self, model: Model) -> None:
        """Add a model, or replace it."""

        async def change(registry: ModelRegistry) -> None:
            await registry.register(model)

        self._change(change)

    def unregister(self, project: str, model: str, cid: str) -> bool:
        """Remove a model; return whether it was there."""

        async def change(registry: ModelRegistry) -> bool:
            return await registry.unregister(ProjectName(project), ModelName(model), InstanceId(cid))

        return bool(self._change(change))

    def pause(self, project: str, model: str, cid: str) -> None:
        """Take no more requests for it."""
        self._control(project, model, cid, paused(on=True))

    def resume(self, project: str, model: str, cid: str) -> None:
        """Take requests for it again."""
        self._control(project, model, cid, paused(on=False))

    def drain(self, project: str, model: str, cid: str) -> int:
        """Pause it; nothing is under way at a node that does not run."""
        self.pause(project, model, cid)
        return 0

    def cap(self, project: str, model: str, cid: str, max_concurrent: int) -> None:
        """Let it work on so many requests at once."""
        self._control(project, model, cid, capped(max_concurrent))

    def rename(self, project: str, model: str, name: str) -> None:
        """Serve it under another name."""
        self._control(project, model, "", renamed(name))

    def _control(self, project: str, model: str, cid: str, control: Control) -> None:
        async def change(registry: ModelRegistry) -> None:
            await registry.control(project, model, cid, control)

        self._change(change)

    def _change(self, change: Any) -> Any:
        # Here, for a node that runs needs none of it.
        from aicn.node.settings import configured_models  # noqa: PLC0415

        async def changed() -> Any:
            async def save(models: tuple[Model, ...]) -> None:
                await self._file.update(lambda raw: set_models(raw, models))

            return await change(ModelRegistry(configured_models(self._file.config), save=save))

        return asyncio.run(changed())


def split_name(text: str) -> tuple[str, str]:
    """Return project and model of `PROJECT/MODEL`; the model may hold slashes.

    Raises:
        UsageError: it is none.
    """
    project, slash, model = text.partition("/")
    if not slash or not project or not model:
        raise UsageError(f"{text!r} names no model; write PROJECT/MODEL")
    return project, model


def _message(error: HTTPError) -> str:
    try:
        said = json.load(error)
    except ValueError:
        said = None
    message = said.get("message") if isinstance(said, dict) else None
    return message if isinstance(message, str) else f"the node answered {error.code}"
