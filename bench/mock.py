"""A plain Python model server: aiohttp.web on uvloop, the same kind of program as the prototype was measured with.

A request with `"stream": true` is answered with events, each with the monotonic clock at its write; one without, with
one small completion. The path says how many events and how many milliseconds apart: `/EVENTS/GAP_MS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time

import uvloop
from aiohttp import web

COMPLETION = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "bench",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
).encode()
EVENT = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench",'
    b'"choices":[{"index":0,"delta":{"content":"token "},"finish_reason":null}],"written_ns":%019d}\n\n'
)
DONE = b"data: [DONE]\n\n"


async def answer(request: web.Request) -> web.StreamResponse:
    body = json.loads(await request.read())
    if not body.get("stream"):
        return web.Response(body=COMPLETION, content_type="application/json")
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    with contextlib.suppress(ConnectionResetError):  # the client left, which is no news here
        await stream(request, response)
    return response


async def stream(request: web.Request, response: web.StreamResponse) -> None:
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    for index in range(int(request.match_info["events"])):
        if index:
            # Against the clock, not after the last write, so that a late event does not shift all that follow.
            due_s += float(request.match_info["gap_ms"]) / 1_000
            await asyncio.sleep(max(0.0, due_s - loop.time()))
        await response.write(EVENT % time.monotonic_ns())
    await response.write(DONE)
    await response.write_eof()


async def serve(port: int) -> None:
    app = web.Application()
    app.router.add_post("/{events}/{gap_ms}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1_024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
