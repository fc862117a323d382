"""`GET /v1/models` and `GET /v1/models/{id}`: what can be asked for, in the words of OpenAI and Anthropic at once."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from aicn import defaults
from aicn.api.caller import Caller
from aicn.api.errors import ApiError
from aicn.api.principal import Principal, principal_of
from aicn.api.v1.names import Names
from aicn.ids import ModelName, ProjectName
from aicn.peers import Directory
from aicn.wire.http_frames import header_text


class ModelRoutes:
    """Lists the models that were heard of.

    Attributes:
        names: finds them by the names that are listed, and by longer ones.
    """

    def __init__(self, directory: Directory, default_project: str) -> None:
        """List what `directory` knows; a name without a project means one of `default_project`, if that is set."""
        self._directory = directory
        self.names = Names(directory, default_project)
        self._began_unix_s = int(time.time())

    async def list(self, caller: Caller) -> Any:
        """Return every model that is served now and that the caller may ask."""
        may = principal_of(caller.scope)
        caller.name_request()
        listed = [
            self._described(project, model, self._shortest(project, model, may))
            for project in self._directory.projects(defaults.LIST_MAX_NUMBER)
            for model in self._directory.models(project, defaults.LIST_MAX_NUMBER)
            if may.allows(project, model) and self._directory.serving(project, model)
        ]
        return {
            "object": "list",
            "data": listed,
            "has_more": False,
            "first_id": listed[0]["id"] if listed else None,
            "last_id": listed[-1]["id"] if listed else None,
        }

    async def one(self, caller: Caller) -> Any:
        """Return one model.

        Raises:
            ApiError: there is none of that name, or the caller may not ask it.
        """
        caller.name_request()
        raw: bytes = caller.scope.get("raw_path") or caller.scope["path"].encode()
        name = unquote(raw.partition(b"/v1/models/")[2].decode("latin-1"), errors="replace")
        may = principal_of(caller.scope)
        project, model = self.names.find(name, header_text(caller.scope["headers"], b"openai-project"), may.allows)
        may.require(project, model)
        return self._described(project, model, name)

    def _shortest(self, project: ProjectName, model: ModelName, caller: Principal) -> str:
        """Return the name by which `caller` asks for a model: its own, unless that may mean another one as well."""
        try:
            found = self.names.find(model, may=caller.allows)
        except ApiError:
            found = None
        return model if found == (project, model) else f"{project}/{model}"

    def _described(self, project: ProjectName, model: ModelName, name: str) -> dict[str, Any]:
        at = datetime.fromtimestamp(self._began_unix_s, UTC).isoformat().replace("+00:00", "Z")
        return {
            "id": name,
            "object": "model",
            "created": self._began_unix_s,
            "owned_by": project,
            "type": "model",
            "display_name": model,
            "created_at": at,
        }
