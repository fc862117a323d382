"""From the one name that a client of `/v1` writes to a project and a model of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aicn import defaults
from aicn.api.errors import ApiError, Code
from aicn.errors import ModelNotFound, NoCandidate
from aicn.ids import ModelName, ProjectName, name_fault
from aicn.peers import Directory

_NAMED_MAX: Final = 5
"""Choices that a refusal names."""


class Names:
    """Finds models by their names. `model` is enough where it is clear whose; `project/model` always is."""

    def __init__(self, directory: Directory, default_project: str) -> None:
        """Look in `directory`; a name without a project means one of `default_project`, if that is set."""
        self._directory = directory
        self._default = ProjectName(default_project)

    def find(self, name: str, project: str = "") -> tuple[ProjectName, ModelName]:
        """Return project and model that a client means.

        A model of the project that the caller names, or of the node's default one, comes first; then the only project
        that serves a model of that very name, slashes included; then what stands before the first slash is the
        project.

        Args:
            name: as the client writes it.
            project: as the client names it apart from the model, if it does.

        Raises:
            ApiError: nobody serves such a model (404), or nobody any more since a short while (503), or models of
                several projects have that name (400).
        """
        model = ModelName(name)
        if not name or name_fault(name, 2 * defaults.NAME_MAX_BYTES + 1) is not None:
            raise ApiError(Code.PARAMETER, "write the name of a model as `model`", param="model")
        directory = self._directory
        if project:
            if directory.names(ProjectName(project), model):
                return ProjectName(project), model
            raise self._missing(f"{project}/{name}", project, model)
        if self._default and directory.names(self._default, model):
            return self._default, model
        owners = self._owners(model)
        if len(owners) == 1:
            return owners[0], model
        before, slash, behind = name.partition("/")
        if slash and directory.names(ProjectName(before), ModelName(behind)):
            return ProjectName(before), ModelName(behind)
        if owners:
            choices = ", ".join(f"{owner}/{name}" for owner in owners[:_NAMED_MAX])
            raise ApiError(
                Code.PARAMETER,
                f"{len(owners)} projects serve a model {name!r}; write which one you mean: {choices}",
                slug="model_ambiguous",
                param="model",
            )
        if self._directory.left(model):
            raise _nobody(name)
        raise self._missing(name, before, ModelName(behind))

    def _missing(self, name: str, project: str, model: ModelName) -> ApiError:
        """Return why a model of that name cannot be asked: unknown, or served by nobody for the moment."""
        return _nobody(name) if project in self._directory.left(model) else _unknown(name)

    def _owners(self, model: ModelName) -> Sequence[ProjectName]:
        """Return the projects that have such a model; those that serve it now, if any does."""
        owners = self._directory.projects_with(model)
        if len(owners) > 1:
            serving = [owner for owner in owners if self._directory.serving(owner, model)]
            return serving or owners
        return owners


def _nobody(name: str) -> ApiError:
    return ApiError(
        Code.PROXY,
        f"nobody serves the model {name!r} at the moment; those who did have withdrawn it, ask again in a moment",
        503,
        slug=NoCandidate.slug,
        param="model",
    )


def _unknown(name: str) -> ApiError:
    return ApiError(
        Code.MODEL,
        f"the model {name!r} does not exist here: no node that was heard of serves it; GET /v1/models lists those that "
        "are",
        404,
        slug=ModelNotFound.slug,
        param="model",
    )
