"""A web UI for images, found on its machine, is asked with OpenAI's SDK."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import openai
import pytest

from support import model_servers
from support.drawing import draw
from support.model_servers import serving
from support.processes import Nodes

from .python_clients import opened


async def test_images_of_a_web_ui(tmp_path: Path) -> None:
    documents = model_servers.automatic1111("sdxl", "dreamshaper")
    async with serving(documents) as url, Nodes(tmp_path) as nodes:
        discovery = {
            "Enabled": True,
            "Interval": "100ms",
            "Project": "home",
            "Ports": [int(url.rpartition(":")[2])],
            "Include": ["sdxl", "dreamshaper"],
        }
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

            documents["/sdapi/v1/txt2img"] = fail
            with pytest.raises(openai.InternalServerError) as caught:
                await images.generate(model="sdxl", prompt="a cat")
            assert caught.value.status_code == 502
