"""The routes of `/api/v0` and `/v1`, put together."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from aicn.api.access import AccessGate
from aicn.api.addressed import AddressedEndpoint
from aicn.api.admission import Admission, open_admission
from aicn.api.bootstrap import BootstrapRoutes
from aicn.api.budget import Budget
from aicn.api.caller import name_of_request
from aicn.api.chat import ChatEndpoint
from aicn.api.controls import ControlRoutes
from aicn.api.docs import DOCS_PATH, OPENAPI_PATH, document_routes
from aicn.api.endpoint import Handler, JsonEndpoint
from aicn.api.errors import ApiError, Code
from aicn.api.health import HEALTH_PATH, health
from aicn.api.images import ImageEditEndpoint, ImageGenerationEndpoint
from aicn.api.inference import Inference, InferenceEndpoint
from aicn.api.metrics import MetricsEndpoint
from aicn.api.network import NetworkRoutes
from aicn.api.nodes import NodeRoutes
from aicn.api.principal import Keyring
from aicn.api.projects import ProjectRoutes
from aicn.api.streaming import StreamSettings
from aicn.api.swarm import SwarmRoutes
from aicn.api.v1 import V1_PATHS, ModelRoutes, is_v1, surface_of, v1_routes
from aicn.clock import Clock
from aicn.routing import Router
from aicn.telemetry import NoObserver, Observer

PREFIX = "/api/v0"

CHAT_PATH = f"{PREFIX}/chat/completion"
CHAT_PROXY_PATH = f"{PREFIX}/chat/completion/proxy"
IMAGE_GENERATION_PATH = f"{PREFIX}/image/gen"
IMAGE_GENERATION_PROXY_PATH = f"{PREFIX}/image/gen/proxy"
IMAGE_EDIT_PATH = f"{PREFIX}/image/edit"
IMAGE_EDIT_PROXY_PATH = f"{PREFIX}/image/edit/proxy"

PUBLIC_PATHS = frozenset(
    {
        CHAT_PATH,
        CHAT_PROXY_PATH,
        IMAGE_GENERATION_PATH,
        IMAGE_GENERATION_PROXY_PATH,
        IMAGE_EDIT_PATH,
        IMAGE_EDIT_PROXY_PATH,
        f"{PREFIX}/id",
        f"{PREFIX}/ai/projects/list",
        f"{PREFIX}/ai/projects/models",
        f"{PREFIX}/ai/projects/peers",
        OPENAPI_PATH,
        DOCS_PATH,
    }
    | V1_PATHS
)
"""Inference, and what a caller needs to find a model and the way there. All other routes are the operator's."""

OPEN_PATHS = frozenset({HEALTH_PATH})
"""Open to everybody who reaches the node."""


@dataclass(frozen=True, slots=True)
class Handlers:
    """What answers the small routes."""

    network: NetworkRoutes
    projects: ProjectRoutes
    controls: ControlRoutes
    swarm: SwarmRoutes
    bootstrap: BootstrapRoutes
    metrics: MetricsEndpoint
    nodes: NodeRoutes
    models: ModelRoutes


def routes(
    handlers: Handlers,
    router: Router,
    *,
    collects: bool,
    observer: Observer | None = None,
    streams: StreamSettings | None = None,
    admission: Admission | None = None,
) -> list[Route]:
    """Return every route.

    Args:
        handlers: of the small routes.
        router: brings inference to a node.
        collects: switches the routes that choose among the nodes heard of.
        observer: told of each use of a model.
        streams: what is done for streams; None: nothing.
        admission: lets requests in; None: all of them.
    """
    parts = Inference(
        router, Budget(), observer or NoObserver(), admission or open_admission(), streams or StreamSettings()
    )
    network, projects = handlers.network, handlers.projects
    swarm, bootstrap, nodes = handlers.swarm, handlers.bootstrap, handlers.nodes

    def named(path: str, endpoint: type[AddressedEndpoint]) -> Route:
        return Route(path, endpoint(parts, proxy=False), methods=["POST"])

    def chosen(path: str, endpoint: type[AddressedEndpoint]) -> Route:
        return Route(path, endpoint(parts, proxy=True, enabled=collects), methods=["POST"])

    def get(path: str, handler: Handler) -> Route:
        return Route(f"{PREFIX}/{path}", JsonEndpoint(handler), methods=["GET"])

    def post(path: str, handler: Handler) -> Route:
        return Route(f"{PREFIX}/{path}", JsonEndpoint(handler), methods=["POST"])

    described = [
        chosen(CHAT_PROXY_PATH, ChatEndpoint),
        named(CHAT_PATH, ChatEndpoint),
        chosen(IMAGE_GENERATION_PROXY_PATH, ImageGenerationEndpoint),
        named(IMAGE_GENERATION_PATH, ImageGenerationEndpoint),
        chosen(IMAGE_EDIT_PROXY_PATH, ImageEditEndpoint),
        named(IMAGE_EDIT_PATH, ImageEditEndpoint),
        get("id", network.id),
        get("peers", network.peers),
        post("peer", nodes.peer),
        post("host/info", nodes.host_info),
        get("rendezvous/peers", network.rendezvous_peers),
        get("swarm/peers", network.swarm_peers),
        get("swarm/addrs", network.swarm_addrs),
        post("swarm/connect", swarm.connect),
        post("swarm/disconnect", swarm.disconnect),
        get("pubsub/peers", network.pubsub_peers),
        get("bootstrap/list", bootstrap.list),
        post("bootstrap/add", bootstrap.add),
        post("bootstrap/rm", bootstrap.remove),
        get("ai/projects/list", projects.projects),
        get("ai/projects/models", projects.models),
        get("ai/projects/peers", projects.peers),
        post("ai/model/register", projects.register_model),
        post("ai/model/unregister", projects.unregister_model),
        get("ai/model/list", handlers.controls.list),
        post("ai/model/pause", handlers.controls.pause),
        post("ai/model/resume", handlers.controls.resume),
        post("ai/model/drain", handlers.controls.drain),
        post("ai/model/cap", handlers.controls.cap),
        post("ai/model/rename", handlers.controls.rename),
        post("ai/project/register", projects.register_project),
        post("ai/project/unregister", projects.unregister_project),
        Route(HEALTH_PATH, JsonEndpoint(health), methods=["GET"]),
        Route(f"{PREFIX}/debug/metrics/prometheus", handlers.metrics, methods=["GET"]),
        post("ai/project/peer", nodes.projects),
        *v1_routes(parts, handlers.models),
    ]
    return [*described, *document_routes(described)]


def build_app(
    all_routes: list[Route],
    *,
    open_inference: bool,
    allowed_hosts: Collection[str],
    keyring: Keyring | None = None,
    clock: Clock | None = None,
    inference_only: bool = False,
) -> ASGIApp:
    """Return the application: the routes behind the gate, every failure as JSON; arguments as of `AccessGate`."""
    app = Starlette(routes=all_routes, exception_handlers={HTTPException: _http_error, Exception: _http_error})
    # A redirection makes clients send the whole body once more, some as a GET: a wrong path is told as one.
    app.router.redirect_slashes = False
    return AccessGate(
        _InferenceFirst(all_routes, app),
        public_paths=PUBLIC_PATHS,
        open_paths=OPEN_PATHS,
        open_inference=open_inference,
        allowed_hosts=allowed_hosts,
        keyring=keyring,
        clock=clock,
        inference_only=inference_only,
    )


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    text = {404: f"there is no route {request.url.path}", 405: f"{request.method} is not served here"}.get(
        status, "the request failed"
    )
    headers = error.headers if isinstance(error, HTTPException) else None
    if is_v1(request.url.path):
        surface = surface_of(request.url.path)
        refusal = surface.refusal(ApiError(Code.UNSUPPORTED, text, status))
        named = dict.fromkeys(
            (name.decode() for name in surface.request_id_headers), name_of_request(tuple(request.headers.raw))
        )
        return Response(refusal.body, refusal.status, {**(headers or {}), **named}, "application/json")
    return JSONResponse({"code": int(Code.UNSUPPORTED), "message": text}, status, headers=headers)


class _InferenceFirst:
    """Takes inference past the middleware and the list of routes, which cost it more than its own work does."""

    def __init__(self, all_routes: list[Route], app: ASGIApp) -> None:
        self._direct = {route.path: route.app for route in all_routes if isinstance(route.endpoint, InferenceEndpoint)}
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        direct = self._direct.get(scope.get("path", "")) if scope.get("method") == "POST" else None
        await (direct or self._app)(scope, receive, send)
