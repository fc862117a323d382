"""`/api/v0/ai/model`: what an operator changes of the models of this node while it runs."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from aicn import defaults
from aicn.api.caller import Caller
from aicn.api.endpoint import read_json
from aicn.api.errors import parameter
from aicn.registry import Control, Model, ModelRegistry, capped, paused, renamed

_OK = {"message": "ok"}


class _NamedFields(msgspec.Struct):
    project: str = ""
    model: str = ""
    cid: str = ""


class _CapFields(_NamedFields):
    max_concurrent: int = 0


class _RenameFields(msgspec.Struct):
    project: str = ""
    model: str = ""
    name: str = ""


class ControlRoutes:
    """Handlers over the registry."""

    def __init__(self, registry: ModelRegistry) -> None:
        """Change `registry`."""
        self._registry = registry

    async def list(self, caller: Caller) -> Any:  # noqa: ARG002 - every handler gets its caller
        """GET ai/model/list."""
        return {"data": [self._described(model) for model in self._registry.models()]}

    async def pause(self, caller: Caller) -> Any:
        """POST ai/model/pause."""
        await self._control(await read_json(caller, _NamedFields), paused(on=True))
        return _OK

    async def resume(self, caller: Caller) -> Any:
        """POST ai/model/resume."""
        await self._control(await read_json(caller, _NamedFields), paused(on=False))
        return _OK

    async def drain(self, caller: Caller) -> Any:
        """POST ai/model/drain: as pause, and waits for the requests under way."""
        fields = await read_json(caller, _NamedFields)
        models = await self._control(fields, paused(on=True))
        in_flight = self._registry.in_flight
        try:
            async with asyncio.timeout(defaults.DRAIN_TIMEOUT_S):
                await asyncio.gather(*(in_flight.until_idle(model) for model in models))
        except TimeoutError:
            return {"message": "busy", "in_flight": sum(in_flight.count(model) for model in models)}
        return {"message": "ok", "in_flight": 0}

    async def cap(self, caller: Caller) -> Any:
        """POST ai/model/cap."""
        fields = await read_json(caller, _CapFields)
        await self._control(fields, capped(fields.max_concurrent))
        return _OK

    async def rename(self, caller: Caller) -> Any:
        """POST ai/model/rename."""
        fields = await read_json(caller, _RenameFields)
        if not fields.name:
            raise parameter("empty name")
        await self._control(_NamedFields(fields.project, fields.model), renamed(fields.name))
        return _OK

    async def _control(self, fields: _NamedFields, change: Control) -> tuple[Model, ...]:
        for name in ("project", "model"):
            if not getattr(fields, name):
                raise parameter(f"empty {name}")
        return await self._registry.control(fields.project, fields.model, fields.cid, change)

    def _described(self, model: Model) -> dict[str, Any]:
        return {
            "project": model.project,
            "model": model.model,
            "cid": model.cid,
            "api": model.api,
            "type": int(model.kind),
            "server_model": model.server_model,
            "paused": model.paused,
            "max_concurrent": model.max_concurrent,
            "in_flight": self._registry.in_flight.count(model),
            "state": self._registry.state(model).value,
            "reason": self._registry.fault(model.api),
        }
