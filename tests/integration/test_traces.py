"""Spans of both sides of a request arrive at a collector as one trace."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from aicn.endpoints import Endpoint
from aicn.errors import ConfigError
from aicn.ids import InstanceId, ModelName, PeerId, ProjectName, RequestId
from aicn.telemetry import Occasion, Outcome, Side
from aicn.telemetry.traces import Traces

CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class _Collector:
    def __init__(self) -> None:
        self.url = ""
        self.requests: list[ExportTraceServiceRequest] = []

    async def take(self, request: web.Request) -> web.Response:
        self.requests.append(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response(body=b"", content_type="application/x-protobuf")

    def spans(self) -> list[Any]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
async def collector() -> AsyncIterator[_Collector]:
    made = _Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
    yield made
    await runner.cleanup()


def occasion(side: Side, **changes: Any) -> Occasion:
    return Occasion(
        side,
        Endpoint.CHAT,
        ProjectName("P"),
        ModelName("m"),
        InstanceId(""),
        PeerId("16Uiu2HAmWorker"),
        "127.0.0.1",
        **{"request_id": RequestId("r-1"), **changes},
    )


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


async def test_both_sides_of_a_request_are_one_trace(collector: _Collector) -> None:
    times_ns = (1_000_000_000, 1_500_000_000, 2_000_000_000)
    for side in (Side.WORKER, Side.INPUT):
        traces = Traces(collector.url, node=side.value, version="1")
        traces.record(occasion(side), Outcome.OK, times_ns, {"gen_ai.usage.output_tokens": 11})
        await traces.close()
        await traces.close()
    worker, asking = collector.spans()
    assert asking.trace_id == worker.trace_id
    assert worker.parent_span_id == asking.span_id != worker.span_id
    assert asking.parent_span_id == b""
    assert (asking.name, asking.start_time_unix_nano, asking.end_time_unix_nano) == ("chat m", times_ns[0], times_ns[2])
    assert [(event.name, event.time_unix_nano) for event in asking.events] == [("first content", times_ns[1])]
    assert attributes(asking) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "aicn",
        "gen_ai.request.model": "m",
        "gen_ai.usage.output_tokens": 11,
        "aicn.side": "input",
        "aicn.project": "P",
        "aicn.request_id": "r-1",
        "aicn.outcome": "ok",
    }


async def test_the_trace_of_a_client_goes_on(collector: _Collector) -> None:
    traces = Traces(collector.url, node="n", version="1")
    for side in (Side.INPUT, Side.WORKER):
        traces.record(occasion(side, traceparent=CLIENT), Outcome.TIMEOUT, (1, None, 2), {})
    traces.record(occasion(Side.INPUT, traceparent=f"{CLIENT}, {CLIENT}"), Outcome.OK, (1, None, 2), {})
    await traces.close()
    asking, worker, other = collector.spans()
    assert asking.trace_id.hex() == worker.trace_id.hex() == CLIENT.split("-")[1]
    assert asking.parent_span_id.hex() == CLIENT.split("-")[2]
    assert worker.parent_span_id == asking.span_id
    assert attributes(asking)["error.type"] == "timeout"
    assert other.trace_id != asking.trace_id, "what is no traceparent counts for nothing"


@pytest.mark.parametrize(
    ("sent", "goes_on"),
    [
        (CLIENT, True),
        (f"01{CLIENT[2:]}-later", True),
        (f"{CLIENT}-more", False),
        (f"ff{CLIENT[2:]}", False),
        (f"00-{'0' * 32}-{'1' * 16}-01", False),
        (f"00-{'1' * 32}-{'0' * 16}-01", False),
    ],
)
async def test_what_is_a_trace_of_a_client(collector: _Collector, sent: str, *, goes_on: bool) -> None:
    traces = Traces(collector.url, node="n", version="1")
    traces.record(occasion(Side.INPUT, traceparent=sent), Outcome.OK, (1, None, 2), {})
    await traces.close()
    (span,) = collector.spans()
    assert (span.trace_id.hex() == sent.split("-")[1]) is goes_on
    assert bool(span.parent_span_id) is goes_on


async def test_of_a_trace_that_the_client_does_not_keep_nothing_is_sent(collector: _Collector) -> None:
    traces = Traces(collector.url, node="n", version="1")
    for side in (Side.INPUT, Side.WORKER):
        traces.record(occasion(side, traceparent=f"{CLIENT[:-2]}00"), Outcome.OK, (1, None, 2), {})
    traces.record(occasion(Side.INPUT, traceparent=f"{CLIENT[:-2]}03"), Outcome.OK, (1, None, 2), {})
    await traces.close()
    assert len(collector.spans()) == 1


async def test_a_collector_that_is_down_keeps_nobody_from_stopping(unused_tcp_port: int) -> None:
    traces = Traces(f"http://127.0.0.1:{unused_tcp_port}/v1/traces", node="n", version="1")
    traces.record(occasion(Side.INPUT), Outcome.OK, (1, None, 2), {})
    async with asyncio.timeout(30):
        await traces.close()


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"pip install 'aicn\[traces\]'"):
        Traces("http://127.0.0.1:1/v1/traces", node="n", version="1")
