"""From the one name that a client of `/v1` writes to a project and a model of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aicn import defaults
from aicn.api.errors import ApiError, Code
from aicn.errors import ModelNotFound, NoCandidate
from aicn.ids import ModelName, ProjectName, name_fault
from aicn.peers import Directory

May = Callable[[ProjectName, ModelName], bool]
"""Tells whether a client may ask a model."""

_NAMED_MAX: Final = 5
"""Choices that a refusal names."""

_OPENAI_PROJECT: Final = "proj_"
"""How the ids of OpenAI's own projects begin."""


class Names:
    """Finds models by their names. `model` is enough where it is clear whose; `project/model` always is."""

    def __init__(self, directory: Directory, default_project: str) -> None:
        """Look in `directory`; a name without a project means one of `default_project`, if that is set."""
        self._directory = directory
        self._default = ProjectName(default_project)

    def find(self, name: str, project: str = "", may: May = lambda _, __: True) -> tuple[ProjectName, ModelName]:
        """Return project and model that a client means.

        A model of the project that the caller names, or of the node's default one, comes first. Then what stands before
        the first slash is the project, or all of it is the name of a model of the only project that has one.

        Args:
            name: as the client writes it.
            project: as the client names it apart from the model, if it does.
            may: whether the client may ask a model; what it may not ask makes no name unclear.

        Raises:
            ApiError: nobody serves such a model (404), or nobody any more since a short while (503), or models of
                several projects have that name (400).
        """
        model = ModelName(name)
        if not name or name_fault(name, 2 * defaults.NAME_MAX_BYTES + 1) is not None:
            raise ApiError(Code.PARAMETER, "write the name of a model as `model`", param="model")
        directory = self._directory
        if project.startswith(_OPENAI_PROJECT) and not directory.models(ProjectName(project), 1):
            # From the environment of an SDK that asks OpenAI otherwise.
            project = ""
        if project:
            if directory.names(ProjectName(project), model):
                return ProjectName(project), model
            raise self._missing(f"{project}/{name}", project, model)
        if self._default and directory.names(self._default, model):
            return self._default, model
        meant = self._meant(name, may)
        if len(meant) == 1:
            return meant[0]
        if meant:
            choices = ", ".join(
                f"{owner}/{model}" if each == model else f"{each!r} with the header OpenAI-Project: {owner}"
                for owner, each in meant[:_NAMED_MAX]
            )
            raise ApiError(
                Code.PARAMETER,
                f"{len(meant)} projects serve a model that {name!r} may mean; write which one you mean: {choices}",
                slug="model_ambiguous",
                param="model",
            )
        before, _, behind = name.partition("/")
        if self._directory.left(model):
            raise _nobody(name)
        raise self._missing(name, before, ModelName(behind))

    def _missing(self, name: str, project: str, model: ModelName) -> ApiError:
        """Return why a model of that name cannot be asked: unknown, or served by nobody for the moment."""
        return _nobody(name) if project in self._directory.left(model) else _unknown(name)

    def _meant(self, name: str, may: May) -> list[tuple[ProjectName, ModelName]]:
        """Return the models that a name may mean; if there are several, those that may be asked and are served now.

        A name with a slash is read both ways, and neither comes first: else a stranger who calls a project or a model
        so would be sent what others are asked.
        """
        directory = self._directory
        before, slash, behind = name.partition("/")
        meant = [(owner, ModelName(name)) for owner in directory.projects_with(ModelName(name))]
        if slash and directory.names(ProjectName(before), ModelName(behind)):
            meant.append((ProjectName(before), ModelName(behind)))
        if len(meant) > 1:
            meant = [each for each in meant if may(*each)] or meant
        if len(meant) > 1:
            meant = [each for each in meant if directory.serving(*each)] or meant
        return meant


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
