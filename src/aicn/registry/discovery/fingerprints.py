"""How each kind of model server is known, and how it tells its models.

All offer what their documentation describes: a route that no other has, or a word in the list of models. Several
imitate the routes of others (LocalAI and llama.cpp those of Ollama, all those of OpenAI), so the most particular
sign is looked for first. Who shows none of them is left alone, another node of this network among them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from aicn import defaults
from aicn.endpoints import Endpoint
from aicn.ids import ModelKind, name_fault

Ask = Callable[[str], Awaitable[Any]]
"""Gets a path of one server; returns the JSON that it answers, None if it answers anything else."""

CHAT_PATH: Final = f"/v1/{Endpoint.CHAT}"
IMAGE_PATH: Final = "/sdapi/v1/txt2img"
"""Of Automatic1111, which is asked in its own words."""
COMFYUI_PATH: Final = "/prompt"
"""Of ComfyUI, likewise."""


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model that a server says it has."""

    name: str
    """What the server calls it."""
    kind: ModelKind
    api: str
    """URL to register."""


@dataclass(frozen=True, slots=True)
class FoundServer:
    """A model server that has answered."""

    software: str
    """What it is, in one word: `ollama`, `vllm`…"""
    url: str
    """Without a path."""
    models: tuple[FoundModel, ...]


async def recognise(ask: Ask, url: str) -> FoundServer | None:
    """Return which model server answers at `url`, None if it is none that is known.

    Args:
        ask: asks that server.
        url: of the server, without a path.
    """
    listed = _listed(await ask("/v1/models"))
    software = _SOFTWARE_OF_OWNER.get(_text(listed[0].get("owned_by"))) if listed else None
    if software is not None:
        return _chats(software, url, (each.get("id") for each in listed))
    for look in (_lm_studio, _local_ai, _ollama, _sglang, _llama_cpp, _automatic1111, _comfyui):
        if (found := await look(ask, url, listed)) is not None:
            return found
    return None


_SOFTWARE_OF_OWNER: Final = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama.cpp"}
"""What these write as the owner of each of their models."""

_Listed = list[dict[str, Any]]


async def _lm_studio(ask: Ask, url: str, listed: _Listed) -> FoundServer | None:
    """LM Studio: its own list tells of each model whether it is loaded; it loads the others when they are asked."""
    own = _listed(await ask("/api/v0/models"))
    if not own or not all("state" in each and "type" in each for each in own):
        return None
    return _chats("lmstudio", url, (each.get("id") for each in own or listed))


async def _local_ai(ask: Ask, url: str, listed: _Listed) -> FoundServer | None:
    """LocalAI: tells its backends."""
    system = await ask("/system")
    if not isinstance(system, dict) or not isinstance(system.get("backends"), list) or "loaded_models" not in system:
        return None
    return _chats("localai", url, (each.get("id") for each in listed))


async def _ollama(ask: Ask, url: str, listed: _Listed) -> FoundServer | None:
    """Ollama: tells its version and, as tags, its models."""
    version, tags = await ask("/api/version"), await ask("/api/tags")
    if not isinstance(version, dict) or "version" not in version:
        return None
    if not isinstance(tags, dict) or not isinstance(tags.get("models"), list | None):
        return None
    named = [each for each in tags.get("models") or () if isinstance(each, dict)]
    return _chats("ollama", url, (each.get("name") for each in named or listed))


async def _sglang(ask: Ask, url: str, listed: _Listed) -> FoundServer | None:
    """SGLang whose models have another owner: tells of the one model that it runs."""
    info = await ask("/get_model_info")
    if not isinstance(info, dict) or "model_path" not in info or "is_generation" not in info:
        return None
    return _chats("sglang", url, [each.get("id") for each in listed] or [info["model_path"]])


async def _llama_cpp(ask: Ask, url: str, listed: _Listed) -> FoundServer | None:
    """llama.cpp from before its models had an owner: tells of its slots."""
    props = await ask("/props")
    if not isinstance(props, dict) or "total_slots" not in props or "default_generation_settings" not in props:
        return None
    return _chats("llama.cpp", url, (each.get("id") for each in listed))


async def _automatic1111(ask: Ask, url: str, _listed: _Listed) -> FoundServer | None:
    """Automatic1111's web UI, and those with its API: the checkpoints that they can load."""
    checkpoints = await ask("/sdapi/v1/sd-models")
    if not isinstance(checkpoints, list):
        return None
    names = [each.get("model_name") for each in checkpoints if isinstance(each, dict)]
    return _server("automatic1111", url, names, ModelKind.IMAGE_GENERATION, f"{url}{IMAGE_PATH}")


async def _comfyui(ask: Ask, url: str, _listed: _Listed) -> FoundServer | None:
    """ComfyUI: the checkpoints that it can load."""
    stats = await ask("/system_stats")
    system = stats.get("system") if isinstance(stats, dict) else None
    if not isinstance(system, dict) or "comfyui_version" not in system:
        return None
    checkpoints = await ask("/models/checkpoints")
    names = checkpoints if isinstance(checkpoints, list) else []
    return _server("comfyui", url, names, ModelKind.IMAGE_GENERATION, f"{url}{COMFYUI_PATH}")


def _chats(software: str, url: str, names: Iterable[Any]) -> FoundServer:
    """Return a server with OpenAI's API; chat models may be asked for whatever else they can do."""
    return _server(software, url, names, ModelKind.CHAT, f"{url}{CHAT_PATH}")


def _server(software: str, url: str, names: Iterable[Any], kind: ModelKind, api: str) -> FoundServer:
    usable = dict.fromkeys(name for name in map(_text, names) if name and _is_name(name))
    models = tuple(FoundModel(name, kind, api) for name in list(usable)[: defaults.DISCOVERY_MAX_MODELS])
    return FoundServer(software, url, models)


def _listed(answer: Any) -> _Listed:
    """Return the entries of a list in OpenAI's form, none if it is something else."""
    data = answer.get("data") if isinstance(answer, dict) else None
    return [each for each in data if isinstance(each, dict)] if isinstance(data, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _is_name(name: str) -> bool:
    return name_fault(name, defaults.NAME_MAX_BYTES) is None
