"""A model that this node serves, and what makes a registration acceptable."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from aicn import defaults
from aicn.errors import InvalidModel
from aicn.ids import InstanceId, ModelKind, ModelName, ProjectName, name_fault
from aicn.registry.address import IpAddress, check_model_url

ANY_INSTANCE: Final = InstanceId("")
"""The `cid` of a model that has only one instance, and of a request that may go to any."""

ModelKey = tuple[ProjectName, ModelName, InstanceId]
"""What tells one registration from another."""


class ModelState(StrEnum):
    """How a registration stands; the words of the API and of the metrics."""

    SERVING = "serving"
    """It takes requests, if it is not full."""
    DRAINING = "draining"
    """It is paused, and requests from before are under way."""
    PAUSED = "paused"
    """It is paused, and nothing is under way."""
    UNREACHABLE = "unreachable"
    """Its model server does not answer."""


@dataclass(frozen=True, slots=True)
class Model:
    """One instance of a model on this node."""

    project: ProjectName
    model: ModelName
    api: str
    """URL of the model server, with the path that answers this kind of request."""
    kind: ModelKind = ModelKind.CHAT
    cid: InstanceId = ANY_INSTANCE
    """Tells apart instances of one model, e.g. one per GPU; may be empty."""
    server_model: str = ""
    """What the model server calls it; empty: whatever the request says, which is `model` under `/v1`."""
    paused: bool = False
    """Whether it takes no requests for the time being."""
    max_concurrent: int = 0
    """Requests it works on at once at most; 0: no limit."""
    discovered: bool = False
    """Whether discovery has it in hand, and may withdraw it. In memory only: a file does not tell who wrote it."""

    @property
    def key(self) -> ModelKey:
        """What tells this registration from another; a registration with the same key replaces it."""
        return self.project, self.model, self.cid

    @classmethod
    def of(cls, project: str, model: str, api: str, kind: int, cid: str, server_model: str = "") -> Model:
        """Build a model from values as a configuration or a request carries them.

        Raises:
            InvalidModel: `kind` is none of `ModelKind`. The names and the URL are checked when it is registered.
        """
        try:
            known = ModelKind(kind)
        except ValueError:
            kinds = ", ".join(f"{each.value} {each.name.lower().replace('_', ' ')}" for each in ModelKind)
            raise InvalidModel(f"model type {kind} is unknown; use one of {kinds}") from None
        return cls(ProjectName(project), ModelName(model), api, known, InstanceId(cid), server_model)


def check_project(project: str) -> None:
    """Check the name of a project.

    Raises:
        InvalidModel: it is empty, too long or holds a control character.
    """
    _check_name("project name", project)


def check_model(model: Model, is_own: Callable[[IpAddress], bool]) -> None:
    """Check all fields of `model`.

    Raises:
        InvalidModel: a field is missing, malformed or too long.
        NotSameMachine: its URL leads to another machine.
    """
    check_project(model.project)
    _check_name("model name", model.model)
    if (fault := name_fault(model.cid, defaults.NAME_MAX_BYTES)) is not None:
        raise InvalidModel(f"model cid {fault}; register the instance under another one")
    if (fault := name_fault(model.server_model, defaults.NAME_MAX_BYTES)) is not None:
        raise InvalidModel(f"the model server's own name of model {model.model!r} {fault}; register another one")
    check_model_url(model.api, is_own=is_own)


def check_count(models: Iterable[Model]) -> None:
    """Check that there are no more models than a node may serve.

    Raises:
        InvalidModel: there are.
    """
    if sum(1 for _ in models) > defaults.REGISTRY_MAX_MODELS:
        raise InvalidModel(
            f"this node serves {defaults.REGISTRY_MAX_MODELS} models at most; unregister one before registering another"
        )


def _check_name(what: str, name: str) -> None:
    if not name:
        raise InvalidModel(f"{what} can not be empty")
    if (fault := name_fault(name, defaults.NAME_MAX_BYTES)) is not None:
        raise InvalidModel(f"{what} {fault}; register it under another one")
