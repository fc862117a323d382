"""The routes of `/v1`."""

from __future__ import annotations

from typing import Final

from starlette.routing import Route

from aicn.api.endpoint import Handler
from aicn.api.endpoint import JsonEndpoint as SmallEndpoint
from aicn.api.inference import Inference
from aicn.api.surface import Surface
from aicn.api.v1.asks import JsonEndpoint, surface_of_endpoint
from aicn.api.v1.errors import ANTHROPIC, OPENAI
from aicn.api.v1.forms import FormEndpoint
from aicn.api.v1.models import ModelRoutes
from aicn.endpoints import FORM_ENDPOINTS, Endpoint

PREFIX: Final = "/v1"


MODELS_PATH: Final = f"{PREFIX}/models"
MODEL_PATH: Final = f"{PREFIX}/models/{{model:path}}"

V1_PATHS: Final = frozenset({*(f"{PREFIX}/{endpoint}" for endpoint in Endpoint), MODELS_PATH, MODEL_PATH})
"""All are for callers, none is the operator's."""

_ENDPOINTS: Final = {f"{PREFIX}/{endpoint}": endpoint for endpoint in Endpoint}


def v1_routes(parts: Inference, models: ModelRoutes) -> list[Route]:
    """Return every route of `/v1`.

    Args:
        parts: what all routes of inference share.
        models: lists models and finds them by their names.
    """
    names = models.names

    def get(path: str, handler: Handler) -> Route:
        return Route(path, SmallEndpoint(handler, OPENAI), methods=["GET"])

    asks = [
        Route(
            path,
            (FormEndpoint if endpoint in FORM_ENDPOINTS else JsonEndpoint)(parts, names, endpoint),
            methods=["POST"],
        )
        for path, endpoint in _ENDPOINTS.items()
    ]
    return [*asks, get(MODELS_PATH, models.list), get(MODEL_PATH, models.one)]


def is_v1(path: str) -> bool:
    """Return whether `path` belongs to `/v1`."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def surface_of(path: str) -> Surface:
    """Return the words in which a path below `/v1` tells its failures."""
    endpoint = _ENDPOINTS.get(path)
    if endpoint is None:
        # Anthropic has routes beside its messages that nobody passes on; its SDK asks for them all the same.
        return ANTHROPIC if path.startswith(f"{PREFIX}/{Endpoint.MESSAGES}/") else OPENAI
    return surface_of_endpoint(endpoint)
