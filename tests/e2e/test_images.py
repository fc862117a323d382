"""Image generation and image edit over real processes: what passes, what is refused, and with which words."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from support.drawing import draw, size_of
from support.image_answers import failure, fields
from support.mock_model_server import MockModelServer, Plan
from support.processes import NodeProcess, Nodes

PROJECT = "P"
CHAT, DRAW, EDIT, PLAIN = "chat", "draw", "edit", "plain"
DEADLINE_S = 15.0
NOT_FOUND = {"code": 1007, "message": "can not find in registered project and model"}
NOBODY = {"code": 1017, "message": "Not enough available and directly connected nodes"}
PNG = draw("a cat")
ANY_PEER = "16Uiu2HAmDeqPaYx42CKMAoSy11YCMpd8xtLPbyhVqysLQDgedhFY"


@dataclass(slots=True)
class Setup:
    """An Input that serves images itself, a Worker that does, and a Worker that nobody else hears of models from."""

    entry: NodeProcess
    worker: NodeProcess
    own: MockModelServer
    """Beside the Input; its model is `own`."""
    model: MockModelServer
    """Beside the Worker."""
    http: aiohttp.ClientSession

    async def post(self, path: str, *, at: NodeProcess | None = None, **more: Any) -> tuple[int, Any]:
        """Return status and JSON of an answer."""
        async with self.http.post(f"{(at or self.entry).api}/{path}", **more) as answer:
            return answer.status, await answer.json()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Setup]:
    folder: Path = tmp_path_factory.mktemp("images")
    async with (
        MockModelServer() as own,
        MockModelServer() as model,
        Nodes(folder) as nodes,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http,
    ):
        entry = nodes.make("input", models=[(PROJECT, "own", own.image_url, 1), (PROJECT, "own-edit", own.edit_url, 2)])
        models = [
            (PROJECT, CHAT, model.chat_url, 0),
            (PROJECT, DRAW, model.image_url, 1),
            (PROJECT, EDIT, model.edit_url, 2),
            (PROJECT, PLAIN, model.image_url, 0),
        ]
        worker = nodes.make("worker", bootstrap=[entry.multiaddr], models=models)
        await asyncio.gather(entry.start(), worker.start())
        for name in (CHAT, DRAW, EDIT, PLAIN):
            await nodes.until_seen(entry, PROJECT, name, worker)
        yield Setup(entry, worker, own, model, http)


@pytest_asyncio.fixture(loop_scope="module")
async def setup(network: Setup) -> Setup:
    for server in (network.own, network.model):
        server.plan = Plan()
        server.once.clear()
        server.forget()
    return network


pytestmark = pytest.mark.asyncio(loop_scope="module")


def _ask(**more: Any) -> dict[str, Any]:
    return {"project": PROJECT, "model": DRAW, "prompt": "a cat", "n": 2, "size": "48x32", **more}


def _form(image: bytes = PNG, prompt: str = "a hat", **more: str) -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("image", image, filename="i.png", content_type="image/png")
    for name, value in {"prompt": prompt, **more}.items():
        form.add_field(name, value)
    return form


def _edit(**params: str) -> dict[str, str]:
    return {"project": PROJECT, "model": EDIT, **params}


# --- image generation -------------------------------------------------------------------------------------


async def test_images_come_in_base64(setup: Setup) -> None:
    status, body = await setup.post("image/gen/proxy", json=_ask(response_format="b64_json"))
    assert status == 200
    assert [size_of(base64.b64decode(one["b64_json"])) for one in body["data"]] == [(48, 32)] * 2
    assert body["data"][0] != body["data"][1]


async def test_images_come_as_urls(setup: Setup) -> None:
    status, body = await setup.post("image/gen", json=_ask(node_id=setup.worker.peer, response_format="url"))
    assert status == 200
    for one in body["data"]:
        assert set(one) == {"url", "revised_prompt"}
        async with setup.http.get(one["url"]) as image:
            assert size_of(await image.read()) == (48, 32)


async def test_fields_pass_untouched_but_for_routing(setup: Setup) -> None:
    sent = _ask(step=7, width=9, seed=0, wallet="w", signature="s", hash="h", style=None, cfg=7.50)
    await setup.post("image/gen", json=sent | {"node_id": setup.worker.peer, "cid": ""})
    seen = await setup.model.next_request()
    assert seen.json() == {name: value for name, value in sent.items() if name != "project"}
    assert b"7.5" in seen.body
    assert (seen.path, seen.query, seen.header("content-type")) == ("/v1/images/generations", "", "application/json")


async def test_node_draws_and_edits_itself(setup: Setup) -> None:
    own = setup.entry.peer
    status, body = await setup.post("image/gen", json=_ask(node_id=own, model="own", response_format="b64_json"))
    assert (status, size_of(base64.b64decode(body["data"][0]["b64_json"]))) == (200, (48, 32))
    status, body = await setup.post("image/edit", params=_edit(node_id=own, model="own-edit"), data=_form())
    assert (status, base64.b64decode(body["data"][0]["b64_json"])) == (200, PNG)
    assert len(setup.own.seen) == 2
    assert not setup.model.seen


async def test_model_registered_without_a_kind_is_asked_for_anything(setup: Setup) -> None:
    status, _ = await setup.post("image/gen/proxy", json=_ask(model=PLAIN))
    assert status == 200


# --- image edit -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["image/edit", "image/edit/proxy"])
async def test_form_passes_byte_for_byte(setup: Setup, path: str) -> None:
    form = _form(response_format="b64_json", n="1", mask="\xe9\u4e2d", odd="")()
    data = bytearray()

    class Writer:
        async def write(self, part: bytes) -> None:
            data.extend(part)

    await form.write(Writer())  # type: ignore[arg-type]
    headers = {"content-type": form.headers["content-type"]}
    params = _edit(node_id=setup.worker.peer, cid="") if path == "image/edit" else _edit()
    status, body = await setup.post(path, params=params, data=bytes(data), headers=headers)
    assert (status, base64.b64decode(body["data"][0]["b64_json"])) == (200, PNG)
    seen = await setup.model.next_request()
    assert seen.body == data
    assert seen.header("content-type") == headers["content-type"]
    assert (seen.path, seen.query) == ("/v1/images/edits", "")


async def test_image_as_the_answer_passes(setup: Setup) -> None:
    setup.model.plan = Plan(body=PNG, headers={"Content-Type": "image/png"})
    async with setup.http.post(f"{setup.entry.api}/image/edit/proxy", params=_edit(), data=_form()) as answer:
        assert (answer.status, answer.content_type, await answer.read()) == (200, "image/png", PNG)
        assert answer.headers["x-aicn-node"] == setup.worker.peer


async def test_large_answer_passes_as_it_comes_and_is_cut_when_it_breaks(setup: Setup) -> None:
    large = json.dumps({"data": [{"b64_json": "A" * 5_000_000}]}).encode()
    setup.model.plan = Plan(body=large)
    status, body = await setup.post("image/edit/proxy", params=_edit(), data=_form())
    assert (status, body) == (200, json.loads(large))
    setup.model.plan = Plan(body=large, die_after=4_000_000)
    async with setup.http.post(f"{setup.entry.api}/image/edit/proxy", params=_edit(), data=_form()) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_two_edits_at_once_never_mix_when_one_fails(setup: Setup) -> None:
    """Each of many clients gets what is its own: its image, or the failure of its image."""

    async def one(number: int) -> None:
        prompt = f"client {number}"
        good = number % 2 == 0
        image = draw(prompt) if good else b"no image " + prompt.encode()
        status, body = await setup.post("image/edit/proxy", params=_edit(), data=_form(image, prompt))
        if good:
            assert status == 200
            assert body["data"][0]["revised_prompt"] == prompt
            assert base64.b64decode(body["data"][0]["b64_json"]) == image
        else:
            assert (status, body) == (400, json.loads(failure("the image is no PNG")))

    await asyncio.gather(*(one(number) for number in range(24)))
    assert len(setup.model.seen) == 24
    for seen in setup.model.seen:
        form = fields(seen.header("content-type") or "", seen.body)
        prompt = form["prompt"].decode()
        assert form["image"] in {draw(prompt), b"no image " + prompt.encode()}


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"{bad", 1002, "Parsing error"),
        (b"[]", 1002, "Parsing error"),
        (b"{}", 1001, "empty project"),
        (b'{"project": "P"}', 1001, "empty model"),
    ],
)
async def test_bad_generation_is_refused(setup: Setup, body: bytes, code: int, message: str) -> None:
    status, answer = await setup.post("image/gen/proxy", data=body)
    assert (status, answer) == (400, {"code": code, "message": message})


async def test_node_must_be_named(setup: Setup) -> None:
    status, answer = await setup.post("image/gen", json=_ask())
    assert (status, answer) == (400, {"code": 1001, "message": "empty node_id"})
    status, answer = await setup.post("image/edit", params=_edit(), data=_form())
    assert (status, answer) == (400, {"code": 1001, "message": "empty node_id"})
    status, answer = await setup.post("image/edit", params=_edit(node_id="me"), data=_form())
    assert (status, answer["code"]) == (400, 1001)


@pytest.mark.parametrize(("params", "code"), [({}, 1001), ({"project": PROJECT}, 1001), ({"project": "\udcff"}, 1002)])
async def test_bad_edit_is_refused(setup: Setup, params: dict[str, str], code: int) -> None:
    query = "project=%ff" if params.get("project") == "\udcff" else "&".join(f"{a}={b}" for a, b in params.items())
    status, answer = await setup.post(f"image/edit/proxy?{query}", data=_form())
    assert (status, answer["code"]) == (400, code)


async def test_edit_must_be_a_form(setup: Setup) -> None:
    status, answer = await setup.post("image/edit/proxy", params=_edit(), json={"image": "x"})
    assert (status, answer["code"]) == (422, 1001)
    assert not setup.model.seen


async def test_model_that_nobody_has(setup: Setup) -> None:
    assert await setup.post("image/gen/proxy", json=_ask(model="none")) == (500, NOBODY)
    assert await setup.post("image/edit/proxy", params=_edit(model="none"), data=_form()) == (500, NOBODY)
    ask = _ask(node_id=setup.worker.peer, model="none")
    assert await setup.post("image/gen", json=ask) == (500, NOT_FOUND)
    params = _edit(node_id=setup.worker.peer, model="none")
    assert await setup.post("image/edit", params=params, data=_form()) == (500, NOT_FOUND)


async def test_node_that_is_not_there(setup: Setup) -> None:
    status, answer = await setup.post("image/gen", json=_ask(node_id=ANY_PEER))
    assert (status, answer["code"]) == (500, 1018)
    status, answer = await setup.post("image/edit", params=_edit(node_id=ANY_PEER), data=_form())
    assert (status, answer["code"]) == (500, 1018)


async def test_worker_without_peers_collect_does_not_choose(setup: Setup) -> None:
    refused = (400, {"code": 1011, "message": "Unsupported function"})
    assert await setup.post("image/gen/proxy", at=setup.worker, json=_ask()) == refused
    assert await setup.post("image/edit/proxy", at=setup.worker, params=_edit(), data=_form()) == refused


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("path", "model"), [("chat/completion", DRAW), ("chat/completion", EDIT), ("image/gen", EDIT), ("image/edit", DRAW)]
)
async def test_model_is_asked_for_what_it_does(setup: Setup, path: str, model: str, *, named: bool) -> None:
    node = {"node_id": setup.worker.peer} if named else {}
    path = path if named else f"{path}/proxy"
    more: dict[str, Any] = {"json": {**_ask(model=model), **node}}
    if path.startswith("image/edit"):
        more = {"params": {**_edit(model=model), **node}, "data": _form()}
    status, answer = await setup.post(path, **more)
    assert (status, answer["code"]) == (500, 1007)
    assert "does" in answer["message"]
    assert not setup.model.seen


# --- what the model server says ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["image/gen/proxy", "image/edit/proxy"])
@pytest.mark.parametrize(
    ("plan", "status"),
    [
        pytest.param(Plan(status=400, body=failure("no such size")), 400, id="refusal"),
        pytest.param(Plan(status=200, body=failure("out of memory", 7)), 500, id="code with status 200"),
        pytest.param(Plan(status=503, body=failure("busy")), 503, id="busy"),
    ],
)
async def test_failure_of_the_model_server_is_passed_on(setup: Setup, path: str, plan: Plan, status: int) -> None:
    setup.model.plan = plan
    more: dict[str, Any] = {"params": _edit(), "data": _form()} if "edit" in path else {"json": _ask()}
    assert plan.body is not None
    assert await setup.post(path, **more) == (status, json.loads(plan.body))


@pytest.mark.parametrize("path", ["image/gen/proxy", "image/edit/proxy"])
async def test_charset_is_no_error(setup: Setup, path: str) -> None:
    setup.model.plan = Plan(headers={"Content-Type": "application/json; charset=utf-8"})
    more: dict[str, Any] = {"params": _edit(), "data": _form()} if "edit" in path else {"json": _ask()}
    status, answer = await setup.post(path, **more)
    assert (status, len(answer["data"])) == (200, 1 if "edit" in path else 2)


@pytest.mark.parametrize("path", ["image/gen/proxy", "image/edit/proxy"])
async def test_client_that_goes_away_stops_the_model(setup: Setup, path: str) -> None:
    setup.model.plan = Plan(hang=True)
    more: dict[str, Any] = {"params": _edit(), "data": _form()} if "edit" in path else {"json": _ask()}
    async with aiohttp.ClientSession() as leaving:
        posting = asyncio.create_task(leaving.post(f"{setup.entry.api}/{path}", **more))
        seen = await setup.model.next_request(DEADLINE_S)
        posting.cancel()
        await asyncio.wait([posting])
    async with asyncio.timeout(DEADLINE_S):
        await seen.gone.wait()
    assert not seen.finished


async def test_model_server_that_dies_is_told(setup: Setup) -> None:
    setup.model.plan = Plan(die_at_once=True)
    status, answer = await setup.post("image/gen", json=_ask(node_id=setup.worker.peer))
    assert (status, answer["code"]) == (500, 1007)
    status, answer = await setup.post("image/edit/proxy", params=_edit(), data=_form())
    assert (status, answer["code"]) == (500, 1017)
