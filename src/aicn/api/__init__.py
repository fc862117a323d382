"""The HTTP API: what users and operators call."""

from aicn.api.app import build_app, routes
from aicn.api.network import NetworkRoutes
from aicn.api.projects import ProjectRoutes
from aicn.api.server import ApiServer

__all__ = ["ApiServer", "NetworkRoutes", "ProjectRoutes", "build_app", "routes"]
