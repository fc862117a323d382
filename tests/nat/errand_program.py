"""Runs errands in a namespace: HTTP requests, as lines of JSON; and a model server, if told so."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import Any

import aiohttp

from support.mock_model_server import MockModelServer


def say(**words: Any) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


async def errand(session: aiohttp.ClientSession, order: dict[str, Any]) -> None:
    try:
        async with session.request(order["do"], order["url"], json=order.get("body")) as answer:
            body = (await answer.read()).decode()
            say(id=order["id"], done={"status": answer.status, "headers": dict(answer.headers), "body": body})
    except aiohttp.ClientError as error:
        say(id=order["id"], done={"status": 0, "headers": {}, "body": str(error)})


async def main() -> None:
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        server = MockModelServer(port=int(sys.argv[1]))
        await stack.enter_async_context(server)
        say(event="ready", chat_url=server.chat_url)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            await errand(session, json.loads(line))


if __name__ == "__main__":
    asyncio.run(main())
