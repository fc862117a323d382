"""A running oracle: the process, and the lines that go to and fro."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Final, Self

from aicn.ids import Multiaddr, PeerId
from interop.oracle_build import OracleFailed

_log = logging.getLogger("interop.oracle")

CLOSE_TIMEOUT_S: Final = 15.0
PATIENCE_S: Final = 30.0
"""No test waits longer for one thing."""
EVENTS_KEPT: Final = 10_000
LINE_LIMIT_BYTES: Final = 64 << 20
"""A body of 16 MiB in hex, with room to spare."""


class OracleProcess:
    """The process of an oracle. Leave the context to end it; it must end with status 0."""

    def __init__(self, command: Sequence[str]) -> None:
        """Prepare to run `command`."""
        self._command = command
        self.peer = PeerId("")
        self.addrs: tuple[Multiaddr, ...] = ()
        """Where it listens, with /p2p."""
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._stderr: IO[bytes] | None = None
        self._last_id = 0
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self._waiting: list[tuple[dict[str, Any], asyncio.Future[dict[str, Any]]]] = []

    @property
    def addr(self) -> Multiaddr:
        """The first address it listens on, with /p2p."""
        return self.addrs[0]

    async def __aenter__(self) -> Self:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __aexit__
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=self._stderr,
            limit=LINE_LIMIT_BYTES,
        )
        self._reader = asyncio.create_task(self._read())
        try:
            ready = await self.event("ready")
        except BaseException:
            await self.kill()
            raise
        self.peer = PeerId(ready["peer"])
        self.addrs = tuple(map(Multiaddr, ready["addrs"]))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        if self._reader is None:
            return  # killed by the test
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                status = await self._process.wait()
        except TimeoutError:
            status = -1
        said = self._said()
        await self.kill()
        if said:
            _log.info("the oracle %s said\n%s", self.peer, said)
        if error is None and status != 0:
            raise OracleFailed(f"the oracle ended with {status}\n{said}")

    async def kill(self) -> None:
        """End the process at once."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        if self._reader is not None:
            await self._reader
            self._reader = None
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None

    def _said(self) -> str:
        if self._stderr is None:
            return ""
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace")[-40_000:]

    # --- lines --------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        why = "has ended"
        try:
            async for line in self._process.stdout:
                item: dict[str, Any] = json.loads(line)
                if "event" in item:
                    self._deliver(item)
                elif (future := self._replies.get(item["id"])) is not None and not future.done():
                    future.set_result(item)
        except ValueError as error:  # no JSON, or a line over the limit
            why = f"cannot be understood: {error}"
        ended = OracleFailed(f"the oracle {why}\n{self._said()}")
        for future in [*self._replies.values(), *(future for _, future in self._waiting)]:
            if not future.done():
                future.set_exception(ended)

    def _deliver(self, event: dict[str, Any]) -> None:
        for name in ("data", "seqno", "body"):
            if name in event:
                event[name] = bytes.fromhex(event[name])
        for match, future in self._waiting:
            if not future.done() and _matches(event, match):
                future.set_result(event)
                return
        self._events.append(event)

    async def event(self, name: str, **match: Any) -> dict[str, Any]:
        """Return the first event of that name whose members equal `match`, heard already or to come, and take it.

        `data`, `seqno` and `body` are bytes in it.
        """
        wanted = {"event": name, **match}
        for event in self._events:
            if _matches(event, wanted):
                self._events.remove(event)
                return event
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        waiter = (wanted, future)
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await future
        except TimeoutError:
            heard = [f"{event['event']} {event.get('peer', '')}" for event in self._events]
            raise OracleFailed(f"the oracle never told {wanted}; it told {heard[-50:]}") from None
        finally:
            self._waiting.remove(waiter)

    def heard(self, name: str, **match: Any) -> list[dict[str, Any]]:
        """Return the events of that name that nobody took yet."""
        wanted = {"event": name, **match}
        return [event for event in self._events if _matches(event, wanted)]

    async def call(self, cmd: str, **args: Any) -> dict[str, Any]:
        """Send a command and return its reply."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._last_id += 1
        number = self._last_id
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._replies[number] = future
        try:
            self._process.stdin.write(json.dumps({"id": number, "cmd": cmd, "args": args}).encode() + b"\n")
            async with asyncio.timeout(PATIENCE_S + 5):
                await self._process.stdin.drain()
                reply = await future
        finally:
            del self._replies[number]
        if "error" in reply:
            raise OracleFailed(f"{cmd}: {reply['error']}")
        ok: dict[str, Any] = reply["ok"]
        return ok


def _matches(event: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(name in event and event[name] == value for name, value in wanted.items())
