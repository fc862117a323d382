"""Keeps what is registered like what the model servers of this machine have."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import urlsplit

from aicn.errors import ConfigError, RegistryError
from aicn.ids import InstanceId, ModelName, ProjectName
from aicn.registry.controls import renamed
from aicn.registry.discovery.fingerprints import FoundModel, FoundServer
from aicn.registry.discovery.scanner import Scanner
from aicn.registry.discovery.selection import Selection
from aicn.registry.models import Model
from aicn.registry.registrar import ModelRegistry

_log = logging.getLogger("aicn.registry.discovery")


class Follower:
    """Registers models that are found, and unregisters those that their servers have no more.

    A server that does not answer keeps its models: whether they can be asked now is a matter of their health. What was
    registered by hand is left alone, and so is a name that the owner has given to a found model since. A found model
    that an operator has paused, capped or renamed is as it was when its server lists it again.

    What an earlier run of the node has registered is known by its looks: exactly what would be registered again.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        scanner: Scanner,
        *,
        project: str,
        selection: Selection | None = None,
        interval_s: float,
    ) -> None:
        """Follow what `scanner` finds.

        Args:
            registry: of this node.
            scanner: looks for model servers.
            project: what is found is registered under it.
            selection: what of it, and under which names.
            interval_s: from one look to the next.
        """
        self._registry = registry
        self._scanner = scanner
        self._project = ProjectName(project)
        self._selection = selection or Selection()
        self._interval_s = interval_s
        self._claimed = False
        self._faults: dict[str, str] = {}
        """What kept models from being registered at the last look, and has been told: each fault with one of them."""

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await self.follow()
            await asyncio.sleep(self._interval_s)

    async def follow(self) -> None:
        """Look once, and change what has changed.

        What cannot be changed is left as it is, and told in the log: once, until it is over.
        """
        faults: dict[str, str] = {}
        try:
            # Before the look, which takes its time: what is registered by hand meanwhile is not ours.
            await self._claim()
            await self._rename()
        except (RegistryError, ConfigError) as error:
            faults[str(error)] = "what was found in an earlier run is not followed, or not renamed"
        servers = await self._scanner.scan()
        try:
            for gone in self._gone(servers):
                await self._withdraw(gone)
        except (RegistryError, ConfigError) as error:
            faults.setdefault(str(error), "models that are gone stay registered")
        for server in servers:
            for found in server.models:
                if (model := self._wanted(server, found)) is None:
                    continue
                try:
                    await self._registry.register(model)
                except (RegistryError, ConfigError) as error:
                    faults.setdefault(str(error), f"model {found.name!r} of {server.software} is not registered")
                else:
                    _log.info("model %r of %s at %s is registered", model.model, server.software, server.url)
        for fault in faults.keys() - self._faults.keys():
            _log.warning("%s (told once, for all that it keeps from being changed): %s", faults[fault], fault)
        self._faults = faults

    async def _claim(self) -> None:
        """Take in hand what an earlier run of the node has registered."""
        if self._claimed:
            return
        await self._registry.claim({model.key for model in self._registry.models() if self._looks_found(model)})
        self._claimed = True

    async def _rename(self) -> None:
        """Give those that are called as their servers call them the names that the owner has chosen since."""
        for model in self._registry.models():
            name = self._selection.name_of(model.server_model)
            if model.discovered and model.model == model.server_model != name:
                await self._registry.control(model.project, model.model, model.cid, renamed(name))

    def _looks_found(self, model: Model) -> bool:
        port, _ = _place(model.api)
        return (
            model.project == self._project
            and bool(model.server_model)
            and model.model in {model.server_model, self._selection.name_of(model.server_model)}
            and model.cid in {"", str(port)}
            and model.api.startswith(f"http://{self._scanner.host}:{port}/")
        )

    def _wanted(self, server: FoundServer, found: FoundModel) -> Model | None:
        """Return what to register for a model that was found: what was withheld of it, or a new registration."""
        withheld = self._registry.withheld()
        for former in withheld:
            if former.server_model == found.name and _place(former.api) == _place(found.api):
                return former if self._selection.wants(found.name) else None
        registered = (*self._registry.models(), *withheld)
        model = registration(server, found, self._project, registered, self._selection)
        return None if model is None else replace(model, discovered=True)

    def _gone(self, servers: Iterable[FoundServer]) -> list[Model]:
        """Return the models that were found once, at a server that answers and has them no more, or are unwanted."""
        has = {_place(server.url)[0]: {found.name for found in server.models} for server in servers}
        return [
            model
            for model in self._registry.models()
            if model.discovered
            and (names := has.get(_place(model.api)[0])) is not None
            and (model.server_model not in names or not self._selection.wants(model.server_model))
        ]

    async def _withdraw(self, model: Model) -> None:
        if model.paused or model.max_concurrent or model.model != self._selection.name_of(model.server_model):
            done = await self._registry.withhold(model.key)
        else:
            # Nothing of it is the operator's: what is found anew is the same, and the file need not remember.
            done = await self._registry.unregister(*model.key)
        if done:
            _log.info("model %r is withdrawn: its server has it no more, or it is not wanted", model.model)


def registration(
    server: FoundServer, found: FoundModel, project: ProjectName, registered: Iterable[Model], selection: Selection
) -> Model | None:
    """Return what to register for a model that was found, None if nothing is.

    Args:
        server: who has it.
        found: the model.
        project: to register it under.
        registered: the models of the node.
        selection: which models are wanted, and under which names.
    """
    if not selection.wants(found.name):
        return None
    own = [model for model in registered if model.project == project]
    if any(found.name in {each.server_model, each.model} and _place(each.api) == _place(found.api) for each in own):
        return None
    name = ModelName(selection.name_of(found.name))
    taken = {model.cid for model in own if model.model == name}
    # One server needs no instance; a second one with the same model is told from it by its port.
    cid = "" if not taken else server.url.rpartition(":")[2]
    if cid in taken:
        return None
    return Model(project, name, found.api, found.kind, InstanceId(cid), found.name)


def _place(url: str) -> tuple[int | None, str]:
    """Return port and path of a URL. Its host is this machine, by whichever of its names."""
    parts = urlsplit(url)
    return parts.port, parts.path
