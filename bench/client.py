"""The clients: aiohttp for requests per second, as the prototype was measured with; raw asyncio where time counts."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any, Self, cast
from urllib.parse import urlsplit

import aiohttp
import httptools


class Refused(Exception):
    """An answer other than 200, or a stream without its end."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go: the model server itself, or an Input."""

    url: str
    fields: dict[str, Any] = field(default_factory=dict)

    def body(self, *, stream: bool) -> bytes:
        fields = {**self.fields, "stream": stream, "messages": [{"role": "user", "content": "Say hello."}]}
        return json.dumps(fields, separators=(",", ":")).encode()

    def request(self, *, stream: bool) -> bytes:
        parts = urlsplit(self.url)
        body = self.body(stream=stream)
        head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Connection(asyncio.Protocol):
    """One kept connection; one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.body = bytearray()
        self.first_ns = 0
        self.delays_ns: list[int] = []
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's, only alike.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(Refused(f"connection lost: {exc}"))
            # Read by whoever waits; a connection that nobody waits on may go.
            self._done.exception()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        now_ns = time.monotonic_ns()
        self.first_ns = self.first_ns or now_ns
        lines = (self._rest + body).split(b"\n\n")
        self._rest = lines.pop()
        for line in lines:
            if (at := line.find(b'"written_ns":')) >= 0:
                self.delays_ns.append(now_ns - int(line[at + 13 : at + 32]))
            else:
                self.body += line

    def on_message_complete(self) -> None:
        if not self._done.done():
            self._done.set_result(None)

    async def ask(self, request: bytes) -> None:
        """Send a request for a stream and read it to its end."""
        assert self._transport is not None
        self._begin()
        self._transport.write(request)
        await self._done
        if self._parser.get_status_code() != 200:
            raise Refused(f"status {self._parser.get_status_code()}: {bytes(self.body + self._rest)[:300]!r}")
        if b"[DONE]" not in self.body:
            raise Refused(f"a stream without its end: {bytes(self.body + self._rest)[:300]!r}")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def connect(target: Target, count: int) -> list[Connection]:
    parts = urlsplit(target.url)
    assert parts.hostname is not None
    assert parts.port is not None
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(Connection, parts.hostname, parts.port) for _ in range(count)]
    return [protocol for _, protocol in made]


async def requests_per_s(target: Target, clients: int, seconds: float) -> float:
    """Keep `clients` users busy for `seconds` and return the requests that were answered per second."""
    body = target.body(stream=False)
    headers = {"Content-Type": "application/json"}
    stop_s = time.monotonic() + seconds
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def user() -> int:
            count = 0
            while time.monotonic() < stop_s:
                async with session.post(target.url, data=body, headers=headers) as answer:
                    content = await answer.read()
                if answer.status != 200:
                    raise Refused(f"status {answer.status}: {content[:300]!r}")
                count += 1
            return count

        started_s = time.monotonic()
        counts = await asyncio.gather(*(user() for _ in range(clients)))
        return sum(counts) / (time.monotonic() - started_s)


@dataclass(slots=True)
class Streams:
    """What a number of streams showed, in milliseconds."""

    first_ms: list[float] = field(default_factory=list)
    """From the request to the first content byte, one per stream."""
    delay_ms: list[float] = field(default_factory=list)
    """From the model's write to the client's read, one per event."""

    def __iadd__(self, other: Streams) -> Self:
        self.first_ms += other.first_ms
        self.delay_ms += other.delay_ms
        return self


async def streams(target: Target, clients: int, rounds: int, *, apart_s: float) -> Streams:
    """Let each of `clients` users read `rounds` streams, the users starting `apart_s` apart."""
    request = target.request(stream=True)
    connections = await connect(target, clients)
    seen = Streams()

    async def user(index: int, connection: Connection) -> None:
        await asyncio.sleep(index * apart_s)
        for _ in range(rounds):
            started_ns = time.monotonic_ns()
            await connection.ask(request)
            seen.first_ms.append((connection.first_ns - started_ns) / 1e6)
            seen.delay_ms.extend(delay / 1e6 for delay in connection.delays_ns)

    await asyncio.gather(*(user(index, one) for index, one in enumerate(connections)))
    for connection in connections:
        connection.close()
    return seen


def percentile(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(percent / 100 * (len(ordered) - 1)))]
