"""The models of a node, for the command line: through the HTTP API of a node that runs, else in its file.

Both write the same file in the end. A node that runs is asked because it alone can tell the network at once.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from aicn.config import Config, ConfigFile, Raw, set_models
from aicn.config.document import decode
from aicn.errors import ConfigError, RegistryError, StoreError, UsageError
from aicn.filelock import hold
from aicn.ids import InstanceId, ModelName, ProjectName
from aicn.registry import Control, Model, ModelRegistry, capped, paused, renamed
from aicn.store.kv import LOCK_NAME, in_use

_T = TypeVar("_T")

_ANSWER_TIMEOUT_S: Final = 10.0
_DRAIN_TIMEOUT_S: Final = 320.0
"""A little more than a node waits for its requests to end."""

_LOCK_TIMEOUT_S: Final = 3.0
"""Other commands hold the lock of a node that does not run as well, for some milliseconds each."""

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
        ConfigError: the file cannot be used, or the certificate that it names.
        RegistryError: the node runs and cannot be asked.
        StoreError: whether it runs cannot be told.
    """
    file = ConfigFile.load(path)
    running = RunningNode(file.config)
    trouble = running.trouble()
    if not trouble:
        return running
    # What a node that runs is not told it writes over with the next change that it is told.
    if in_use(Path(file.config.app.datastore), timeout_s=_LOCK_TIMEOUT_S):
        raise RegistryError(
            f"the node of {path} runs, but cannot be asked at {running.url} ({trouble}), and nothing was changed; "
            "try again once it has started, or stop it first"
        )
    return StoppedNode(file)


class RunningNode(ModelKeeper):
    """A node that is asked over its API, on its own machine."""

    def __init__(self, config: Config) -> None:
        """Ask the node of `config`.

        Raises:
            ConfigError: its certificate cannot be read.
        """
        host, _, port = config.api.addr.rpartition(":")
        own = config.aicn.api
        where = "127.0.0.1" if host.strip("[]") in _EVERYWHERE else host
        self.url = f"{'https' if own.tls_certificate else 'http'}://{where}:{port}"
        self._peer = config.identity.peer_id
        secured = [HTTPSHandler(context=_trust(own.tls_certificate))] if own.tls_certificate else []
        # It is on this machine: no proxy that the environment names leads there.
        self._opener = build_opener(ProxyHandler({}), *secured)

    def trouble(self) -> str:
        """Return why this node cannot be asked, in some words; nothing if it can."""
        try:
            peer = self._asked("GET", "id", None).get("peer_id", self._peer)
        except RegistryError as error:
            return str(error)
        except (OSError, HTTPException, ValueError) as error:
            return _reason(error)
        return "" if peer == self._peer else "another node answers there"

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
        try:
            return self._asked(method, path, fields, timeout_s)
        except (OSError, HTTPException, ValueError) as error:
            raise RegistryError(
                f"the node at {self.url} did not answer ({_reason(error)}); see what it has done: `aicn models list`"
            ) from error

    def _asked(
        self, method: str, path: str, fields: dict[str, Any] | None, timeout_s: float = _ANSWER_TIMEOUT_S
    ) -> dict[str, Any]:
        """Return what the node says; what else comes of asking is raised as it is, but for its own refusals."""
        body = None if fields is None else json.dumps(fields).encode()
        where = f"{self.url}/api/v0/{path}"
        request = Request(where, body, {"Content-Type": "application/json"}, method=method)  # noqa: S310 - http, https
        try:
            with self._opener.open(request, timeout=timeout_s) as answer:
                answered = json.load(answer)
        except HTTPError as error:
            raise RegistryError(_message(error)) from None
        if not isinstance(answered, dict):
            raise ValueError("what answers there is no node")  # noqa: TRY004 - of bytes that came, not of a call
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

        return self._change(change)

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

    def _change(self, change: Callable[[ModelRegistry], Awaitable[_T]]) -> _T:
        # Here, for a node that runs needs none of it.
        from aicn.node.settings import configured_models  # noqa: PLC0415

        results: list[_T] = []

        def rewrite(raw: Raw) -> None:
            """Change the models that the file has now: another command may have changed them since it was read."""

            async def save(models: tuple[Model, ...]) -> None:
                set_models(raw, models)

            async def changed() -> _T:
                return await change(ModelRegistry(configured_models(decode(raw)), save=save))

            # In the thread of `update`, which has no loop of its own.
            results.append(asyncio.run(changed()))

        with self._stopped():
            self._file = ConfigFile.load(self._file.path)
            asyncio.run(self._file.update(rewrite))
        return results[0]

    @contextmanager
    def _stopped(self) -> Iterator[None]:
        """Keep the node from starting for the length of the block, and other commands from changing its models."""

        def refuse() -> RegistryError:
            return RegistryError(
                f"the node of {self._file.path} has just been started, or other commands change it, "
                "and nothing was changed; try again"
            )

        folder = Path(self._file.config.app.datastore)
        with ExitStack() as stack:
            try:
                stack.enter_context(hold(folder / LOCK_NAME, _LOCK_TIMEOUT_S, refuse))
            except OSError as error:
                raise StoreError(
                    f"the datastore {folder} cannot be used ({error.strerror}); nothing was changed, check its rights"
                ) from error
            yield


def split_name(text: str) -> tuple[str, str]:
    """Return project and model of `PROJECT/MODEL`; the model may hold slashes.

    Raises:
        UsageError: it is none.
    """
    project, slash, model = text.partition("/")
    if not slash or not project or not model:
        raise UsageError(f"{text!r} names no model; write PROJECT/MODEL")
    return project, model


def _trust(certificate: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=certificate)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(
            f"AICN.API.TLSCertificate {certificate} cannot be read ({reason}), and without it the node is not asked; "
            "correct its path; nothing was changed"
        ) from error
    # It is the node's own certificate, and it names the node as others call it.
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # its authority need not be one of this machine's
    return context


def _reason(error: Exception) -> str:
    """Return what a person can use of `error`."""
    if isinstance(error, URLError) and isinstance(error.reason, Exception):
        return _reason(error.reason)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _message(error: HTTPError) -> str:
    try:
        said = json.load(error)
    except ValueError:
        said = None
    message = said.get("message") if isinstance(said, dict) else None
    return message if isinstance(message, str) else f"the node answered {error.code}"
