"""What an operator changes of a model holds for the next request, is saved, and stays when it is registered anew."""

from __future__ import annotations

import asyncio

import pytest

from aicn import defaults
from aicn.errors import InvalidModel, ModelNotFound, Overloaded
from aicn.registry import Control, Model, ModelRegistry, capped, paused, renamed


def model(name: str = "m", cid: str = "", project: str = "P") -> Model:
    return Model.of(project, name, "http://127.0.0.1:8000/v1/chat/completions", 0, cid)


class Setup:
    """A registry, and what it saved last."""

    def __init__(self, *models: Model) -> None:
        self.saved: tuple[Model, ...] = models
        self.registry = ModelRegistry(models, save=self._save)

    async def _save(self, models: tuple[Model, ...]) -> None:
        self.saved = models


async def test_a_paused_model_takes_nothing_and_is_not_offered() -> None:
    setup = Setup(model(), model("other"))
    await setup.registry.control("P", "m", "", paused(on=True))
    assert [each.model for each in setup.registry.offered()] == ["other"]
    assert [each.paused for each in setup.saved] == [True, False]
    with pytest.raises(Overloaded, match="'m' is paused"):
        setup.registry.find("P", "m")
    await setup.registry.control("P", "m", "", paused(on=False))
    assert setup.registry.find("P", "m") == model()


async def test_one_instance_of_two_is_paused() -> None:
    setup = Setup(model(cid="1"), model(cid="2"))
    await setup.registry.control("P", "m", "1", paused(on=True))
    assert {setup.registry.find("P", "m").cid for _ in range(4)} == {"2"}
    with pytest.raises(Overloaded):
        setup.registry.find("P", "m", "1")


async def test_a_cap_bounds_what_is_in_flight() -> None:
    setup = Setup(model(cid="1"), model(cid="2"))
    registry = setup.registry
    await registry.control("P", "m", "", capped(1))
    with registry.in_flight.reserve(registry.find("P", "m")), registry.in_flight.reserve(registry.find("P", "m")):
        assert [registry.in_flight.count(each) for each in registry.models()] == [1, 1]
        with pytest.raises(Overloaded, match="as many requests as it may"):
            registry.find("P", "m")
        assert len(registry.offered()) == 2, "full is not gone"
        await registry.control("P", "m", "2", capped(0))
        assert registry.find("P", "m").cid == "2"
    assert registry.find("P", "m", "1").max_concurrent == 1


@pytest.mark.parametrize("number", [-1, defaults.MODEL_CONCURRENT_MAX + 1])
def test_a_cap_is_a_number_that_makes_sense(number: int) -> None:
    with pytest.raises(InvalidModel, match="max_concurrent"):
        capped(number)


async def test_a_renamed_model_is_asked_of_its_server_by_the_old_name() -> None:
    setup = Setup(model(cid="1"), model(cid="2"), model("other"))
    after = await setup.registry.control("P", "m", "", renamed("new"))
    assert [(each.model, each.server_model) for each in setup.saved] == [("new", "m"), ("new", "m"), ("other", "")]
    assert after == setup.registry.models()[:2]
    with pytest.raises(ModelNotFound):
        setup.registry.find("P", "m")
    await setup.registry.control("P", "new", "", renamed("newer"))
    assert setup.registry.find("P", "newer").server_model == "m"


async def test_requests_under_way_stay_counted_when_their_model_is_renamed() -> None:
    setup = Setup(model())
    (capped_one,) = await setup.registry.control("P", "m", "", capped(1))
    with setup.registry.in_flight.reserve(capped_one):
        (after,) = await setup.registry.control("P", "m", "", renamed("new"))
        assert setup.registry.in_flight.count(after) == 1
        with pytest.raises(Overloaded):
            setup.registry.find("P", "new")
    assert setup.registry.find("P", "new") == after


@pytest.mark.parametrize(
    ("change", "name"), [(renamed("other"), "m"), (renamed(""), "m"), (renamed("x" * 300), "m"), (renamed("a\n"), "m")]
)
async def test_a_name_that_cannot_be_changes_nothing(change: Control, name: str) -> None:
    setup = Setup(model(), model("other"))
    with pytest.raises(InvalidModel):
        await setup.registry.control("P", name, "", change)
    assert setup.registry.models() == (model(), model("other"))


@pytest.mark.parametrize(("project", "name", "cid"), [("P", "none", ""), ("Q", "m", ""), ("P", "m", "none")])
async def test_what_is_not_there_cannot_be_changed(project: str, name: str, cid: str) -> None:
    setup = Setup(model())
    with pytest.raises(ModelNotFound):
        await setup.registry.control(project, name, cid, paused(on=True))


@pytest.mark.parametrize("whole_project", [False, True])
async def test_a_new_registration_keeps_what_the_operator_changed(whole_project: bool) -> None:  # noqa: FBT001
    setup = Setup(model())
    for change in (paused(on=True), capped(3), renamed("new")):
        await setup.registry.control("P", setup.registry.models()[0].model, "", change)
    moved = Model.of("P", "new", "http://127.0.0.1:9000/v1/chat/completions", 0, "")
    if whole_project:
        await setup.registry.register_project("P", [moved])
    else:
        await setup.registry.register(moved)
    (kept,) = setup.saved
    assert (kept.api, kept.paused, kept.max_concurrent, kept.server_model) == (moved.api, True, 3, "m")


async def test_who_drains_waits_for_the_last_request() -> None:
    setup = Setup(model())
    in_flight = setup.registry.in_flight
    await in_flight.until_idle(model())
    with in_flight.reserve(model()):
        with in_flight.reserve(model()):
            waiting = asyncio.create_task(in_flight.until_idle(model()))
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
    async with asyncio.timeout(5):
        await waiting


@pytest.mark.parametrize("path", ["/sdapi/v1/txt2img", "/prompt"])
async def test_what_is_asked_in_its_callers_words_has_no_other_name_when_it_is_renamed(path: str) -> None:
    setup = Setup(Model.of("P", "m", f"http://127.0.0.1:8000{path}", 1, ""))
    (after,) = await setup.registry.control("P", "m", "", renamed("n"))
    assert (after.model, after.server_model) == ("n", "")
