"""Names of models with OpenAI's SDK: listed, looked up, asked by."""

from __future__ import annotations

import openai
import pytest

from .asks import HELLO
from .gateway import EDITOR, OTHER_PROJECT, PAINTER, PROJECT, SLASHED, TALKER, TWICE, TWICE_OF_OTHER, Gateway
from .python_clients import Clients, in_thread

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_every_model_is_listed_by_a_name_that_can_be_asked(clients: Clients) -> None:
    listed = {model.id: model async for model in clients.async_openai.models.list()}
    assert listed.keys() >= {TALKER, SLASHED, PAINTER, EDITOR, f"{PROJECT}/{TWICE}", f"{OTHER_PROJECT}/{TWICE}"}
    assert TWICE not in listed
    for name, model in listed.items():
        assert model.object == "model"
        assert model.created > 0
        assert model.owned_by
        assert await clients.async_openai.models.retrieve(name) == model


async def test_a_list_of_models_has_an_id(clients: Clients) -> None:
    answer = await clients.async_openai.models.with_raw_response.list(extra_headers={"x-request-id": "mine"})
    assert answer.request_id == "mine"
    with pytest.raises(openai.NotFoundError) as caught:
        await clients.async_openai.models.retrieve("nobody-has-this", extra_headers={"x-request-id": "mine"})
    assert caught.value.request_id == "mine"


async def test_those_who_block_get_the_same_list(clients: Clients) -> None:
    listed = [model.id async for model in clients.async_openai.models.list()]
    assert [model.id for model in await in_thread(lambda: clients.openai.models.list().data)] == listed


async def test_a_model_that_nobody_has(clients: Clients) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await clients.async_openai.models.retrieve("nobody-has-this")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("name", [TALKER, f"{PROJECT}/{TALKER}", SLASHED, f"{PROJECT}/{SLASHED}"])
async def test_a_name_with_or_without_its_project(gateway: Gateway, clients: Clients, name: str) -> None:
    answer = await clients.async_openai.chat.completions.create(model=name, messages=HELLO)
    bare = name.removeprefix(f"{PROJECT}/")
    assert answer.model == bare
    (seen,) = gateway.seen()
    assert seen.json()["model"] == bare


async def test_the_project_in_a_name_decides(gateway: Gateway, clients: Clients) -> None:
    for project, wanted in ((PROJECT, TWICE), (OTHER_PROJECT, TWICE_OF_OTHER)):
        gateway.renew()
        await clients.async_openai.chat.completions.create(model=f"{project}/{TWICE}", messages=HELLO)
        (seen,) = gateway.seen()
        # The Worker calls the other project's model by another name at its model server.
        assert seen.json()["model"] == wanted


async def test_the_sdks_project_decides(gateway: Gateway, clients: Clients) -> None:
    for project, wanted in ((PROJECT, TWICE), (OTHER_PROJECT, TWICE_OF_OTHER)):
        gateway.renew()
        client = clients.async_openai.with_options(project=project)
        await client.chat.completions.create(model=TWICE, messages=HELLO)
        (seen,) = gateway.seen()
        assert seen.json()["model"] == wanted
