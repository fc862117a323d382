"""`/api/v0/debug/metrics/prometheus`: what the node has counted, as text for Prometheus."""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope, Send

from aicn.api.caller import Caller
from aicn.telemetry import Metrics, render


class MetricsEndpoint:
    """ASGI endpoint; the text is written in a thread, so that no stream waits for it."""

    def __init__(self, metrics: Metrics) -> None:
        """Answer with what `metrics` has counted."""
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        accept = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"accept"), "")
        body, content_type = await asyncio.to_thread(render, self._metrics.snapshot(), accept)
        await Caller(scope, receive, send).answer(200, body, ((b"content-type", content_type.encode("ascii")),))
