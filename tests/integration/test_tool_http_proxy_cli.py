"""`aicn tool http-proxy serve` and `connect` as processes, with the real API of a node behind them."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from aicn.identity import PreSharedKey, PrivateKey, load_key_file
from support.command_line import aicn, environment, refused
from support.mock_model_server import MockModelServer, Plan
from support.processes import Nodes

NOBODY = PrivateKey.generate().public.peer_id
ADDR = f"/ip4/127.0.0.1/tcp/1/p2p/{NOBODY}"
ANY_PORT = "/ip4/127.0.0.1/tcp/0"
PATIENCE_S = 30.0


class Tool:
    """A running command whose output can be awaited."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def says(self, pattern: str) -> re.Match[str]:
        """Return the next line that matches."""
        assert self.process.stdout is not None
        seen = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while line := (await self.process.stdout.readline()).decode():
                    seen.append(line)
                    if found := re.search(pattern, line):
                        return found
        raise AssertionError(f"it did not say {pattern!r}, but {seen}")


@contextlib.asynccontextmanager
async def tool(*words: str | Path, cwd: Path) -> AsyncIterator[Tool]:
    """Run a command; it ends well at Ctrl-C."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "aicn", "tool", "http-proxy", *map(str, words)),
        cwd=cwd,
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Tool(process)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE_S):
            _, errors = await process.communicate()
        assert (process.returncode, errors) == (0, b"")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_api_of_a_node_through_another_machine(tmp_path: Path) -> None:
    async with (
        MockModelServer(Plan(events=3)) as server,
        Nodes(tmp_path) as nodes,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as session,
    ):
        entry = await nodes.input(start=False)
        near_id = aicn("key", "near.key", cwd=tmp_path).stdout.split()[2]
        serving = ("--listen", ANY_PORT, "--peer", near_id, "--config", entry.config_path, "--key", "far.key")
        async with tool("serve", *serving, cwd=tmp_path) as far:
            addr = (await far.says(r"^Listening on (\S+)$"))[1]
            await far.says(rf"^Makes requests to this machine \(loopback\) for {near_id}, until Ctrl-C$")
            assert addr.endswith(f"/p2p/{load_key_file(tmp_path / 'far.key').public.peer_id}")
            words = ("--listen", "127.0.0.1:0", "--config", entry.config_path, "--key", "near.key")
            async with tool("connect", addr, *words, cwd=tmp_path) as near:
                await near.says(rf"^Peer id {near_id}$")
                proxy = "http://" + (await near.says(r"^HTTP proxy on (127\.0\.0\.1:\d+), "))[1]
                async with session.post(server.chat_url, proxy=proxy, json={"stream": True, "model": "m"}) as got:
                    assert (got.status, (await got.read()).count(b"data:")) == (200, 4)
                await far.says(rf"^{near_id} POST 127\.0\.0\.1:\d+: 200$")
                async with session.get("http://192.0.2.1/", proxy=proxy) as got:
                    assert got.status == 403
                await far.says(rf"^{near_id} GET 192\.0\.2\.1:80: 403 192\.0\.2\.1:80 may not be asked")


async def test_a_stranger_is_refused_and_a_far_side_that_comes_back_is_found(tmp_path: Path) -> None:
    psk = PreSharedKey.generate().hex
    async with (
        MockModelServer(Plan(body=b"{}")) as server,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as session,
        contextlib.AsyncExitStack() as stack,
    ):
        common = ("--psk", psk, "--key", "far.key")
        async with contextlib.AsyncExitStack() as first:
            only = ("--listen", ANY_PORT, "--peer", NOBODY, *common)
            far = await first.enter_async_context(tool("serve", *only, cwd=tmp_path))
            addr = (await far.says(r"^Listening on (\S+)$"))[1]
            near = await stack.enter_async_context(
                tool("connect", addr, "--listen", "127.0.0.1:0", "--psk", psk, cwd=tmp_path)
            )
            proxy = "http://" + (await near.says(r"^HTTP proxy on (\S+), "))[1]
            async with session.get(server.url, proxy=proxy) as got:
                assert (got.status, got.headers["x-aicn-error"]) == (403, "peer_not_allowed")
        async with session.get(server.url, proxy=proxy) as got:
            assert (got.status, got.headers["x-aicn-error"]) == (502, "dial_failed")
        target = server.url.removeprefix("http://")
        anybody = ("--listen", addr.partition("/p2p/")[0], "--any-peer", "--allow", target, *common)
        far = await stack.enter_async_context(tool("serve", *anybody, cwd=tmp_path))
        await far.says(r"for every peer that can dial this one, until Ctrl-C$")
        async with session.get(server.url, proxy=proxy) as got:
            assert (got.status, await got.read()) == (200, b"{}")


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (("serve",), 2, ".*--peer ID.*--any-peer"),
        (("serve", "--any-peer", "--peer", NOBODY), 2, ".*--peer ID.*--any-peer"),
        (("serve", "--peer", "frob"), 1, ".*peer id.*"),
        (("serve", "--any-peer", "--listen", ANY_PORT, "--allow", "a/b"), 2, ".*'a/b' is not HOST.*"),
        (("serve", "--any-peer", "--listen", "/ip4/192.0.2.1/tcp/0"), 1, ".*192.0.2.1.*"),
        (("connect", "/ip4/127.0.0.1/tcp/1"), 2, ".*/p2p/ID.*"),
        (("connect", ADDR, "--listen", "0.0.0.0:0"), 2, ".*--shared"),
        (("connect", ADDR, "--listen", "frob:x"), 2, ".*HOST:PORT.*"),
    ],
)
def test_refusals(tmp_path: Path, words: tuple[str, ...], status: int, line: str) -> None:
    assert re.fullmatch(line, refused(aicn("tool", "http-proxy", *words, cwd=tmp_path), status))


def test_a_far_side_that_is_not_there(tmp_path: Path) -> None:
    done = aicn("tool", "http-proxy", "connect", ADDR, "--listen", "127.0.0.1:0", cwd=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"aicn: .*127\.0\.0\.1/tcp/1.*\n", done.stderr)


async def test_an_open_proxy_says_so(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "aicn", "tool", "http-proxy", "serve", "--listen", ANY_PORT, "--any-peer", "--allow", "*"),
        cwd=tmp_path,
        env=environment(),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE_S):
        assert b"open proxy" in await process.stderr.readline()
        process.terminate()
        assert await process.wait() == 0
