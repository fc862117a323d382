"""The changes that a running node makes to its configuration; for `ConfigFile.update`."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any, Protocol

from aicn.config.document import Raw


class ModelEntry(Protocol):
    """What is written of a model."""

    @property
    def project(self) -> str:
        """The project it is registered under."""
        ...

    @property
    def model(self) -> str:
        """Its name."""
        ...

    @property
    def api(self) -> str:
        """URL of its model server."""
        ...

    @property
    def kind(self) -> int:
        """What it does."""
        ...

    @property
    def cid(self) -> str:
        """Which instance it is."""
        ...

    @property
    def server_model(self) -> str:
        """What its model server calls it; empty: the same."""
        ...

    @property
    def paused(self) -> bool:
        """Whether it takes no requests."""
        ...

    @property
    def max_concurrent(self) -> int:
        """How many requests it takes at once; 0: no limit."""
        ...


def set_models(raw: Raw, models: Iterable[ModelEntry]) -> None:
    """Make `models` all that `AIProjects` holds, in their order; keys that mean nothing to us stay with their entry.

    A project without models is gone, as after unregistering it.
    """
    old_projects = {entry.get("Project", ""): entry for entry in raw.get("AIProjects") or ()}
    models = tuple(models)
    named = {(model.project, model.model, model.cid) for model in models}
    fresh: dict[str, list[Raw]] = {}
    for model in models:
        old = _find(old_projects.get(model.project, {}), model, named)
        written = {"Model": model.model, "API": model.api, "Type": int(model.kind), "CID": model.cid}
        own = {"ServerModel": model.server_model, "Paused": model.paused, "MaxConcurrent": model.max_concurrent}
        # Of what the reference does not know, no more is written than there is to say.
        kept = {key: value for key, value in old.items() if key not in own}
        said = {key: value for key, value in own.items() if value}
        fresh.setdefault(model.project, []).append({**kept, **written, **said})
    raw["AIProjects"] = [
        {**old_projects.get(project, {}), "Project": project, "Models": entries} for project, entries in fresh.items()
    ]


def set_bootstrap(raw: Raw, addrs: Iterable[str]) -> None:
    """Make `addrs` all that `Bootstrap` holds."""
    raw["Bootstrap"] = list(addrs)


def _find(project: Raw, model: ModelEntry, named: Container[tuple[str, str, str]]) -> dict[str, Any]:
    """Return the former entry of a model: of its name, else of the name that it had before it was renamed."""
    entries: list[dict[str, Any]] = [entry for entry in project.get("Models") or () if isinstance(entry, dict)]
    for entry in entries:
        if _name(entry) == (model.model, model.cid):
            return entry
    for entry in entries:
        name, cid = _name(entry)
        asked_for = entry.get("ServerModel") or name
        same = (cid, entry.get("API"), asked_for) == (model.cid, model.api, model.server_model)
        if same and (model.project, name, cid) not in named:
            return entry
    return {}


def _name(entry: Raw) -> tuple[str, str]:
    return entry.get("Model") or "", entry.get("CID") or ""
