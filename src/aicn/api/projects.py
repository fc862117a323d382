"""`/api/v0/ai`: what the network serves, and what this node adds to it."""

from __future__ import annotations

from itertools import islice
from typing import Any

import msgspec

from aicn import defaults
from aicn.api.caller import Caller
from aicn.api.endpoint import number, query, read_json, required
from aicn.api.errors import parameter
from aicn.api.principal import principal_of
from aicn.ids import InstanceId, ModelName, ProjectName
from aicn.peers import Directory
from aicn.registry import Model, ModelRegistry
from aicn.routing import Candidate, CandidateSource


class _ModelFields(msgspec.Struct):
    model: str = ""
    api: str = ""
    type: int = 0
    cid: str = ""
    server_model: str = ""


class _ProjectFields(msgspec.Struct):
    project: str = ""
    models: list[_ModelFields] = []


class _RegisterFields(_ModelFields):
    project: str = ""


_OK = {"message": "ok"}
_NOT_EXISTED = {"message": "not existed"}
"""No failure: what was asked for is so."""


class ProjectRoutes:
    """Handlers over the directory (all nodes) and the registry (this node)."""

    def __init__(self, directory: Directory, registry: ModelRegistry, candidates: CandidateSource) -> None:
        """Read `directory` and `candidates`, change `registry`."""
        self._directory = directory
        self._registry = registry
        self._candidates = candidates

    async def projects(self, caller: Caller) -> Any:
        """GET ai/projects/list: those with a model that the caller may ask."""
        may, wanted = principal_of(caller.scope), number(query(caller))
        if may.asks_all:
            return {"data": self._directory.projects(wanted)}
        found = (
            project
            for project in self._directory.projects(defaults.LIST_MAX_NUMBER)
            if any(may.allows(project, model) for model in self._directory.models(project, defaults.LIST_MAX_NUMBER))
        )
        return {"data": tuple(islice(found, wanted))}

    async def models(self, caller: Caller) -> Any:
        """GET ai/projects/models: those that the caller may ask."""
        params, may = query(caller), principal_of(caller.scope)
        project, wanted = ProjectName(required(params, "project")), number(params)
        names = self._directory.models(project, wanted if may.asks_all else defaults.LIST_MAX_NUMBER)
        return {"data": tuple(islice((name for name in names if may.allows(project, name)), wanted))}

    async def peers(self, caller: Caller) -> Any:
        """GET ai/projects/peers, best first: connected, fewer in flight, nearer."""
        params = query(caller)
        project, model = required(params, "project"), required(params, "model")
        principal_of(caller.scope).require(project, model)
        found = self._candidates.find(ProjectName(project), ModelName(model))
        ranked = sorted(found, key=lambda peer: (not peer.connected, peer.in_flight, peer.rtt_us or 0))
        return {"data": [_peer(candidate) for candidate in ranked[: number(params)]]}

    async def register_model(self, caller: Caller) -> Any:
        """POST ai/model/register."""
        fields = await read_json(caller, _RegisterFields)
        await self._registry.register(_model(fields.project, fields))
        return _OK

    async def unregister_model(self, caller: Caller) -> Any:
        """POST ai/model/unregister."""
        fields = await read_json(caller, _RegisterFields)
        existed = await self._registry.unregister(
            ProjectName(_named(fields.project, "project")),
            ModelName(_named(fields.model, "model")),
            InstanceId(fields.cid),
        )
        return _OK if existed else _NOT_EXISTED

    async def register_project(self, caller: Caller) -> Any:
        """POST ai/project/register: replaces all models of the project."""
        fields = await read_json(caller, _ProjectFields)
        project = _named(fields.project, "project")
        await self._registry.register_project(
            ProjectName(project), tuple(_model(project, model) for model in fields.models)
        )
        return _OK

    async def unregister_project(self, caller: Caller) -> Any:
        """POST ai/project/unregister."""
        fields = await read_json(caller, _ProjectFields)
        existed = await self._registry.unregister_project(ProjectName(_named(fields.project, "project")))
        return _OK if existed else _NOT_EXISTED


def _named(value: str, name: str) -> str:
    if not value:
        raise parameter(f"empty {name}")
    return value


def _model(project: str, fields: _ModelFields) -> Model:
    return Model.of(project, fields.model, fields.api, fields.type, fields.cid, fields.server_model)


def _peer(candidate: Candidate) -> dict[str, Any]:
    return {
        "node_id": candidate.peer,
        "connectivity": int(candidate.connected),
        "latency": candidate.rtt_us or 0,
        "Idle": candidate.in_flight,
        "cid": candidate.cid,
    }
