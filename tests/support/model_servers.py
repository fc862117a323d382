"""Programs that are known by what they answer, on ports of the test's own: documents by their paths.

Each is written after the documentation of the real one, with the fields that it is known by and some others.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from support.drawing import draw

LOCKED = "locked"
"""In place of a document: only those with a key get it."""

Documents = dict[str, Any]
"""What is answered at which path, or what makes it of the JSON that came; anything else is answered 404."""


def _openai(*names: str, owner: str) -> Documents:
    listed = [{"id": name, "object": "model", "created": 1_700_000_000, "owned_by": owner} for name in names]
    return {"/v1/models": {"object": "list", "data": listed}}


def ollama(*names: str) -> Documents:
    tags = [{"name": name, "model": name, "size": 1, "digest": "d", "details": {"family": "llama"}} for name in names]
    return {"/api/version": {"version": "0.30.1"}, "/api/tags": {"models": tags}, **_openai(*names, owner="library")}


def vllm(*names: str) -> Documents:
    return {"/version": {"version": "0.25.0"}, **_openai(*names, owner="vllm")}


def sglang(*names: str) -> Documents:
    info = {"model_path": names[0], "tokenizer_path": names[0], "is_generation": True}
    return {"/get_model_info": info, **_openai(*names, owner="sglang")}


def other_sglang(*names: str) -> Documents:
    """SGLang whose models have an owner of their own; it tells of a path, too."""
    info = {"model_path": "/models/private/llama", "is_generation": True}
    return {"/get_model_info": info, **_openai(*names, owner="alice")}


def remote(documents: Documents, *names: str) -> Documents:
    """Ollama that has models of another host, too, which it asks under the account of its owner."""
    told = {"remote_model": "m", "remote_host": "https://ollama.invalid:443"}
    tags = [*documents["/api/tags"]["models"], *({"name": name, "model": name, **told} for name in names)]
    listed = [*documents["/v1/models"]["data"], *_openai(*names, owner="library")["/v1/models"]["data"]]
    return {**documents, "/api/tags": {"models": tags}, "/v1/models": {"object": "list", "data": listed}}


def llama_cpp(*names: str) -> Documents:
    """llama.cpp has routes of Ollama, too, for programs that look for one."""
    tags = {"models": [{"name": name, "model": name} for name in names]}
    return {"/props": _PROPS, "/api/tags": tags, **_openai(*names, owner="llamacpp")}


def older_llama_cpp(*names: str) -> Documents:
    return {"/props": _PROPS, **_openai(*names, owner="me")}


def lm_studio(*names: str) -> Documents:
    own = [{"id": name, "object": "model", "type": "llm", "state": "not-loaded"} for name in names]
    return {"/api/v0/models": {"object": "list", "data": own}, **_openai(*names, owner="organization_owner")}


def local_ai(*names: str) -> Documents:
    """LocalAI answers for Ollama as well."""
    system = {"backends": ["llama-cpp", "whisper"], "loaded_models": [{"id": name} for name in names[:1]]}
    return {"/system": system, **ollama(*names)}


def automatic1111(*names: str) -> Documents:
    """Draws, with the checkpoint's name as part of the prompt."""
    models = [{"title": f"{name}.safetensors [0]", "model_name": name, "filename": f"/m/{name}"} for name in names]

    def txt2img(asked: dict[str, Any]) -> dict[str, Any]:
        checkpoint = asked["override_settings"]["sd_model_checkpoint"]
        size = asked.get("width", 512), asked.get("height", 512)
        drawn = [draw(f"{checkpoint}: {asked['prompt']}", *size, seed) for seed in range(asked["n_iter"])]
        images = [base64.b64encode(image).decode() for image in drawn]
        return {"images": images, "parameters": asked, "info": "{}"}

    return {"/sdapi/v1/sd-models": models, "/sdapi/v1/txt2img": txt2img}


def comfyui(*names: str) -> Documents:
    return {
        "/system_stats": {"system": {"os": "posix", "comfyui_version": "0.9.0"}, "devices": []},
        "/models/checkpoints": list(names),
    }


def stranger(*names: str) -> Documents:
    """Has OpenAI's API and no sign of its own, as another node of the network does."""
    return _openai(*names, owner="P")


_PROPS = {"default_generation_settings": {"n_ctx": 4_096}, "total_slots": 4, "model_path": "/m", "build_info": "b1"}


@contextlib.asynccontextmanager
async def serving(documents: Documents, port: int = 0) -> AsyncIterator[str]:
    """Answer `documents` on a loopback port; gives the URL. A change of `documents` is answered from then on."""

    async def answer(request: web.Request) -> web.Response:
        found = documents.get(request.path)
        if found == LOCKED:
            return web.json_response({"error": {"message": "Invalid API Key"}}, status=401)
        if found is None:
            return web.json_response({"error": {"message": "not found"}}, status=404)
        return web.json_response(found(await request.json()) if callable(found) else found)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
