"""The spans of both nodes of a real request arrive at a collector as one trace, which goes on from the client's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.mock_model_server import MockModelServer
from support.processes import Nodes

CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
DEADLINE_S = 30.0


async def test_one_trace_of_client_input_and_worker(tmp_path: Path) -> None:
    arrived: asyncio.Queue[ExportTraceServiceRequest] = asyncio.Queue()

    async def take(request: web.Request) -> web.Response:
        arrived.put_nowait(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settings = {"Traces": {"Endpoint": f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"}}
    async with MockModelServer() as server, Nodes(tmp_path) as nodes, aiohttp.ClientSession() as http:
        entry = await nodes.input(AICN=settings)
        worker = await nodes.worker(entry, models=[("P", "m", server.chat_url)], AICN=settings)
        await nodes.until_seen(entry, "P", "m", worker)
        url = f"{entry.api.removesuffix('/api/v0')}/v1/chat/completions"
        headers = {"traceparent": CLIENT, "x-request-id": "r-1"}
        async with http.post(url, json={"model": "m", "messages": []}, headers=headers) as answer:
            assert (answer.status, answer.headers["x-request-id"]) == (200, "r-1")
        seen = await server.next_request()
        assert (seen.header("x-request-id"), seen.header("traceparent")) == ("r-1", CLIENT)
        # Whoever stops sends what waits.
        assert list(await asyncio.gather(entry.stop(), worker.stop())) == [0, 0]
    spans = [
        span
        for _ in range(2)
        for resource in (await asyncio.wait_for(arrived.get(), DEADLINE_S)).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    await runner.cleanup()
    by_parent = {span.parent_span_id.hex(): span for span in spans}
    asking = by_parent[CLIENT.split("-")[2]]
    answering = by_parent[asking.span_id.hex()]
    assert {span.trace_id.hex() for span in spans} == {CLIENT.split("-")[1]}
    assert [span.name for span in (asking, answering)] == ["chat m", "chat m"]
    words = b"".join(span.SerializeToString() for span in spans)
    assert b"r-1" in words
    assert b"Hello there" not in words
