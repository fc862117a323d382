"""Requests of `/api/v0`, in which the caller names project and model, and the node too where it is not chosen here."""

from __future__ import annotations

from aicn.api.errors import ApiError, Code, parameter
from aicn.api.inference import Inference, InferenceEndpoint
from aicn.api.reference import REFERENCE
from aicn.api.surface import Surface
from aicn.errors import AicnError
from aicn.ids import ModelName, PeerId, ProjectName
from aicn.multiaddr import parse_peer_id


class AddressedEndpoint(InferenceEndpoint):
    """What all requests of `/api/v0` for a model have in common."""

    def __init__(self, parts: Inference, *, proxy: bool, enabled: bool = True, surface: Surface = REFERENCE) -> None:
        """`proxy`: the node is chosen here, else by the caller. `enabled`: false without peers to choose from."""
        super().__init__(parts, surface)
        self._proxy = proxy
        self._enabled = enabled

    def check_enabled(self) -> None:
        """Refuse if there are no peers to choose from.

        Raises:
            ApiError: there are none.
        """
        if not self._enabled:
            raise ApiError(Code.UNSUPPORTED, "Unsupported function")

    def target(self, project: str, model: str, node_id: str) -> tuple[ProjectName, ModelName, PeerId | None]:
        """Return who is asked for what, in the order and words of the reference's refusals.

        Raises:
            ApiError: one of them is missing or wrong.
        """
        if not self._proxy and not node_id:
            raise parameter("empty node_id")
        if not project:
            raise parameter("empty project")
        if not model:
            raise parameter("empty model")
        if self._proxy:
            return ProjectName(project), ModelName(model), None
        try:
            return ProjectName(project), ModelName(model), parse_peer_id(node_id)
        except AicnError as error:
            raise parameter(f"invalid node_id: {error}") from error
