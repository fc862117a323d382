"""How each kind of model server is known, and how it tells its models.

All offer what their documentation describes: a route that no other has, or a word in the list of models. Several
imitate the routes of others (LocalAI and llama.cpp those of Ollama, all those of OpenAI), so the most particular
sign is looked for first. Who shows none of them is left alone, another node of this network among them.

A server whose list of models cannot be had is not taken for one without models: then nothing is known of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from aicn import defaults
from aicn.endpoints import COMFYUI_PATH, WEB_UI_PATH, Endpoint
from aicn.ids import ModelKind, name_fault

Ask = Callable[[str], Awaitable[Any]]
"""Gets a path of one server; returns the JSON that it answers, None if it answers anything else.

What it raises ends the look at that server.
"""

CHAT_PATH: Final = f"/v1/{Endpoint.CHAT}"


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
    wants_key: bool = False
    """Whether it answers only those who have a key of its own, which nodes do not."""


async def recognise(ask: Ask, url: str) -> FoundServer | None:
    """Return which model server answers at `url`, None if it is none that is known.

    Args:
        ask: asks that server.
        url: of the server, without a path.
    """
    listed = _listed(await ask("/v1/models"))
    if listed and (software := _SOFTWARE_OF_OWNER.get(_text(listed[0].get("owned_by")))) is not None:
        if any(_OF_A_NODE.issubset(each) for each in listed):
            # Another node of this network, which serves a project of that name.
            return None
        if software == _LLAMA_CPP:
            # It shows its list to everybody, and anything else only to those who have its key.
            await ask("/props")
        return _chats(software, url, listed)
    for look in (_lm_studio, _local_ai, _ollama, _sglang, _llama_cpp, _automatic1111, _comfyui):
        if (found := await look(ask, url, listed)) is not None:
            return found
    return None


_LLAMA_CPP: Final = "llama.cpp"
_SOFTWARE_OF_OWNER: Final = {"vllm": "vllm", "sglang": "sglang", "llamacpp": _LLAMA_CPP}
"""What these write as the owner of each of their models."""

_OF_A_NODE: Final = frozenset({"display_name", "type"})
"""What a node of this network says of each model, since Anthropic's API wants it."""

_Listed = list[dict[str, Any]] | None
"""The entries of a list of models; None: the server gave no such list."""


async def _lm_studio(ask: Ask, url: str, _listed_beside: _Listed) -> FoundServer | None:
    """LM Studio: its own list tells of each model whether it is loaded; it loads the others when they are asked."""
    own = _listed(await ask("/api/v0/models"))
    if not own or not all("state" in each and "type" in each for each in own):
        return None
    return _chats("lmstudio", url, own)


async def _local_ai(ask: Ask, url: str, listed: _Listed) -> FoundServer | None:
    """LocalAI: tells its backends."""
    system = await ask("/system") if listed is not None else None
    if not isinstance(system, dict) or not isinstance(system.get("backends"), list) or "loaded_models" not in system:
        return None
    return _chats("localai", url, listed)


async def _ollama(ask: Ask, url: str, _listed_beside: _Listed) -> FoundServer | None:
    """Ollama: tells its version and, as tags, its models.

    Those among them that run at another host, under the account of the machine's owner, are not this machine's to lend.
    """
    version, tags = await ask("/api/version"), await ask("/api/tags")
    if not isinstance(version, dict) or "version" not in version:
        return None
    if not isinstance(tags, dict) or not isinstance(tags.get("models"), list | None):
        return None
    tagged = [each for each in tags.get("models") or () if isinstance(each, dict)]
    own = (each.get("name") for each in tagged if not each.get("remote_host") and not each.get("remote_model"))
    return _server("ollama", url, own, ModelKind.CHAT, f"{url}{CHAT_PATH}")


async def _sglang(ask: Ask, url: str, listed: _Listed) -> FoundServer | None:
    """SGLang whose models have another owner: tells of the model that it runs, by a path that nobody else need know."""
    info = await ask("/get_model_info") if listed is not None else None
    if not isinstance(info, dict) or "model_path" not in info or "is_generation" not in info:
        return None
    return _chats("sglang", url, listed)


async def _llama_cpp(ask: Ask, url: str, listed: _Listed) -> FoundServer | None:
    """llama.cpp from before its models had an owner: tells of its slots."""
    props = await ask("/props") if listed is not None else None
    if not isinstance(props, dict) or "total_slots" not in props or "default_generation_settings" not in props:
        return None
    return _chats(_LLAMA_CPP, url, listed)


async def _automatic1111(ask: Ask, url: str, _listed: _Listed) -> FoundServer | None:
    """Automatic1111's web UI, and those with its API: the checkpoints that they can load."""
    checkpoints = await ask("/sdapi/v1/sd-models")
    if not isinstance(checkpoints, list):
        return None
    names = [each.get("model_name") for each in checkpoints if isinstance(each, dict)]
    return _server("automatic1111", url, names, ModelKind.IMAGE_GENERATION, f"{url}{WEB_UI_PATH}")


async def _comfyui(ask: Ask, url: str, _listed: _Listed) -> FoundServer | None:
    """ComfyUI: the checkpoints that it can load."""
    stats = await ask("/system_stats")
    system = stats.get("system") if isinstance(stats, dict) else None
    if not isinstance(system, dict) or "comfyui_version" not in system:
        return None
    names = await ask("/models/checkpoints")
    if not isinstance(names, list):
        return None
    return _server("comfyui", url, names, ModelKind.IMAGE_GENERATION, f"{url}{COMFYUI_PATH}")


def _chats(software: str, url: str, listed: _Listed) -> FoundServer:
    """Return a server with OpenAI's API; chat models may be asked for whatever else they can do."""
    names = (each.get("id") for each in listed or ())
    return _server(software, url, names, ModelKind.CHAT, f"{url}{CHAT_PATH}")


def _server(software: str, url: str, names: Iterable[Any], kind: ModelKind, api: str) -> FoundServer:
    usable = dict.fromkeys(name for name in map(_text, names) if name and _is_name(name))
    models = tuple(FoundModel(name, kind, api) for name in list(usable)[: defaults.DISCOVERY_MAX_MODELS])
    return FoundServer(software, url, models)


def _listed(answer: Any) -> _Listed:
    """Return the entries of a list in OpenAI's form, None if it is something else."""
    data = answer.get("data") if isinstance(answer, dict) else None
    return [each for each in data if isinstance(each, dict)] if isinstance(data, list) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _is_name(name: str) -> bool:
    return name_fault(name, defaults.NAME_MAX_BYTES) is None
