"""A model server as fast as Python allows: raw asyncio, one protocol object per connection.

`POST` with `"stream": true` in its body is answered with EVENTS events, GAP_MS apart, each with the monotonic clock at
its write; without, with one small completion. Which numbers apply stands in the path: `/EVENTS/GAP_MS`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast

import httptools
import uvloop

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
WHOLE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(COMPLETION)
) + COMPLETION
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench",'
    b'"choices":[{"index":0,"delta":{"content":"token "},"finish_reason":null}],"written_ns":%019d}\n\n'
)
DONE = b"data: [DONE]\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""
        self._body = b""
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's, only alike.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        assert self._transport is not None
        path, body = self._path, self._body
        self._path = self._body = b""
        if b'"stream":true' in body.replace(b" ", b""):
            events, gap_ms = path.partition(b"?")[0].strip(b"/").split(b"/")
            self._task = asyncio.get_running_loop().create_task(self._stream(int(events), float(gap_ms)))
        else:
            self._transport.write(WHOLE)

    async def _stream(self, events: int, gap_ms: float) -> None:
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        self._transport.write(HEAD)
        due_s = loop.time()
        for index in range(events):
            if index:
                # Against the clock, not after the last write, so that a late event does not shift all that follow.
                due_s += gap_ms / 1_000
                await asyncio.sleep(max(0.0, due_s - loop.time()))
            self._transport.write(chunk(EVENT % time.monotonic_ns()))
        self._transport.write(chunk(DONE) + b"0\r\n\r\n")


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=1_024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
