"""Model servers of this machine are found by what they answer, and followed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aicn import defaults
from aicn.backends import DocumentReader
from aicn.cli.demo_model import MODEL_NAME
from aicn.errors import ConfigError
from aicn.ids import ModelKind
from aicn.registry import Model, ModelRegistry, capped, paused, renamed
from aicn.registry.discovery import Follower, FoundServer, Scanner, Selection
from aicn.registry.discovery import scanner as scanner_module
from support import model_servers
from support.model_servers import LOCKED, Documents, serving
from support.processes import Nodes, free_ports
from support.real_model import model_server

NAMES = ("llama3:latest", "org/tiny")

SOFTWARE: dict[str, tuple[Callable[..., Documents], str]] = {
    "Ollama": (model_servers.ollama, "ollama"),
    "vLLM": (model_servers.vllm, "vllm"),
    "SGLang": (model_servers.sglang, "sglang"),
    "llama.cpp": (model_servers.llama_cpp, "llama.cpp"),
    "an older llama.cpp": (model_servers.older_llama_cpp, "llama.cpp"),
    "LM Studio": (model_servers.lm_studio, "lmstudio"),
    "LocalAI": (model_servers.local_ai, "localai"),
    "SGLang with an owner": (model_servers.other_sglang, "sglang"),
}


def _of_a_node(project: str) -> dict[str, Any]:
    """Return what another node of this network lists, which serves a model of `project`."""
    card = {"id": "m", "object": "model", "created": 1, "owned_by": project, "type": "model", "display_name": "m"}
    return {"object": "list", "data": [card]}


@pytest.fixture(autouse=True)
def _no_port_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs on the machine of the tests is none of their business."""
    monkeypatch.setattr(scanner_module, "KNOWN_PORTS", {})


@contextlib.asynccontextmanager
async def scanner_of(*urls: str) -> AsyncIterator[Scanner]:
    reader = DocumentReader()
    try:
        yield Scanner(reader.read, more_ports=[int(url.rpartition(":")[2]) for url in urls])
    finally:
        await reader.close()


async def found_of(documents: Documents) -> FoundServer | None:
    async with serving(documents) as url, scanner_of(url) as scanner:
        found = await scanner.scan()
    assert len(found) < 2
    return found[0] if found else None


@pytest.mark.parametrize("name", SOFTWARE)
async def test_a_chat_server_is_known_by_its_answers(name: str) -> None:
    make, software = SOFTWARE[name]
    found = await found_of(make(*NAMES))
    assert found is not None
    assert found.software == software
    assert [(model.name, model.kind) for model in found.models] == [(each, ModelKind.CHAT) for each in NAMES]
    assert {model.api for model in found.models} == {f"{found.url}/v1/chat/completions"}


async def test_models_that_run_at_another_host_are_not_this_machines_to_lend() -> None:
    found = await found_of(model_servers.remote(model_servers.ollama("a"), "big:cloud"))
    assert found is not None
    assert [model.name for model in found.models] == ["a"]
    found = await found_of(model_servers.remote(model_servers.ollama(), "big:cloud"))
    assert found is not None
    assert found.models == ()


@pytest.mark.parametrize(
    "documents",
    [
        pytest.param({"/v1/models": LOCKED}, id="vLLM"),
        pytest.param({**model_servers.llama_cpp("m"), "/props": LOCKED}, id="llama.cpp, which shows its list to all"),
        pytest.param({"/sdapi/v1/sd-models": LOCKED}, id="a web UI"),
    ],
)
async def test_who_wants_a_key_is_told_apart(documents: Documents) -> None:
    found = await found_of(documents)
    assert found is not None
    assert found.wants_key
    assert found.models == ()


async def test_the_real_llama_cpp_is_known() -> None:
    async with model_server() as url, scanner_of(url) as scanner:
        (found,) = await scanner.scan()
    assert (found.software, found.url) == ("llama.cpp", url)
    assert [model.name for model in found.models] == [MODEL_NAME]


async def test_image_servers_are_known_by_their_answers() -> None:
    webui = await found_of(model_servers.automatic1111("sdxl"))
    comfy = await found_of(model_servers.comfyui("sdxl.safetensors"))
    assert webui is not None
    assert comfy is not None
    assert (webui.software, comfy.software) == ("automatic1111", "comfyui")
    (model,) = webui.models
    assert (model.name, model.kind, model.api) == ("sdxl", ModelKind.IMAGE_GENERATION, f"{webui.url}/sdapi/v1/txt2img")
    assert [(each.name, each.kind, each.api) for each in comfy.models] == [
        ("sdxl.safetensors", ModelKind.IMAGE_GENERATION, f"{comfy.url}/prompt")
    ]


@pytest.mark.parametrize(
    "documents",
    [
        {},
        model_servers.stranger("m"),
        {"/v1/models": {"object": "list", "data": [None, 7]}},
        *({**model_servers.stranger("m"), "/v1/models": _of_a_node(name)} for name in ("vllm", "sglang", "llamacpp")),
        {"/v1/models": [], "/api/tags": {"models": "many"}, "/api/version": {"version": "1"}},
        {"/api/v0/models": {"data": [{"id": "m"}]}, "/system": {"backends": 7}, "/props": [], "/system_stats": 1},
    ],
    ids=["nothing", "stranger", "no models", "node: vllm", "node: sglang", "node: llamacpp", "no tags", "half signs"],
)
async def test_who_shows_no_sign_is_left_alone(documents: Documents) -> None:
    assert await found_of(documents) is None


@pytest.mark.parametrize("answer", [b"[" * 100_000, b'{"data":' * 5_000])
async def test_an_answer_that_nobody_can_read_harms_nobody(answer: bytes) -> None:
    async def nest(_: web.Request) -> web.Response:
        return web.Response(body=answer, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", nest)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with scanner_of(f":{runner.addresses[0][1]}") as scanner:
            assert await scanner.scan() == ()
    finally:
        await runner.cleanup()


async def test_names_that_could_do_harm_are_left_out() -> None:
    found = await found_of(model_servers.vllm("good", "bad\nname", "x" * 300, ""))
    assert found is not None
    assert [model.name for model in found.models] == ["good"]


async def test_an_answer_that_is_too_long_is_none() -> None:
    assert await found_of({**model_servers.vllm("m"), "/v1/models": {"data": ["x" * 5_000_000]}}) is None


async def test_a_port_that_speaks_no_http_is_left_alone() -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server, serving(model_servers.vllm("m")) as url:
        port = server.sockets[0].getsockname()[1]
        (dead,) = free_ports(1)
        async with scanner_of(f":{port}", f":{dead}", url) as scanner:
            found = await scanner.scan()
    assert [each.software for each in found] == ["vllm"]


class Shelf:
    """A registry that is followed, without a node around it."""

    def __init__(self) -> None:
        self.registry = ModelRegistry(save=self._save)
        self.saved = 0
        self.file: tuple[Model, ...] = ()
        self.fault: Exception | None = None

    async def _save(self, models: tuple[Model, ...]) -> None:
        if self.fault is not None:
            raise self.fault
        self.saved += 1
        # What a file keeps of them.
        self.file = tuple(replace(model, discovered=False) for model in models)

    def start_again(self) -> None:
        """Read what was saved, as a node does that starts."""
        self.registry = ModelRegistry(self.file, save=self._save)

    @property
    def names(self) -> list[tuple[str, str, str]]:
        """Name, instance and the server's own name of each model."""
        return [(model.model, model.cid, model.server_model) for model in self.registry.models()]

    def follower(self, scanner: Scanner, **selection: object) -> Follower:
        return Follower(
            self.registry,
            scanner,
            project="P",
            selection=Selection(**selection),  # type: ignore[arg-type]
            interval_s=1.0,
        )


async def test_models_come_and_go_with_their_server() -> None:
    shelf, documents = Shelf(), model_servers.ollama("a", "b")
    async with serving(documents) as url, scanner_of(url) as scanner:
        follower = shelf.follower(scanner)
        await follower.follow()
        assert shelf.names == [("a", "", "a"), ("b", "", "b")]
        await follower.follow()
        assert shelf.saved == 2, "what has not changed is not written"
        documents.update(model_servers.ollama("b", "c"))
        await follower.follow()
        assert shelf.names == [("b", "", "b"), ("c", "", "c")]
        documents.update(model_servers.ollama())
        await follower.follow()
        assert shelf.names == []


async def test_a_server_that_is_down_keeps_its_models() -> None:
    shelf = Shelf()
    async with serving(model_servers.vllm("a")) as url, scanner_of(url) as scanner:
        await shelf.follower(scanner).follow()
    async with scanner_of(url) as scanner:
        await shelf.follower(scanner).follow()
    assert shelf.names == [("a", "", "a")]


@pytest.mark.parametrize(
    ("make", "document"),
    [
        (model_servers.local_ai, "/v1/models"),
        (model_servers.older_llama_cpp, "/v1/models"),
        (model_servers.other_sglang, "/v1/models"),
        (model_servers.sglang, "/v1/models"),
        (model_servers.vllm, "/v1/models"),
        (model_servers.ollama, "/api/tags"),
        (model_servers.comfyui, "/models/checkpoints"),
        (model_servers.automatic1111, "/sdapi/v1/sd-models"),
        (model_servers.lm_studio, "/api/v0/models"),
    ],
    ids=lambda each: each if isinstance(each, str) else each.__name__,
)
async def test_a_list_that_cannot_be_had_is_not_an_empty_one(make: Callable[..., Documents], document: str) -> None:
    shelf, documents = Shelf(), make("a", "b")
    async with serving(documents) as url, scanner_of(url) as scanner:
        follower = shelf.follower(scanner)
        await follower.follow()
        before = shelf.names
        assert [name for name, _, _ in before] == ["a", "b"]
        del documents[document]
        await follower.follow()
    assert shelf.names == before


async def test_names_that_are_chosen_later_are_given_to_what_was_found_before() -> None:
    shelf, documents = Shelf(), model_servers.ollama("llama3:latest")
    async with serving(documents) as url, scanner_of(url) as scanner:
        await shelf.follower(scanner).follow()
        shelf.start_again()
        names = {"llama3:latest": "llama3"}
        for _ in range(2):
            await shelf.follower(scanner, names=names).follow()
            assert shelf.names == [("llama3", "", "llama3:latest")]
        documents.update(model_servers.ollama())
        await shelf.follower(scanner, names=names).follow()
    assert shelf.names == []


async def test_brackets_in_a_pattern_are_what_they_are() -> None:
    shelf, documents = Shelf(), model_servers.ollama("sd[xl]", "sdx")
    async with serving(documents) as url, scanner_of(url) as scanner:
        await shelf.follower(scanner, exclude=("sd[xl]",)).follow()
    assert shelf.names == [("sdx", "", "sdx")]


async def test_the_owner_chooses_and_names() -> None:
    shelf, documents = Shelf(), model_servers.ollama("llama3:latest", "llama3:70b", "bge-m3", "secret")
    async with serving(documents) as url, scanner_of(url) as scanner:
        chosen = {"include": ("llama3*", "secret"), "exclude": ("secret",), "names": {"llama3:latest": "llama3"}}
        await shelf.follower(scanner, **chosen).follow()
        assert shelf.names == [("llama3", "", "llama3:latest"), ("llama3:70b", "", "llama3:70b")]
        # A node that is started again with another choice.
        await shelf.follower(scanner, include=("llama3:latest",), names={"llama3:latest": "llama3"}).follow()
        assert shelf.names == [("llama3", "", "llama3:latest")]


async def test_what_was_registered_by_hand_is_left_alone() -> None:
    shelf, documents = Shelf(), model_servers.llama_cpp("a")
    async with serving(documents) as url, scanner_of(url) as scanner:
        api = f"{url.replace('127.0.0.1', 'localhost')}/v1/chat/completions"
        await shelf.registry.register(Model.of("P", "mine", api, 0, ""))
        await shelf.registry.register(Model.of("P", "renamed", api, 0, "", "a"))
        await shelf.registry.register(Model.of("Q", "other", api, 0, "", "b"))
        await shelf.follower(scanner).follow()
    assert shelf.names == [("mine", "", ""), ("renamed", "", "a"), ("other", "", "b")]


async def test_what_was_registered_by_hand_at_the_same_server_is_never_withdrawn() -> None:
    shelf, documents = Shelf(), model_servers.ollama("a", "b")
    async with serving(documents) as url, scanner_of(url) as scanner:
        api = f"{url}/v1/chat/completions"
        await shelf.registry.register(Model.of("P", "alias", api, 0, "", "hidden"))
        follower = shelf.follower(scanner, exclude=("unwanted",))
        await follower.follow()
        await shelf.registry.register(Model.of("P", "hidden", api, 0, "", "hidden"))
        await shelf.registry.register(Model.of("P", "mine", api, 0, "", "unwanted"))
        # Taken over: it was found first.
        await shelf.registry.register(Model.of("P", "b", api, 0, "", "b"))
        documents.update(model_servers.ollama("c"))
        await follower.follow()
    kept = [("alias", "", "hidden"), ("b", "", "b"), ("hidden", "", "hidden"), ("mine", "", "unwanted")]
    assert shelf.names == [*kept, ("c", "", "c")]


async def test_what_an_earlier_run_has_found_goes_with_its_server() -> None:
    shelf, documents = Shelf(), model_servers.ollama("a", "b")
    async with serving(documents) as url, scanner_of(url) as scanner:
        await shelf.registry.register(Model.of("P", "mine", f"{url}/v1/chat/completions", 0, "", "hidden"))
        await shelf.follower(scanner).follow()
        shelf.start_again()
        documents.update(model_servers.ollama("b"))
        await shelf.follower(scanner).follow()
    assert shelf.names == [("mine", "", "hidden"), ("b", "", "b")]


@pytest.mark.parametrize("restarts", [False, True], ids=["same run", "another run"])
async def test_what_an_operator_changed_is_there_when_the_model_comes_back(*, restarts: bool) -> None:
    shelf, documents = Shelf(), model_servers.ollama("a", "b", "c")
    async with serving(documents) as url, scanner_of(url) as scanner:
        follower = shelf.follower(scanner)
        await follower.follow()
        await shelf.registry.control("P", "a", "", paused(on=True))
        await shelf.registry.control("P", "b", "", capped(3))
        if not restarts:
            await shelf.registry.control("P", "c", "", renamed("mine"))
        changed = shelf.registry.models()
        documents.update(model_servers.ollama("other"))
        await follower.follow()
        assert shelf.names == [("other", "", "other")]
        if restarts:
            shelf.start_again()
            follower = shelf.follower(scanner)
            await follower.follow()
            assert shelf.names == [("other", "", "other")]
        documents.update(model_servers.ollama("a", "b", "c"))
        await follower.follow()
    assert {replace(model, discovered=True) for model in changed} == set(shelf.registry.models())


async def test_a_withheld_model_can_be_removed_for_good() -> None:
    shelf, documents = Shelf(), model_servers.ollama("a")
    async with serving(documents) as url, scanner_of(url) as scanner:
        follower = shelf.follower(scanner)
        await follower.follow()
        await shelf.registry.control("P", "a", "", paused(on=True))
        documents.update(model_servers.ollama())
        await follower.follow()
        assert [model.model for model in shelf.file] == ["a"]
        assert await shelf.registry.unregister("P", "a", "")
        documents.update(model_servers.ollama("a"))
        await follower.follow()
    assert [(model.model, model.paused) for model in shelf.registry.models()] == [("a", False)]


async def test_a_full_registry_is_told_once_until_it_has_room_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(defaults, "REGISTRY_MAX_MODELS", 1)
    shelf, documents = Shelf(), model_servers.ollama("a", "b", "c")
    async with serving(documents) as url, scanner_of(url) as scanner:
        follower = shelf.follower(scanner)
        for _ in range(3):
            await follower.follow()
        (told,) = warnings(caplog)
        assert told.startswith("model 'b' of ollama is not registered")
        assert "serves 1 models at most" in told
        documents.update(model_servers.ollama("a"))
        await follower.follow()
        documents.update(model_servers.ollama("a", "b"))
        for _ in range(2):
            await follower.follow()
    assert len(warnings(caplog)) == 2


async def test_a_file_that_refuses_changes_ends_nothing_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    shelf, documents = Shelf(), model_servers.ollama("a")
    async with serving(documents) as url, scanner_of(url) as scanner:
        follower = shelf.follower(scanner)
        await follower.follow()
        documents.update(model_servers.ollama("b", "c"))
        shelf.fault = ConfigError("AIProjects was edited")
        for _ in range(2):
            await follower.follow()
        assert shelf.names == [("a", "", "a")]
        shelf.fault = None
        await follower.follow()
    assert shelf.names == [("b", "", "b"), ("c", "", "c")]
    assert len(warnings(caplog)) == 1


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def test_two_servers_with_one_model_are_two_instances() -> None:
    shelf = Shelf()
    async with (
        serving(model_servers.vllm("a")) as one,
        serving(model_servers.ollama("a")) as two,
        scanner_of(one, two) as scanner,
    ):
        for _ in range(2):
            await shelf.follower(scanner).follow()
    first, second = sorted((one, two), key=lambda url: int(url.rpartition(":")[2]))
    assert shelf.names == [("a", "", "a"), ("a", second.rpartition(":")[2], "a")]
    assert [model.api for model in shelf.registry.models()] == [
        f"{first}/v1/chat/completions",
        f"{second}/v1/chat/completions",
    ]


async def test_a_node_finds_its_neighbours(tmp_path: Path) -> None:
    documents = model_servers.vllm("llama3")
    async with serving(documents) as url, Nodes(tmp_path) as nodes:
        entry = await nodes.input()
        discovery = {
            "Enabled": True,
            "Interval": "100ms",
            "Project": "home",
            "Ports": [int(url.rpartition(":")[2])],
            "Include": ["llama*"],
            "Names": {"llama3": "llama"},
        }
        worker = await nodes.worker(entry, AICN={"Discovery": discovery})
        await nodes.until_seen(entry, "home", "llama", worker)
        (project,) = worker.config()["AIProjects"]
    assert project == {
        "Project": "home",
        "Models": [
            {"Model": "llama", "API": f"{url}/v1/chat/completions", "Type": 0, "CID": "", "ServerModel": "llama3"}
        ],
    }
