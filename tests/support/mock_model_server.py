"""A programmable model server: real HTTP on loopback, answers that the test writes down beforehand.

    async with MockModelServer(Plan(events=50, gap_ms=20)) as server:
        ...  # register server.chat_url with a node, send a request
        seen = await server.next_request()
        await seen.gone.wait()  # set when the client left before its answer was whole

It answers what it is told and judges nothing; what a test asserts is what arrived on the other side. Without a plan
for it, it draws real PNG images at `image_url` and gives back the image it gets at `edit_url`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

from support.image_answers import EDITS_PATH, FILES_PATH, GENERATIONS_PATH, Gallery, received

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

DONE = b"data: [DONE]\n\n"

BODY_KEPT_BYTES = 16 << 20
"""Of a longer body only size and checksum are kept."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to answer one request. The default is a short and healthy answer."""

    events: int = 5
    """Content events of a streamed answer."""
    gap_ms: float = 0.0
    """Pause before every event but the first."""
    first_byte_ms: float = 0.0
    """Pause before the head of the answer."""
    first_event_ms: float = 0.0
    """Pause between the head and the first event."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    """Added to, or in place of, the usual headers."""
    body: bytes | None = None
    """Answer with exactly this, whole; None: an answer shaped like OpenAI's."""
    chunks: tuple[bytes, ...] | None = None
    """Answer with exactly these, one write each, `gap_ms` apart; None: the usual."""
    die_after: int | None = None
    """Cut the connection after so many writes, before the end; 0: after the head."""
    die_at_once: bool = False
    """Cut the connection instead of answering."""
    hang: bool = False
    """Accept the request and never answer."""
    piece_bytes: int = 0
    """Split every write into pieces of so many bytes; 0: do not."""
    done: bool = True
    """End a stream with `data: [DONE]`."""
    before_body: bool = False
    """Answer without reading the request's body."""
    body_bytes: int | None = None
    """Read so much of the request's body and then no more, until the client is gone; None: read it."""
    stamp: bool = False
    """Put `"written_ns"`, the monotonic clock at the write, into every event."""


@dataclass(slots=True)
class Seen:
    """One request as it arrived, and what became of its client."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    arrived_s: float
    """Monotonic."""
    body_size_bytes: int = 0
    body_sha256: str = ""
    writes: int = 0
    """Events or chunks handed to the socket so far."""
    finished: bool = False
    """The whole answer was written."""
    gone_s: float | None = None
    """Monotonic time at which the client was found gone before the end; None: it stayed."""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server is through with the request, however it went."""

    def json(self) -> Any:
        """Return the decoded body."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """Return the first header of that name, in any case of letters."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class MockModelServer:
    """A model server on a free loopback port, in the loop of the test.

    Attributes:
        plan: how requests are answered from now on.
        once: plans used up one by one, first, before `plan` applies.
        seen: every request so far, oldest first.
    """

    def __init__(self, plan: Plan | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.plan = plan or Plan()
        self.once: list[Plan] = []
        self.seen: list[Seen] = []
        self._host = host
        self._port = port
        self._arrivals: asyncio.Queue[Seen] = asyncio.Queue()
        self._heads: asyncio.Queue[Seen] = asyncio.Queue()
        self._gallery = Gallery("")
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        """Listen."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop at once, whatever is in flight."""
        await self.stop()

    async def start(self) -> None:
        """Listen; after `stop` the same port is taken again, so that a test can restart the server."""
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._answer)
        # A cancelled handler is how aiohttp tells that the client left.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self._gallery = Gallery(self.url)

    async def stop(self) -> None:
        """Close the port and every connection. May be called twice."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        """Base URL without a slash at the end."""
        return f"http://{self._host}:{self._port}"

    @property
    def chat_url(self) -> str:
        """What to register as the `api` of a chat model."""
        return f"{self.url}/v1/chat/completions"

    @property
    def image_url(self) -> str:
        """What to register as the `api` of a model that makes images."""
        return f"{self.url}{GENERATIONS_PATH}"

    @property
    def edit_url(self) -> str:
        """What to register as the `api` of a model that edits images."""
        return f"{self.url}{EDITS_PATH}"

    @property
    def in_flight(self) -> int:
        """Requests that have arrived and not ended."""
        return sum(not one.ended.is_set() for one in self.seen)

    def forget(self) -> None:
        """Forget every request so far."""
        self.seen.clear()
        for queue in (self._arrivals, self._heads):
            while not queue.empty():
                queue.get_nowait()

    async def next_request(self, timeout_s: float = 10.0) -> Seen:
        """Return the oldest request not yet returned by this method; wait for one if there is none."""
        async with asyncio.timeout(timeout_s):
            return await self._arrivals.get()

    async def next_head(self, timeout_s: float = 10.0) -> Seen:
        """Return the oldest request not yet returned by this method, before its body has been read."""
        async with asyncio.timeout(timeout_s):
            return await self._heads.get()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET" and request.path.startswith(FILES_PATH):
            return self._file(request)
        seen = Seen(
            method=request.method,
            path=request.path,
            query=request.query_string,
            headers=tuple(request.headers.items()),
            body=b"",
            arrived_s=time.monotonic(),
        )
        plan = self.once.pop(0) if self.once else self.plan
        self.seen.append(seen)
        self._heads.put_nowait(seen)
        try:
            if not plan.before_body:
                await self._read_body(request, seen, plan)
            self._arrivals.put_nowait(seen)
            return await self._play(request, seen, plan)
        except (asyncio.CancelledError, ConnectionError):
            seen.gone_s = time.monotonic()
            seen.gone.set()
            raise
        finally:
            seen.ended.set()

    async def _read_body(self, request: web.Request, seen: Seen, plan: Plan) -> None:
        kept = bytearray()
        checksum = hashlib.sha256()
        async for data in request.content.iter_any():
            seen.body_size_bytes += len(data)
            checksum.update(data)
            if seen.body_size_bytes <= BODY_KEPT_BYTES:
                kept += data
            if plan.body_bytes is not None and seen.body_size_bytes >= plan.body_bytes:
                await asyncio.Event().wait()
        seen.body_sha256 = checksum.hexdigest()
        seen.body = bytes(kept) if seen.body_size_bytes == len(kept) else b""

    def _file(self, request: web.Request) -> web.Response:
        data = self._gallery.files.get(request.path.removeprefix(FILES_PATH))
        return web.Response(status=404) if data is None else web.Response(body=data, content_type="image/png")

    def _image(self, seen: Seen) -> tuple[int, bytes]:
        if seen.path == GENERATIONS_PATH:
            return self._gallery.generated(_decoded(seen.body))
        if len(seen.body) != seen.body_size_bytes:
            return 200, received(seen.body_size_bytes, seen.body_sha256)
        return self._gallery.edited(seen.header("content-type") or "", seen.body)

    async def _play(self, request: web.Request, seen: Seen, plan: Plan) -> web.StreamResponse:
        if plan.hang:
            await asyncio.Event().wait()
        if plan.first_byte_ms:
            await asyncio.sleep(plan.first_byte_ms / 1_000)
        if plan.die_at_once:
            return _cut(request)
        if seen.path in {GENERATIONS_PATH, EDITS_PATH} and plan.body is None and plan.chunks is None:
            status, body = self._image(seen)
            plan = replace(plan, status=status, body=body)
        asked = _decoded(seen.body)
        if plan.body is None and plan.chunks is None and not asked.get("stream"):
            plan = replace(plan, body=completion(str(asked.get("model", "mock"))))
        if plan.body is not None:
            return await self._whole(request, seen, plan)
        return await self._stream(request, seen, plan, str(asked.get("model", "mock")))

    async def _whole(self, request: web.Request, seen: Seen, plan: Plan) -> web.StreamResponse:
        body = plan.body or b""
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **plan.headers}
        response = web.StreamResponse(status=plan.status, headers=headers)
        await response.prepare(request)
        if plan.die_after is not None:
            await response.write(body[: plan.die_after])
            return _cut(request)
        await self._write(response, seen, plan, body)
        await response.write_eof()
        seen.finished = True
        return response

    async def _stream(self, request: web.Request, seen: Seen, plan: Plan, model: str) -> web.StreamResponse:
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", **plan.headers}
        response = web.StreamResponse(status=plan.status, headers=headers)
        await response.prepare(request)
        if plan.first_event_ms:
            await asyncio.sleep(plan.first_event_ms / 1_000)
        count = plan.events if plan.chunks is None else len(plan.chunks)
        for index in range(count):
            if plan.die_after == index:
                return _cut(request)
            if index and plan.gap_ms:
                await asyncio.sleep(plan.gap_ms / 1_000)
            chunk = event(model, index, stamp=plan.stamp) if plan.chunks is None else plan.chunks[index]
            await self._write(response, seen, plan, chunk)
        if plan.die_after is not None and plan.die_after >= count:
            return _cut(request)
        if plan.done and plan.chunks is None:
            await response.write(DONE)
        await response.write_eof()
        seen.finished = True
        return response

    async def _write(self, response: web.StreamResponse, seen: Seen, plan: Plan, data: bytes) -> None:
        if plan.piece_bytes:
            for start in range(0, len(data), plan.piece_bytes):
                await response.write(data[start : start + plan.piece_bytes])
                # One turn of the loop, so that pieces leave as packets of their own.
                await asyncio.sleep(0)
        else:
            await response.write(data)
        seen.writes += 1


def completion(model: str) -> bytes:
    """Return a whole chat completion with fields that careless programs drop."""
    answer = {
        "id": "chatcmpl-mock",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello there.", "reasoning_content": "greet"},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        "system_fingerprint": "mock",
    }
    return json.dumps(answer).encode()


def event(model: str, index: int, *, stamp: bool = False) -> bytes:
    """Return one content event of a stream."""
    chunk: dict[str, Any] = {
        "id": "chatcmpl-mock",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": model,
        "choices": [{"index": 0, "delta": {"content": f"token{index} "}, "finish_reason": None}],
    }
    if stamp:
        chunk["written_ns"] = time.monotonic_ns()
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        decoded = json.loads(body)
    except ValueError:
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _cut(request: web.Request) -> web.StreamResponse:
    """Break the connection as a killed process does, and return what aiohttp wants to have."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
