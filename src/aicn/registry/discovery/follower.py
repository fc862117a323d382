"""Keeps what is registered like what the model servers of this machine have."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from urllib.parse import urlsplit

from aicn.errors import RegistryError
from aicn.ids import InstanceId, ModelName, ProjectName
from aicn.registry.discovery.fingerprints import FoundModel, FoundServer
from aicn.registry.discovery.scanner import Scanner
from aicn.registry.discovery.selection import Selection
from aicn.registry.models import Model
from aicn.registry.registrar import ModelRegistry

_log = logging.getLogger("aicn.registry.discovery")


class Follower:
    """Registers models that are found, and unregisters those that their servers have no more.

    A server that does not answer keeps its models: whether they can be asked now is a matter of their health. What was
    registered by hand is left alone, and so is a name that the owner has given to a found model since.
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

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await self.follow()
            await asyncio.sleep(self._interval_s)

    async def follow(self) -> None:
        """Look once, and change what has changed. What cannot be registered is told in the log and left out."""
        servers = await self._scanner.scan()
        for gone in self._gone(servers):
            await self._unregister(gone)
        for server in servers:
            for found in server.models:
                own = self._registry.models()
                model = registration(server, found, self._project, own, self._selection)
                if model is not None:
                    await self._register(model, server)

    def _gone(self, servers: Iterable[FoundServer]) -> list[Model]:
        """Return the models that were found once, at a server that answers and has them no more, or are unwanted."""
        has = {_place(server.url)[0]: {found.name for found in server.models} for server in servers}
        return [
            model
            for model in self._registry.models()
            if model.project == self._project
            and model.server_model
            and (names := has.get(_place(model.api)[0])) is not None
            and (model.server_model not in names or not self._selection.wants(model.server_model))
        ]

    async def _register(self, model: Model, server: FoundServer) -> None:
        try:
            await self._registry.register(model)
        except RegistryError as error:
            _log.warning("model %r of %s is not registered: %s", model.server_model, server.software, error)
        else:
            _log.info("model %r of %s at %s is registered", model.model, server.software, server.url)

    async def _unregister(self, model: Model) -> None:
        if await self._registry.unregister(model.project, model.model, model.cid):
            _log.info("model %r is unregistered: its server has it no more", model.model)


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
