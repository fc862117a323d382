"""A web UI is told when nobody waits any more, and nobody else's image is stopped for that."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from aicn import defaults
from aicn.backends import BackendClient
from aicn.serving.webui import draw
from support.hosts import DEADLINE_S

BODY = b'{"prompt":"a cat"}'


class WebUi:
    """What Automatic1111's web UI does with tasks, one after the other; `pages`: whether it runs with its pages."""

    def __init__(self, *, pages: bool = True) -> None:
        self.pages = pages
        self.queue: list[str] = []
        self.active = ""
        self.completed: list[str] = []
        self.interrupted: list[str] = []
        self.looked_for: list[str] = []
        self.changed = asyncio.Condition()
        self._lock = asyncio.Lock()
        self._stop = asyncio.Event()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application(handler_args={"handler_cancellation": False})
        app.router.add_post("/sdapi/v1/txt2img", self._txt2img)
        app.router.add_post("/sdapi/v1/interrupt", self._interrupt)
        if self.pages:
            app.router.add_post("/internal/progress", self._progress)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/sdapi/v1/txt2img"
        finally:
            self._stop.set()
            await runner.cleanup()

    async def until(self, check: object) -> None:
        async with asyncio.timeout(DEADLINE_S), self.changed:
            await self.changed.wait_for(check)  # type: ignore[arg-type]

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def _txt2img(self, request: web.Request) -> web.Response:
        task = (await request.json())["force_task_id"]
        self.queue.append(task)
        await self._tell()
        async with self._lock:
            self.queue.remove(task)
            self.active = task
            await self._tell()
            await self._stop.wait()
            self._stop.clear()
            self.active = ""
            self.completed.append(task)
            await self._tell()
        return web.json_response({"images": ["aGk="], "info": "{}"})

    async def _progress(self, request: web.Request) -> web.Response:
        task = (await request.json())["id_task"]
        self.looked_for.append(task)
        await self._tell()
        states = {"active": task == self.active, "queued": task in self.queue, "completed": task in self.completed}
        return web.json_response(states)

    async def _interrupt(self, _: web.Request) -> web.Response:
        self.interrupted.append(self.active)
        self._stop.set()
        return web.json_response({})

    def end(self) -> None:
        """Let the one that is drawn come to its end."""
        self._stop.set()


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[BackendClient]:
    monkeypatch.setattr(defaults, "DRAWN_POLL_S", 0.01)
    made = BackendClient()
    yield made
    await made.close()


def asking(client: BackendClient, url: str) -> asyncio.Task[object]:
    return asyncio.create_task(draw(client, url, "sdxl", BODY, lambda _: None))


async def test_who_leaves_is_drawn_for_no_more_and_nobody_else_is_stopped(client: BackendClient) -> None:
    ui = WebUi()
    async with ui.serving() as url:
        first = asking(client, url)
        await ui.until(lambda: ui.active)
        second = asking(client, url)
        await ui.until(lambda: len(ui.queue) == 1)
        drawn, waiting = ui.active, ui.queue[0]
        second.cancel()
        await ui.until(lambda: waiting in ui.looked_for)
        assert not ui.interrupted, "what is drawn is another client's"
        first.cancel()
        await ui.until(lambda: ui.completed == [drawn, waiting])
        assert ui.interrupted == [drawn, waiting], "and the other one as soon as its turn had come"
        await asyncio.wait([first, second])
        assert first.cancelled()
        assert second.cancelled()


async def test_who_stays_has_an_image_and_nothing_is_taken_back(client: BackendClient) -> None:
    ui = WebUi()
    async with ui.serving() as url:
        staying = asking(client, url)
        await ui.until(lambda: ui.active)
        ui.end()
        await staying
        assert not ui.looked_for


async def test_where_it_cannot_be_taken_back_that_is_told(
    client: BackendClient, caplog: pytest.LogCaptureFixture
) -> None:
    ui = WebUi(pages=False)
    async with ui.serving() as url:
        leaving = asking(client, url)
        await ui.until(lambda: ui.active)
        leaving.cancel()
        await asyncio.wait([leaving])
        assert not ui.interrupted
    assert "may go on drawing" in caplog.text
