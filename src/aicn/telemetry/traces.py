"""Optional traces: one OpenTelemetry span for each use of a model, on each side of the network.

A span is made when its use is over, so that the path of a request pays nothing for it. Spans of one request find each
other without any word between the nodes: trace and span ids are made from the request's id, which travels with it.
A client that sends W3C's `traceparent` has its own trace gone on with, through to the model server.

Names of attributes are OpenTelemetry's for generative models where it has one. Nothing a user wrote is among them.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from typing import TYPE_CHECKING, Final, cast

from aicn import defaults
from aicn.errors import ConfigError
from aicn.telemetry.observer import Occasion, Outcome, Side

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.sdk.trace.id_generator import IdGenerator

_TRACEPARENT: Final = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})(?P<span>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
"""https://www.w3.org/TR/trace-context/: later versions begin like version 0, ids of zeros are none."""

_SAMPLED: Final = 1
"""The flag of those whose trace is kept."""

Attribute = str | int | float


class Traces:
    """Sends spans to a collector, from a thread of the SDK with a bounded queue; what finds it full is dropped."""

    def __init__(self, endpoint: str, *, node: str, version: str, exporter: SpanExporter | None = None) -> None:
        """Send to `endpoint`, which takes OTLP over HTTP.

        Args:
            endpoint: its URL.
            node: this node's peer id.
            version: of this program.
            exporter: used in place of the one for `endpoint`.

        Raises:
            ConfigError: the packages for it are not installed.
        """
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - most nodes do without
                OTLPSpanExporter,
            )
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        except ImportError as error:
            raise ConfigError(
                f"AICN.Traces.Endpoint is set but traces cannot be sent ({error}); run pip install 'aicn[traces]', or "
                "clear the key"
            ) from error
        self._ids = _Ids()
        resource = Resource.create(
            {"service.name": "aicn", "service.version": version, "service.instance.id": node},
        )
        self._provider = TracerProvider(
            resource=resource,
            shutdown_on_exit=False,
            # By its shape: to derive from it would mean to load the SDK wherever this module is.
            id_generator=cast("IdGenerator", self._ids),
        )
        sender = exporter or OTLPSpanExporter(endpoint, timeout=defaults.TRACES_EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(sender, max_queue_size=defaults.TRACES_PENDING_MAX))
        self._tracer = self._provider.get_tracer("aicn", version)

    def record(
        self, occasion: Occasion, outcome: Outcome, times_ns: tuple[int, int | None, int], facts: dict[str, Attribute]
    ) -> None:
        """Take note of a use that is over.

        Args:
            occasion: what it was.
            outcome: how it ended.
            times_ns: when it began, had its first content (None: never) and ended, in nanoseconds since 1970 UTC.
            facts: further attributes.
        """
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.context import Context  # noqa: PLC0415

        began_ns, first_ns, ended_ns = times_ns
        sent = _parent_of(occasion)
        if sent is not None and not int(sent["flags"], 16) & _SAMPLED:
            # The client keeps nothing of this trace: half of one would be of no use.
            return
        trace_id, parent_id, span_id = _identify(occasion, sent)
        self._ids.trace_id, self._ids.span_id = trace_id, span_id
        sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)
        parent = trace.SpanContext(trace_id, parent_id, is_remote=True, trace_flags=sampled)
        context = trace.set_span_in_context(trace.NonRecordingSpan(parent), Context())
        operation = occasion.endpoint.operation
        span = self._tracer.start_span(
            f"{operation} {occasion.model}",
            context,
            trace.SpanKind.SERVER,
            {
                "gen_ai.operation.name": operation,
                "gen_ai.provider.name": "aicn",
                "gen_ai.request.model": occasion.model,
                "aicn.side": occasion.side.value,
                "aicn.project": occasion.project,
                "aicn.request_id": occasion.request_id,
                "aicn.outcome": outcome.value,
                **facts,
            },
            start_time=began_ns,
        )
        if first_ns is not None:
            span.add_event("first content", timestamp=first_ns)
        if outcome is not Outcome.OK:
            span.set_attribute("error.type", outcome.value)
            span.set_status(trace.StatusCode.ERROR)
        span.end(ended_ns)

    async def close(self) -> None:
        """Send what waits, for a bounded time. Idempotent."""
        await asyncio.to_thread(self._provider.shutdown)


def _parent_of(occasion: Occasion) -> re.Match[str] | None:
    """Return what the client says of its own trace, None if nothing that is valid."""
    sent = _TRACEPARENT.fullmatch(occasion.traceparent)
    return None if sent is None or (sent["version"] == "00" and sent["more"]) else sent


def _identify(occasion: Occasion, sent: re.Match[str] | None) -> tuple[int, int, int]:
    """Return ids of the trace, of the parent's span (0: none) and of the span."""
    trace_id = int(sent["trace"], 16) if sent else _hash(f"{occasion.request_id} trace", 16)
    asking_id = _hash(f"{occasion.request_id} {Side.INPUT.value}", 8)
    if occasion.side is Side.INPUT:
        return trace_id, int(sent["span"], 16) if sent else 0, asking_id
    # One request may be tried at several workers, and twice at one: each time has a span of its own.
    return trace_id, asking_id, secrets.randbits(64) or 1


def _hash(text: str, size_bytes: int) -> int:
    digest = hashlib.blake2b(text.encode(errors="replace"), digest_size=size_bytes).digest()
    return int.from_bytes(digest) or 1


class _Ids:
    """Gives the SDK the ids that the next span shall have."""

    def __init__(self) -> None:
        self.trace_id = self.span_id = 1

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id

    def is_trace_id_random(self) -> bool:
        return True
