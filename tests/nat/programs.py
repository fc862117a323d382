"""Programs in namespaces, as tests hold them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Self

from nat.namespaces import Home, Place

DEADLINE_S = 40.0
"""AutoNAT looks for the first time after 15 s; everything else is far faster."""

_HERE = Path(__file__).parent


class Failed(Exception):
    """What a host answered to an order that it could not carry out."""


class Program:
    """A Python program in a namespace that tells what happens in lines of JSON."""

    def __init__(self, process: Process) -> None:
        """Hold `process`, whose lines are read from now on."""
        self._process = process
        self._ids = count(1)
        self._replies: dict[int, asyncio.Future[Any]] = {}
        self._changed = asyncio.Event()
        self.told: list[dict[str, Any]] = []
        """Every line that answers no order."""
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, namespace: str, program: str, *words: str) -> Self:
        """Start a program of this folder."""
        path = str(_HERE / program)
        command = ("ip", "netns", "exec", namespace, sys.executable, path, *words)
        env = {**os.environ, "PYTHONPATH": str(_HERE.parent)}
        return cls(await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=env, limit=1_048_576))

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            future = self._replies.pop(said.get("id", 0), None)
            if future is None:
                self.told.append(said)
            elif future.done():  # whoever waited has given up
                pass
            elif "failed" in said:
                future.set_exception(Failed(f"{said['failed']}: {said['why']}"))
            else:
                future.set_result(said["done"])
            self._changed.set()
        for future in self._replies.values():
            future.set_exception(Failed("the program has ended"))
        self._changed.set()

    async def until(self, met: Callable[[], bool]) -> None:
        """Wait until `met()`, looking again at each line."""
        async with asyncio.timeout(DEADLINE_S):
            while not met():
                assert not self._reading.done(), "the program has ended"
                self._changed.clear()
                await self._changed.wait()

    def of(self, event: str) -> list[dict[str, Any]]:
        """Return the events of a kind."""
        return [each for each in self.told if each.get("event") == event]

    async def do(self, order: str, **words: Any) -> Any:
        """Have an order carried out."""
        number = next(self._ids)
        future = self._replies[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": number, "do": order, **words}).encode() + b"\n")
        async with asyncio.timeout(DEADLINE_S):
            return await future

    async def close(self) -> None:
        """End the program in order, then by force. Idempotent."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(DEADLINE_S):
                await self._process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            await self._reading


class Machine(Program):
    """A host at a place."""

    ip: str
    peer: str

    @classmethod
    async def run(cls, place: Place, *, listen: bool = True, **settings: Any) -> Machine:
        """Start a host; it listens on one port of all its addresses, or on none."""
        addrs = ["/ip4/0.0.0.0/tcp/4001"] if listen else []
        machine = await cls.start(
            place.namespace, "host_program.py", json.dumps({"listen_addrs": addrs, "ping_interval_s": 1.0, **settings})
        )
        machine.ip = place.ip
        await machine.until(lambda: any("started" in each for each in machine.told))
        machine.peer = next(each["started"] for each in machine.told if "started" in each)
        return machine

    @property
    def addr(self) -> str:
        """Where others dial it, if nothing is in between."""
        return f"/ip4/{self.ip}/tcp/4001/p2p/{self.peer}"

    async def only_connection(self, peer: str, *, relayed: bool) -> dict[str, Any]:
        """Wait until there is one connection to `peer` and a relay carries it, or not; return it."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                found = [each for each in await self.do("connections") if each["peer"] == peer]
                if [each["relayed"] for each in found] == [relayed]:
                    connection: dict[str, Any] = found[0]
                    return connection
                await asyncio.sleep(0.05)  # nothing tells when one of two connections is given up

    async def until_addrs(self, met: Callable[[list[str]], bool]) -> None:
        """Wait until the addresses that were told last are as they should be."""
        await self.until(lambda: bool(changes := self.of("ListenAddrsChanged")) and met(changes[-1]["addrs"]))


class Machines:
    """Starts hosts and routers, and closes them at the end."""

    def __init__(self, programs: contextlib.AsyncExitStack) -> None:
        """Leave what is started to `programs`."""
        self._programs = programs

    async def __call__(self, place: Place, **settings: Any) -> Machine:
        """Start a host."""
        machine = await Machine.run(place, **settings)
        self._programs.push_async_callback(machine.close)
        return machine

    async def router(self, home: Home, *services: str, **settings: Any) -> Router:
        """Start the services of a router."""
        router = await Router.run(home, *services, **settings)
        self._programs.push_async_callback(router.close)
        return router


class Router(Program):
    """What a home's router offers beside NAT."""

    @classmethod
    async def run(cls, home: Home, *services: str, lease_s: int = 3600) -> Router:
        """Start `nat-pmp`, `upnp` or both; leases of NAT-PMP are granted for at most `lease_s` seconds."""
        words = (home.gateway_ip, home.router.ip, home.machine.ip, str(lease_s), *services)
        router = await cls.start(home.router.namespace, "router_program.py", *words)
        await router.until(lambda: bool(router.of("ready")))
        return router
