"""A programmable model server: real HTTP on loopback, answers that the test writes down beforehand.

    async with MockModelServer(Plan(events=50, gap_ms=20)) as server:
        ...  # register server.chat_url with a node, send a request
        seen = await server.next_request()
        await seen.gone.wait()  # set when the client left before its answer was whole

It answers what it is told and judges nothing; what a test asserts is what arrived on the other side. Without a plan
for it, it draws real PNG images at `image_url` and gives back the image it gets at `edit_url`. With `lifelike` in its
plan, or at an endpoint that is not of chat or images, it does what the request asks for: see `support.model_answers`.
What only asks whether it is there (`GET /v1/models`, `GET /health`) is kept apart in `probes`; of the plan only that it
hangs, dies or is late counts for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

from support import model_answers
from support.image_answers import EDITS_PATH, FILES_PATH, GENERATIONS_PATH, VARIATIONS_PATH, Gallery, received
from support.model_answers.chat import DONE
from support.model_plan import Plan, Seen

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["BODY_KEPT_BYTES", "DONE", "MockModelServer", "Plan", "Seen", "completion", "event", "usage"]

IMAGE_PATHS = {GENERATIONS_PATH, EDITS_PATH, VARIATIONS_PATH}
CHAT_PATH = "/v1/chat/completions"
PREFIX = "/v1/"
PROBE_PATHS = {"/health", "/v1/models"}

BODY_KEPT_BYTES = 16 << 20
"""Of a longer body only size and checksum are kept."""


class MockModelServer:
    """A model server on a free loopback port, in the loop of the test.

    Attributes:
        plan: how requests are answered from now on.
        once: plans used up one by one, first, before `plan` applies.
        seen: every request so far, oldest first.
        probes: those that only asked whether the server is there, and which models it has.
        models: the names that it gives then.
    """

    def __init__(self, plan: Plan | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.plan = plan or Plan()
        self.once: list[Plan] = []
        self.seen: list[Seen] = []
        self.probes: list[Seen] = []
        self.models: list[str] = []
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
        return f"{self.url}{CHAT_PATH}"

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
        is_probe = request.method == "GET" and request.path in PROBE_PATHS
        seen = Seen(
            method=request.method,
            path=request.path,
            query=request.query_string,
            headers=tuple(request.headers.items()),
            body=b"",
            arrived_s=time.monotonic(),
        )
        try:
            if is_probe:
                self.probes.append(seen)
                return await self._probed(request, seen)
            plan = self.once.pop(0) if self.once else self.plan
            self.seen.append(seen)
            self._heads.put_nowait(seen)
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

    async def _probed(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        if self.plan.hang:
            await asyncio.Event().wait()
        if self.plan.first_byte_ms:
            await asyncio.sleep(self.plan.first_byte_ms / 1_000)
        if self.plan.die_at_once:
            return _cut(request)
        seen.finished = True
        models = [{"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "mock"} for name in self.models]
        return web.json_response({"object": "list", "data": models} if seen.path == "/v1/models" else {"status": "ok"})

    def _image(self, seen: Seen) -> tuple[int, bytes]:
        if seen.path == GENERATIONS_PATH:
            return self._gallery.generated(_decoded(seen.body))
        if len(seen.body) != seen.body_size_bytes:
            return 200, received(seen.body_size_bytes, seen.body_sha256)
        draw = self._gallery.edited if seen.path == EDITS_PATH else self._gallery.varied
        return draw(seen.header("content-type") or "", seen.body)

    def _lifelike(self, seen: Seen, plan: Plan) -> Plan:
        """Return `plan` with the answer that the request asks for, if it says nothing against it."""
        content_type = seen.header("content-type") or ""
        path = seen.path.removeprefix(PREFIX)
        request = model_answers.Request(path, content_type, seen.body, seen.body_size_bytes, seen.body_sha256)
        plan = model_answers.wished(request, plan)
        if plan.body is not None or plan.chunks is not None:
            return plan
        try:
            answer = model_answers.answer(request)
        except model_answers.Refused as error:
            return replace(plan, status=error.status, body=model_answers.refusal(error, path))
        if answer is None:
            return plan
        return replace(plan, body=answer.body, chunks=answer.chunks, headers={**answer.headers, **plan.headers})

    async def _play(self, request: web.Request, seen: Seen, plan: Plan) -> web.StreamResponse:
        if plan.lifelike or (seen.path not in IMAGE_PATHS | {CHAT_PATH} and seen.path.startswith(PREFIX)):
            plan = self._lifelike(seen, plan)
        if plan.hang:
            await asyncio.Event().wait()
        if plan.first_byte_ms:
            await asyncio.sleep(plan.first_byte_ms / 1_000)
        if plan.die_at_once:
            return _cut(request)
        if seen.path in IMAGE_PATHS and plan.body is None and plan.chunks is None:
            status, body = self._image(seen)
            plan = replace(plan, status=status, body=body)
        asked = _decoded(seen.body)
        if plan.body is None and plan.chunks is None and not asked.get("stream"):
            plan = replace(plan, body=completion(str(asked.get("model", "mock"))))
        if plan.body is not None:
            return await self._whole(request, seen, plan)
        return await self._stream(request, seen, plan, asked)

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

    async def _stream(self, request: web.Request, seen: Seen, plan: Plan, asked: dict[str, Any]) -> web.StreamResponse:
        model = str(asked.get("model", "mock"))
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", **plan.headers}
        response = web.StreamResponse(status=plan.status, headers=headers)
        await response.prepare(request)
        if plan.first_event_ms:
            await asyncio.sleep(plan.first_event_ms / 1_000)
        count = plan.events if plan.chunks is None else len(plan.chunks)
        for index in range(count):
            if index and plan.gap_ms:
                await asyncio.sleep(plan.gap_ms / 1_000)
            if plan.die_after == index:
                return _cut(request)
            chunk = event(model, index, stamp=plan.stamp) if plan.chunks is None else plan.chunks[index]
            await self._write(response, seen, plan, chunk)
        if plan.die_after is not None and plan.die_after >= count:
            return _cut(request)
        if plan.chunks is None:
            if (asked.get("stream_options") or {}).get("include_usage"):
                await response.write(usage(model, count))
            if plan.done:
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


def usage(model: str, completion_tokens: int) -> bytes:
    """Return the event that tells the usage, for those who asked for it."""
    used = {"prompt_tokens": 3, "completion_tokens": completion_tokens, "total_tokens": 3 + completion_tokens}
    chunk = {"id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": model}
    return b"data: " + json.dumps({**chunk, "choices": [], "usage": used}).encode() + b"\n\n"


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
