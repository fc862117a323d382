"""Routes of inference in one process: what is told of each use, what may be held, how an upload is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from aicn import defaults
from aicn.api import ApiServer
from aicn.api.admission import open_admission
from aicn.api.budget import Budget
from aicn.api.chat import ChatEndpoint
from aicn.api.images import ImageEditEndpoint
from aicn.api.inference import Inference
from aicn.backends import BackendClient
from aicn.clock import SystemClock
from aicn.endpoints import Endpoint
from aicn.ids import PeerId
from aicn.p2p.loopback import LoopbackStreams
from aicn.peers import Directory
from aicn.peers.records import Heartbeat, NodeFlags, Offer
from aicn.registry import Model, ModelRegistry
from aicn.routing import Reservations, Router, Selector
from aicn.serving import ChatProxyServer
from aicn.telemetry import Outcome, Side
from support.hosts import until
from support.mock_model_server import DONE, MockModelServer, Plan, completion, event
from support.uses import Uses

OWN = PeerId("own")
DEADLINE_S = 10.0
BUDGET_BYTES = 100_000
FORM = {"content-type": "multipart/form-data; boundary=x"}
EDIT = "/edit?project=P&model=edit"


@dataclass(slots=True)
class Setup:
    """The routes, with a model server behind them."""

    url: str
    model: MockModelServer
    uses: Uses
    budget: Budget
    http: aiohttp.ClientSession

    async def chat(self, model: str = "chat", **more: object) -> tuple[int, bytes]:
        """Return status and body of the answer to a chat."""
        async with self.http.post(f"{self.url}/chat", json={"project": "P", "model": model, **more}) as answer:
            return answer.status, await answer.read()


@pytest.fixture
async def setup() -> AsyncIterator[Setup]:
    async with MockModelServer() as model, aiohttp.ClientSession() as http:

        async def save(_: tuple[Model, ...]) -> None:
            return

        models = [Model.of("P", "chat", model.chat_url, 0, "c"), Model.of("P", "edit", model.edit_url, 2, "")]
        backends = BackendClient()
        serving = ChatProxyServer(ModelRegistry(models, save=save), backends, accepting=lambda: True)
        loopback = LoopbackStreams(OWN, defaults.CHAT_PROXY_PROTOCOL, serving.handle)
        directory = Directory(SystemClock())
        offers = (*models, Model.of("P", "gone", model.chat_url, 0, ""))
        told = tuple(Offer(one.project, one.model, one.cid, one.kind, 0) for one in offers)
        directory.apply(Heartbeat(OWN, NodeFlags.HAS_MODELS, told))
        reservations = Reservations()
        router = Router(
            Selector(directory, lambda _: None, reservations, OWN),
            reservations,
            lambda _, __, first: loopback.open(first),
        )
        uses, budget = Uses(), Budget(BUDGET_BYTES)
        parts = Inference(router, budget, uses, open_admission())
        routes = [
            Route("/chat", ChatEndpoint(parts, proxy=True), methods=["POST"]),
            Route("/edit", ImageEditEndpoint(parts, proxy=True), methods=["POST"]),
        ]
        api = ApiServer(Starlette(routes=routes), "127.0.0.1:0")
        await api.start()
        yield Setup(f"http://{api.address}", model, uses, budget, http)
        await api.close()
        await loopback.close()
        await backends.close()
        assert budget.held_bytes == 0
        assert all(len(use.ends) == 1 for use in uses.all)


# --- what is told of each use -----------------------------------------------------------------------------


async def test_use_is_told_from_its_body_to_its_end(setup: Setup) -> None:
    assert await setup.chat(temperature=0) == (200, completion("chat"))
    use = await setup.uses.only()
    assert (use.side, use.begun) == (Side.INPUT, (Endpoint.CHAT, "P", "chat", "", None, "127.0.0.1"))
    assert [json.loads(body) for body in use.bodies] == [{"model": "chat", "temperature": 0}]
    assert use.served == [(OWN, "c", 1)]
    assert (use.first_bytes, bytes(use.answer)) == (1, completion("chat"))
    assert use.ends == [(Outcome.OK, 200)]


async def test_streamed_answer_is_told_as_it_passes(setup: Setup) -> None:
    setup.uses.wants_body = False
    shown = b"".join(event("chat", index) for index in range(5))
    assert await setup.chat(stream=True) == (200, shown + DONE)
    use = await setup.uses.only()
    # What the model server said of the usage is told, though the client did not ask for it and does not see it.
    assert bytes(use.answer).startswith(shown)
    assert b'"usage": {' in bytes(use.answer)[len(shown) :]
    assert (use.bodies, use.ends) == ([], [(Outcome.OK, 200)])


@pytest.mark.parametrize(
    ("plan", "end"),
    [
        pytest.param(Plan(status=400, body=b"{}"), (Outcome.UPSTREAM_ERROR, 400), id="refusal"),
        pytest.param(Plan(body=b'{"code": 7}'), (Outcome.UPSTREAM_ERROR, 500), id="code with status 200"),
        pytest.param(Plan(die_at_once=True), (Outcome.UPSTREAM_ERROR, 500), id="no answer"),
        pytest.param(Plan(events=3, die_after=2), (Outcome.CUT, 200), id="cut stream"),
        pytest.param(Plan(events=3, done=False), (Outcome.CUT, 200), id="stream without an end"),
    ],
)
async def test_end_of_a_use_says_how_it_went(setup: Setup, plan: Plan, end: tuple[Outcome, int]) -> None:
    setup.model.plan = plan
    await setup.chat(stream=plan.events == 3)
    use = await setup.uses.only()
    assert use.ends == [end]


async def test_use_of_a_model_that_nobody_has_ends(setup: Setup) -> None:
    assert (await setup.chat("none"))[0] == 500
    assert (await setup.uses.only()).ends == [(Outcome.NO_CANDIDATE, 500)]


async def test_use_of_a_model_that_is_gone_ends(setup: Setup) -> None:
    assert (await setup.chat("gone"))[0] == 500
    assert (await setup.uses.only()).ends == [(Outcome.UNREACHABLE, 500)]


async def test_use_of_a_model_that_does_something_else_ends(setup: Setup) -> None:
    assert (await setup.chat("edit"))[0] == 500
    assert (await setup.uses.only()).ends == [(Outcome.REFUSED, 500)]


async def test_silence_is_told_as_a_timeout(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ChatEndpoint, "first_byte_timeout_s", 0.1)
    setup.model.plan = Plan(hang=True)
    status, body = await setup.chat()
    assert (status, json.loads(body)["code"]) == (500, 1017)
    assert (await setup.uses.only()).ends == [(Outcome.TIMEOUT, 500)]


@pytest.mark.parametrize("plan", [Plan(hang=True), Plan(events=10_000, gap_ms=10)])
async def test_use_of_a_client_that_leaves_ends(setup: Setup, plan: Plan) -> None:
    setup.model.plan = plan
    async with aiohttp.ClientSession() as leaving:
        ask = {"project": "P", "model": "chat", "stream": True}
        posting = asyncio.create_task(leaving.post(f"{setup.url}/chat", json=ask))
        seen = await setup.model.next_request()
        if plan.gap_ms:
            answer = await posting
            await answer.content.readuntil(b"\n\n")
            answer.close()
        else:
            posting.cancel()
            await asyncio.wait([posting])
    use = await setup.uses.only()
    assert use.ends == [(Outcome.CLIENT_GONE, 200 if plan.gap_ms else None)]
    async with asyncio.timeout(DEADLINE_S):
        await seen.gone.wait()


async def test_request_that_cannot_be_understood_is_a_use_of_nobodys_model(setup: Setup) -> None:
    assert (await setup.chat(""))[0] == 400
    use = await setup.uses.only()
    assert (use.begun[:3], use.ends) == ((Endpoint.CHAT, "", ""), [(Outcome.REFUSED, 400)])


# --- what may be held -------------------------------------------------------------------------------------


@pytest.fixture
def all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "HELD_UNCOUNTED_BYTES", 1_000)


@pytest.mark.usefixtures("all_counted")
async def test_body_that_finds_no_room_is_refused_until_there_is_some(setup: Setup) -> None:
    setup.model.plan = Plan(hang=True)
    first = asyncio.create_task(setup.chat(prompt="x" * 70_000))
    await setup.model.next_request()
    assert 69_000 < setup.budget.held_bytes < BUDGET_BYTES
    status, body = await setup.chat(prompt="x" * 40_000)
    assert (status, json.loads(body)["code"]) == (503, 1009)
    assert len(setup.model.seen) == 1
    setup.model.plan = Plan(body=completion("m"))
    assert await setup.chat(prompt="small") == (200, completion("m"))
    first.cancel()
    await asyncio.wait([first])
    await until(lambda: setup.budget.held_bytes == 0)
    setup.model.plan = Plan()
    assert (await setup.chat(prompt="x" * 40_000))[0] == 200


@pytest.mark.usefixtures("all_counted")
async def test_answer_that_finds_no_room_is_an_error(setup: Setup) -> None:
    setup.model.plan = Plan(body=b'{"a": "%s"}' % (b"x" * 2 * BUDGET_BYTES))
    status, body = await setup.chat()
    assert (status, json.loads(body)["code"]) == (503, 1009)
    assert (await setup.uses.only()).ends == [(Outcome.REFUSED, 503)]


async def test_streams_take_no_room(setup: Setup) -> None:
    setup.model.plan = Plan(chunks=(b"data: %s\n\n" % (b"x" * 50_000),) * 8)
    status, body = await setup.chat(stream=True)
    assert status == 200
    assert len(body) > 4 * BUDGET_BYTES


async def test_edit_answer_that_is_longer_than_what_is_held_passes(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageEditEndpoint, "json_held_max_bytes", 10_000)
    large = b'{"code": 0, "a": "%s"}' % (b"x" * BUDGET_BYTES * 4)
    setup.model.plan = Plan(body=large, piece_bytes=5_000)
    async with setup.http.post(f"{setup.url}{EDIT}", data=b"form", headers=FORM) as answer:
        assert (answer.status, await answer.read()) == (200, large)


# --- uploads ----------------------------------------------------------------------------------------------


async def _parts(count: int, size_bytes: int = 1_000, then: asyncio.Event | None = None) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * size_bytes
    if then is not None:
        await then.wait()


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "UPLOAD_HELD_MAX_BYTES", 10_000)
    monkeypatch.setattr(defaults, "REQUEST_BODY_MAX_BYTES", 1_000_000)


@pytest.mark.usefixtures("small_limits")
async def test_streamed_body_is_not_handed_over_and_takes_little_room(setup: Setup) -> None:
    setup.model.plan = Plan(body=b'{"data":[{}]}')
    async with setup.http.post(f"{setup.url}{EDIT}", data=_parts(900), headers=FORM) as answer:
        assert answer.status == 200
    use = await setup.uses.only()
    assert (use.bodies, use.ends, use.begun[0]) == ([], [(Outcome.OK, 200)], Endpoint.IMAGE_EDIT)
    assert (await setup.model.next_request()).body == b"x" * 900_000


@pytest.mark.usefixtures("small_limits")
async def test_upload_that_says_it_is_too_large_is_refused_at_once(setup: Setup) -> None:
    headers = {**FORM, "content-length": "1000001"}
    async with setup.http.post(f"{setup.url}{EDIT}", data=_parts(1, then=asyncio.Event()), headers=headers) as answer:
        assert (answer.status, (await answer.json())["code"]) == (413, 1001)
    assert not setup.model.seen


@pytest.mark.usefixtures("small_limits")
async def test_upload_that_turns_out_too_large_is_refused(setup: Setup) -> None:
    async with setup.http.post(f"{setup.url}{EDIT}", data=_parts(1_200), headers=FORM) as answer:
        assert (answer.status, (await answer.json())["code"]) == (413, 1001)
    seen = await setup.model.next_head()
    async with asyncio.timeout(DEADLINE_S):
        await seen.gone.wait()
    assert (await setup.uses.only()).ends == [(Outcome.REFUSED, 413)]


@pytest.mark.usefixtures("small_limits")
async def test_upload_that_stalls_is_refused(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "STALL_TIMEOUT_S", 0.2)
    data = _parts(300, then=asyncio.Event())
    async with setup.http.post(f"{setup.url}{EDIT}", data=data, headers=FORM) as answer:
        assert (answer.status, (await answer.json())["code"]) == (408, 1005)
    seen = await setup.model.next_head()
    async with asyncio.timeout(DEADLINE_S):
        await seen.gone.wait()


@pytest.mark.usefixtures("small_limits")
async def test_upload_that_never_ends_is_refused(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "UPLOAD_TIMEOUT_S", 0.3)

    async def drip() -> AsyncIterator[bytes]:
        yield b"x" * 20_000
        while True:
            await asyncio.sleep(0.02)
            yield b"x"

    async with setup.http.post(f"{setup.url}{EDIT}", data=drip(), headers=FORM) as answer:
        assert (answer.status, (await answer.json())["code"]) == (408, 1005)


@pytest.mark.usefixtures("small_limits")
async def test_client_that_leaves_its_upload_ends_the_use(setup: Setup) -> None:
    data = _parts(300, then=asyncio.Event())
    posting = asyncio.create_task(setup.http.post(f"{setup.url}{EDIT}", data=data, headers=FORM))
    seen = await setup.model.next_head()
    posting.cancel()
    async with asyncio.timeout(DEADLINE_S):
        await seen.gone.wait()
    assert (await setup.uses.only()).ends == [(Outcome.CLIENT_GONE, None)]
