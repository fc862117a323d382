"""Web UIs for images, found on their machine, are asked with OpenAI's SDK."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import openai
import pytest

from support import model_servers
from support.comfyui import ComfyUi
from support.drawing import draw
from support.model_servers import serving
from support.processes import Nodes

from .python_clients import opened


def found_at(url: str, *names: str) -> dict[str, Any]:
    """Return settings that find the server at `url`, and of it those models."""
    port = int(url.rpartition(":")[2])
    return {"Enabled": True, "Interval": "100ms", "Project": "home", "Ports": [port], "Include": list(names)}


async def test_images_of_comfyui(tmp_path: Path) -> None:
    comfy = ComfyUi("sdxl.safetensors")
    async with comfy.serving() as url, Nodes(tmp_path) as nodes:
        entry = nodes.make("input")
        discovery = found_at(url, "sdxl.safetensors") | {"Names": {"sdxl.safetensors": "sdxl"}}
        worker = nodes.make("worker", bootstrap=[entry.multiaddr], AICN={"Discovery": discovery})
        await asyncio.gather(entry.start(), worker.start())
        await nodes.until_seen(entry, "home", "sdxl", worker)
        async with opened(entry.api.removesuffix("/api/v0")) as clients:
            images = clients.async_openai.images
            answer = await images.generate(model="sdxl", prompt="a cat", size="64x32", extra_body={"seed": 7})
            drawn = [base64.b64decode(image.b64_json or "") for image in answer.data or ()]
            assert drawn == [draw("sdxl.safetensors: a cat", 64, 32, 7)]

            comfy.pen.clear()
            asking = asyncio.create_task(images.generate(model="sdxl", prompt="a dog"))
            await comfy.until(lambda: comfy.running)
            running = comfy.running
            asking.cancel()
            await comfy.until(lambda: comfy.interrupted == [running])
            comfy.pen.set()

            with pytest.raises(openai.BadRequestError, match="10 images are drawn at once"):
                await images.generate(model="sdxl", prompt="a cat", n=11)
            comfy.failing = "CUDA out of memory"
            with pytest.raises(openai.InternalServerError, match="CUDA out of memory") as caught:
                await images.generate(model="sdxl", prompt="a cat")
            assert caught.value.status_code == 502


async def test_images_of_a_web_ui(tmp_path: Path) -> None:
    documents = model_servers.automatic1111("sdxl", "dreamshaper")
    async with serving(documents) as url, Nodes(tmp_path) as nodes:
        discovery = found_at(url, "sdxl", "dreamshaper")
        entry = nodes.make("input")
        worker = nodes.make("worker", bootstrap=[entry.multiaddr], AICN={"Discovery": discovery})
        await asyncio.gather(entry.start(), worker.start())
        for name in ("sdxl", "dreamshaper"):
            await nodes.until_seen(entry, "home", name, worker)
        async with opened(entry.api.removesuffix("/api/v0")) as clients:
            images = clients.async_openai.images
            for name in ("sdxl", "dreamshaper"):
                answer = await images.generate(model=name, prompt="a cat", n=2, size="64x32")
                drawn = [base64.b64decode(image.b64_json or "") for image in answer.data or ()]
                assert drawn == [draw(f"{name}: a cat", 64, 32, seed) for seed in range(2)]

            def fail(_: dict[str, Any]) -> dict[str, Any]:
                return {"error": "OutOfMemoryError", "detail": "", "errors": "CUDA out of memory"}

            with pytest.raises(openai.BadRequestError, match="10 images are drawn at once"):
                await images.generate(model="sdxl", prompt="a cat", n=11)
            documents["/sdapi/v1/txt2img"] = fail
            with pytest.raises(openai.InternalServerError) as caught:
                await images.generate(model="sdxl", prompt="a cat")
            assert caught.value.status_code == 502
