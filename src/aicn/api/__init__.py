"""The HTTP API: what users and operators call."""

from aicn.api.admission import Admission
from aicn.api.app import Handlers, build_app, routes
from aicn.api.bootstrap import BootstrapRoutes
from aicn.api.controls import ControlRoutes
from aicn.api.fair_queue import FairQueue
from aicn.api.metrics import MetricsEndpoint
from aicn.api.network import NetworkRoutes
from aicn.api.nodes import NodeRoutes
from aicn.api.principal import Keyring
from aicn.api.projects import ProjectRoutes
from aicn.api.server import ApiServer
from aicn.api.swarm import SwarmRoutes
from aicn.api.tls import TlsFiles
from aicn.api.v1 import ModelRoutes

__all__ = [
    "Admission",
    "ApiServer",
    "BootstrapRoutes",
    "ControlRoutes",
    "FairQueue",
    "Handlers",
    "Keyring",
    "MetricsEndpoint",
    "ModelRoutes",
    "NetworkRoutes",
    "NodeRoutes",
    "ProjectRoutes",
    "SwarmRoutes",
    "TlsFiles",
    "build_app",
    "routes",
]
