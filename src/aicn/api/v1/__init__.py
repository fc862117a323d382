"""The API of OpenAI under `/v1`, and Anthropic's messages: what their SDKs know works here."""

from aicn.api.v1.errors import ANTHROPIC, OPENAI
from aicn.api.v1.models import ModelRoutes
from aicn.api.v1.routes import V1_PATHS, is_v1, surface_of, v1_routes

__all__ = ["ANTHROPIC", "OPENAI", "V1_PATHS", "ModelRoutes", "is_v1", "surface_of", "v1_routes"]
