"""What the model servers saw, over HTTP: for tests in other languages, in a process of their own.

GET /seen/ID   the request with the header `x-request-id: ID`, once it has arrived
GET /gone/ID   the same, once its client has left before the end
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from support.mock_model_server import MockModelServer, Seen

POLL_S = 0.01
PATIENCE_S = 10.0


@contextlib.asynccontextmanager
async def witness(*servers: MockModelServer) -> AsyncIterator[str]:
    """Tell of what arrives at `servers`; gives the URL, without a slash at the end."""

    async def seen(request: web.Request) -> web.Response:
        return _told(await _found(servers, request.match_info["id"]))

    async def gone(request: web.Request) -> web.Response:
        found = await _found(servers, request.match_info["id"])
        async with asyncio.timeout(PATIENCE_S):
            await found.gone.wait()
        return _told(found)

    app = web.Application()
    app.add_routes([web.get("/seen/{id}", seen), web.get("/gone/{id}", gone)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _found(servers: tuple[MockModelServer, ...], request_id: str) -> Seen:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            for server in servers:
                for one in server.seen:
                    if one.header("x-request-id") == request_id:
                        return one
            await asyncio.sleep(POLL_S)


def _told(seen: Seen) -> web.Response:
    return web.json_response(
        {
            "path": seen.path,
            "headers": {name.lower(): value for name, value in seen.headers},
            "bytes": seen.body_size_bytes,
            "sha256": seen.body_sha256,
            "body": seen.body.decode("latin-1"),
            "writes": seen.writes,
            "finished": seen.finished,
        }
    )
