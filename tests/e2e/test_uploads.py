"""Image edits that are larger than what a node may hold: byte for byte, in little memory, and broken off cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from support.drawing import draw
from support.image_answers import failure
from support.mock_model_server import MockModelServer, Plan
from support.processes import NodeProcess, Nodes

PROJECT = "P"
MODEL = "edit"
LARGE_BYTES = 100_000_000
GROWTH_MAX_BYTES = 32_000_000
BOUNDARY = "a7c1"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
DEADLINE_S = 20.0


@dataclass(slots=True)
class Setup:
    """An Input, a Worker, and the model server beside the Worker, which edits images."""

    entry: NodeProcess
    worker: NodeProcess
    model: MockModelServer
    http: aiohttp.ClientSession

    @property
    def url(self) -> str:
        """Where an edit is posted for which the Input chooses the Worker."""
        return f"{self.entry.api}/image/edit/proxy?project={PROJECT}&model={MODEL}"


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    async with (
        MockModelServer() as model,
        Nodes(tmp_path) as nodes,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as http,
    ):
        entry = nodes.make("input")
        worker = nodes.make("worker", bootstrap=[entry.multiaddr], models=[(PROJECT, MODEL, model.edit_url, 2)])
        await asyncio.gather(entry.start(), worker.start())
        await nodes.until_seen(entry, PROJECT, MODEL, worker)
        yield Setup(entry, worker, model, http)


class Form:
    """A form with one image of any size, made while it is sent."""

    def __init__(self, image_bytes: int) -> None:
        self._head = (
            f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="prompt"\r\n\r\na hat\r\n'
            f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="image"; filename="i.png"\r\n\r\n'
        ).encode()
        self._tail = f"\r\n--{BOUNDARY}--\r\n".encode()
        self._image_bytes = image_bytes
        self._block = draw("noise", 256, 256) * 64
        self.sha256 = hashlib.sha256()
        self.size_bytes = 0
        self.sent_bytes = 0

    @property
    def length(self) -> int:
        """Size of the whole form in bytes."""
        return len(self._head) + self._image_bytes + len(self._tail)

    async def parts(self, before: Callable[[int], None] | None = None) -> AsyncIterator[bytes]:
        """Yield the form; `before` is told how much of it has gone."""
        for part in self._parts():
            if before is not None:
                before(self.sent_bytes)
            self.sha256.update(part)
            self.sent_bytes += len(part)
            yield part
            await asyncio.sleep(0)

    def _parts(self) -> list[bytes]:
        whole, rest = divmod(self._image_bytes, len(self._block))
        return [self._head, *[self._block] * whole, self._block[:rest], self._tail]


@pytest.mark.parametrize("chunked", [False, True])
async def test_large_edit_passes_exactly_and_in_little_memory(setup: Setup, *, chunked: bool) -> None:
    small = Form(3_000_000)
    async with setup.http.post(setup.url, data=small.parts(), headers=FORM) as answer:
        assert answer.status == 200
    for node in (setup.entry, setup.worker):
        node.forget_peak_rss()
    before = [node.peak_rss_bytes() for node in (setup.entry, setup.worker)]
    form = Form(LARGE_BYTES)
    headers = FORM if chunked else {**FORM, "content-length": str(form.length)}
    async with setup.http.post(setup.url, data=form.parts(), headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        assert form.sha256.hexdigest() in await answer.text()
    seen = setup.model.seen[-1]
    assert (seen.body_size_bytes, seen.body_sha256) == (form.length, form.sha256.hexdigest())
    assert seen.header("content-type") == FORM["content-type"]
    assert seen.header("content-length") == (None if chunked else str(form.length))
    after = [node.peak_rss_bytes() for node in (setup.entry, setup.worker)]
    growth = [peak - start for peak, start in zip(after, before, strict=True)]
    assert max(growth) < GROWTH_MAX_BYTES, growth


async def test_client_that_breaks_off_its_upload_stops_the_model_server(setup: Setup) -> None:
    form = Form(LARGE_BYTES)
    arrived = asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        async for part in form.parts():
            yield part
            if form.sent_bytes > 10_000_000:
                arrived.set()
                await asyncio.Event().wait()

    posting = asyncio.create_task(setup.http.post(setup.url, data=parts(), headers=FORM))
    seen = await setup.model.next_head(DEADLINE_S)
    async with asyncio.timeout(DEADLINE_S):
        await arrived.wait()
        posting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await posting
        await seen.gone.wait()
    assert not seen.finished


async def test_client_that_leaves_while_the_model_thinks_stops_it(setup: Setup) -> None:
    setup.model.plan = Plan(hang=True)
    form = Form(5_000_000)
    posting = asyncio.create_task(setup.http.post(setup.url, data=form.parts(), headers=FORM))
    seen = await setup.model.next_request(DEADLINE_S)
    assert seen.body_size_bytes == form.length
    posting.cancel()
    async with asyncio.timeout(DEADLINE_S):
        await seen.gone.wait()


async def test_answer_before_the_end_reaches_the_client_and_stops_the_upload(setup: Setup) -> None:
    refusal = failure("the image is too large")
    setup.model.plan = Plan(status=413, body=refusal, before_body=True)
    form = Form(LARGE_BYTES)
    answered = asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        async for part in form.parts():
            if form.sent_bytes > 20_000_000:
                await answered.wait()
            yield part

    async with asyncio.timeout(DEADLINE_S), setup.http.post(setup.url, data=parts(), headers=FORM) as answer:
        assert answer.status == 413
        assert await answer.read() == refusal
        answered.set()
    assert form.sent_bytes < LARGE_BYTES


async def test_upload_to_a_model_server_that_takes_nothing_waits_and_is_dropped(setup: Setup) -> None:
    """Back-pressure reaches the client: only buffers fill, and what is in them is dropped when the client goes."""
    setup.model.plan = Plan(body_bytes=1)
    form = Form(LARGE_BYTES)
    for node in (setup.entry, setup.worker):
        node.forget_peak_rss()
    before = [node.peak_rss_bytes() for node in (setup.entry, setup.worker)]
    posting = asyncio.create_task(setup.http.post(setup.url, data=form.parts(), headers=FORM))
    seen = await setup.model.next_head(DEADLINE_S)
    sent = -1
    while sent != form.sent_bytes:
        sent = form.sent_bytes
        await asyncio.sleep(0.3)
    assert sent < LARGE_BYTES // 2
    assert not seen.gone.is_set()
    posting.cancel()
    await asyncio.wait([posting])
    after = [node.peak_rss_bytes() for node in (setup.entry, setup.worker)]
    assert max(peak - start for peak, start in zip(after, before, strict=True)) < GROWTH_MAX_BYTES
