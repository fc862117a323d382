"""What ComfyUI's own HTTP routes do, without a model: graphs are checked, queued, and drawn one after the other.

Written after its `server.py`, `execution.py` and `nodes.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from support.drawing import draw

NODES = {
    "CheckpointLoaderSimple": {"ckpt_name"},
    "CLIPTextEncode": {"text", "clip"},
    "EmptyLatentImage": {"width", "height", "batch_size"},
    "KSampler": {
        *("model", "positive", "negative", "latent_image", "seed", "steps", "cfg", "sampler_name", "scheduler"),
        "denoise",
    },
    "VAEDecode": {"samples", "vae"},
    "PreviewImage": {"images"},
}
SAMPLERS = {"euler", "dpmpp_2m"}


class ComfyUi:
    """One server.

    Attributes:
        checkpoints: those that it has.
        pen: it draws while this is set.
        older: it chooses the numbers of requests itself, and interrupts whatever it works on.
        failing: what goes wrong with all that it draws.
        queue: requests that wait, by number.
        running: number of the one that is worked on.
        history: those that are through.
        interrupted: numbers of those that were interrupted.
        graphs: all that was asked for.
        awaited: numbers of those whose end somebody has asked for.
        changed: told of each change.
    """

    def __init__(self, *checkpoints: str, older: bool = False) -> None:
        self.checkpoints = checkpoints
        self.older = older
        self.pen = asyncio.Event()
        self.pen.set()
        self.failing = ""
        self.queue: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self.running: str | None = None
        self.history: dict[str, dict[str, Any]] = {}
        self.interrupted: list[str] = []
        self.graphs: list[dict[str, Any]] = []
        self.awaited: set[str] = set()
        self.changed = asyncio.Condition()
        self._images: dict[str, bytes] = {}
        self._stop = asyncio.Event()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on a free loopback port; gives the URL."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/system_stats", self._stats),
                web.get("/models/checkpoints", self._checkpoints),
                web.post("/prompt", self._prompt),
                web.get("/queue", self._queue),
                web.post("/queue", self._delete),
                web.post("/interrupt", self._interrupt),
                web.get("/history/{number}", self._history),
                web.post("/history", self._forget),
                web.get("/view", self._view),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        worker = asyncio.create_task(self._work())
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            worker.cancel()
            await asyncio.wait([worker])
            await runner.cleanup()

    async def until(self, check: Any) -> None:
        """Wait until `check()` is true."""
        async with asyncio.timeout(20), self.changed:
            await self.changed.wait_for(check)

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def _work(self) -> None:
        while True:
            async with self.changed:
                await self.changed.wait_for(lambda: self.queue)
            number, graph = self.queue.popitem(last=False)
            self.running = number
            self._stop.clear()
            await self._tell()
            stop, pen = asyncio.create_task(self._stop.wait()), asyncio.create_task(self.pen.wait())
            await asyncio.wait({stop, pen}, return_when=asyncio.FIRST_COMPLETED)
            stopped = self._stop.is_set()
            for task in (stop, pen):
                task.cancel()
            self.history[number] = self._entry(number, graph, stopped=stopped)
            self.running = None
            await self._tell()

    def _entry(self, number: str, graph: dict[str, Any], *, stopped: bool) -> dict[str, Any]:
        told: list[Any] = [["execution_start", {"prompt_id": number}]]
        if stopped:
            told.append(["execution_interrupted", {"prompt_id": number, "node_type": "KSampler"}])
        elif self.failing:
            told.append(["execution_error", {"prompt_id": number, "exception_message": f"{self.failing}\n"}])
        if stopped or self.failing:
            return {"outputs": {}, "status": {"status_str": "error", "completed": False, "messages": told}}
        outputs = {}
        for name, node in graph.items():
            if node["class_type"] == "PreviewImage":
                outputs[name] = {"images": self._drawn(graph)}
        return {"outputs": outputs, "status": {"status_str": "success", "completed": True, "messages": told}}

    def _drawn(self, graph: dict[str, Any]) -> list[dict[str, str]]:
        by_kind = {node["class_type"]: node["inputs"] for node in graph.values()}
        sampler, canvas = by_kind["KSampler"], by_kind["EmptyLatentImage"]
        words = graph[sampler["positive"][0]]["inputs"]["text"]
        checkpoint = by_kind["CheckpointLoaderSimple"]["ckpt_name"]
        places = []
        for at in range(canvas["batch_size"]):
            name = f"ComfyUI_temp_{len(self._images)}_.png"
            image = draw(f"{checkpoint}: {words}", canvas["width"], canvas["height"], sampler["seed"] + at)
            self._images[name] = image
            places.append({"filename": name, "subfolder": "", "type": "temp"})
        return places

    def _faults(self, graph: dict[str, Any]) -> dict[str, Any]:
        faults: dict[str, list[dict[str, str]]] = {}
        for name, node in graph.items():
            inputs = node["inputs"]
            assert set(inputs) == NODES[node["class_type"]], node
            for value in inputs.values():
                assert not isinstance(value, list) or value[0] in graph, node
            if node["class_type"] == "CheckpointLoaderSimple" and inputs["ckpt_name"] not in self.checkpoints:
                faults.setdefault(name, []).append(_fault("ckpt_name", inputs["ckpt_name"]))
            if node["class_type"] == "KSampler" and inputs["sampler_name"] not in SAMPLERS:
                faults.setdefault(name, []).append(_fault("sampler_name", inputs["sampler_name"]))
        return {name: {"errors": told, "dependent_outputs": [], "class_type": ""} for name, told in faults.items()}

    async def _stats(self, _: web.Request) -> web.Response:
        return web.json_response({"system": {"os": "posix", "comfyui_version": "0.9.0"}, "devices": []})

    async def _checkpoints(self, _: web.Request) -> web.Response:
        return web.json_response(list(self.checkpoints))

    async def _prompt(self, request: web.Request) -> web.Response:
        asked = await request.json()
        graph = asked["prompt"]
        if faults := self._faults(graph):
            error = {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation"}
            return web.json_response({"error": error, "node_errors": faults}, status=400)
        number = str(uuid.uuid4()) if self.older else asked.get("prompt_id", str(uuid.uuid4()))
        self.graphs.append(graph)
        self.queue[number] = graph
        await self._tell()
        return web.json_response({"prompt_id": number, "number": 1, "node_errors": {}})

    async def _queue(self, _: web.Request) -> web.Response:
        running = [] if self.running is None else [[0, self.running, {}, {}, []]]
        pending = [[at, number, graph, {}, []] for at, (number, graph) in enumerate(self.queue.items())]
        return web.json_response({"queue_running": running, "queue_pending": pending})

    async def _delete(self, request: web.Request) -> web.Response:
        for number in (await request.json())["delete"]:
            self.queue.pop(number, None)
        await self._tell()
        return web.Response()

    async def _interrupt(self, request: web.Request) -> web.Response:
        meant = (await request.json()).get("prompt_id")
        if self.running is not None and (self.older or meant == self.running):
            self.interrupted.append(self.running)
            self._stop.set()
            await self._tell()
        return web.Response()

    async def _history(self, request: web.Request) -> web.Response:
        number = request.match_info["number"]
        self.awaited.add(number)
        await self._tell()
        return web.json_response({number: self.history[number]} if number in self.history else {})

    async def _forget(self, request: web.Request) -> web.Response:
        for number in (await request.json())["delete"]:
            self.history.pop(number, None)
        await self._tell()
        return web.Response()

    async def _view(self, request: web.Request) -> web.Response:
        image = self._images.get(request.query["filename"]) if request.query["type"] == "temp" else None
        return web.Response(status=404) if image is None else web.Response(body=image, content_type="image/png")


def _fault(name: str, value: Any) -> dict[str, str]:
    return {"type": "value_not_in_list", "message": "Value not in list", "details": f"{name}: '{value}' not in []"}
