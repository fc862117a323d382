"""A registration is saved before it counts, whole or not at all, and found by those who ask for it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import pytest

from aicn import defaults
from aicn.errors import InvalidModel, ModelNotFound, NotSameMachine, RegistryError
from aicn.ids import ModelName, ProjectName
from aicn.registry import Model, ModelKind, ModelRegistry


def _model(project: str = "P", model: str = "m", cid: str = "", *, port: int = 8000, kind: int = 0) -> Model:
    return Model.of(project, model, f"http://127.0.0.1:{port}/v1", kind, cid)


class _File:
    """Stands for the configuration file: what was saved, and a say in when and how a save ends."""

    def __init__(self) -> None:
        self.models: tuple[Model, ...] = ()
        self.saves = 0
        self.shown_while_saving: list[tuple[Model, ...]] = []
        self.registry: ModelRegistry | None = None
        self.error: Exception | None = None
        self.saving = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def save(self, models: tuple[Model, ...]) -> None:
        self.saves += 1
        self.saving.set()
        if self.registry is not None:
            self.shown_while_saving.append(self.registry.models())
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        self.models = models


async def test_a_change_is_saved_then_shown_then_told() -> None:
    file, told = _File(), list[tuple[Model, ...]]()
    registry = ModelRegistry(save=file.save, on_change=lambda: told.append(registry.models()))
    file.registry = registry
    await registry.register(_model())
    assert file.shown_while_saving == [()]
    assert file.models == registry.models() == (_model(),)
    assert told == [(_model(),)]


async def test_the_same_key_updates_in_place() -> None:
    file = _File()
    registry = ModelRegistry([_model(cid="1"), _model(cid="2")], save=file.save)
    with registry.in_flight.reserve(registry.find("P", "m", "1")):
        await registry.register(_model(cid="1", port=9000, kind=1))
        assert registry.models() == file.models == (_model(cid="1", port=9000, kind=1), _model(cid="2"))
        assert registry.in_flight.count(registry.find("P", "m", "1")) == 1


async def test_what_changes_nothing_is_neither_saved_nor_told() -> None:
    file, told = _File(), list[int]()
    registry = ModelRegistry([_model()], save=file.save, on_change=lambda: told.append(1))
    await registry.register(_model())
    await registry.register_project("P", [_model()])
    assert not await registry.unregister("P", "m", "other")
    assert not await registry.unregister_project("Q")
    assert (file.saves, told) == (0, [])


async def test_a_project_is_replaced_as_a_whole() -> None:
    file = _File()
    registry = ModelRegistry([_model("P", "old"), _model("Q")], save=file.save)
    await registry.register_project("P", [_model("P", "a"), _model("P", "b", "1"), _model("P", "b", "2")])
    assert {(each.project, each.model, each.cid) for each in registry.models()} == {
        ("Q", "m", ""),
        ("P", "a", ""),
        ("P", "b", "1"),
        ("P", "b", "2"),
    }
    assert file.models == registry.models()
    await registry.register_project("P", [])
    assert registry.models() == file.models == (_model("Q"),)


async def test_unregistering_leaves_the_others() -> None:
    file = _File()
    registry = ModelRegistry([_model(cid="1"), _model(cid="2"), _model("Q")], save=file.save)
    assert await registry.unregister("P", "m", "1")
    assert registry.models() == file.models
    assert list(registry.models()) == [_model(cid="2"), _model("Q")]
    assert await registry.unregister_project("P")
    assert registry.models() == file.models
    assert list(registry.models()) == [_model("Q")]
    with pytest.raises(ModelNotFound):
        registry.find("P", "m")


@pytest.mark.parametrize(
    ("project", "model", "cid", "says"),
    [
        ("", "m", "", "project name can not be empty"),
        ("P", "", "", "model name can not be empty"),
        ("P\n", "m", "", "project name holds a control character"),
        ("P", "m\x00", "", "model name holds a control character"),
        ("P", "m", "\x7f", "cid holds a control character"),
        ("P", "m\u2028", "", "control character"),
        ("P", "m\ud800", "", "control character"),
        ("x" * 257, "m", "", "longer than 256 bytes"),
        ("P", "é" * 129, "", "longer than 256 bytes"),
        ("P", "m", "€" * 86, "longer than 256 bytes"),
    ],
)
async def test_names_that_cannot_be_kept_are_refused(project: str, model: str, cid: str, says: str) -> None:
    file = _File()
    registry = ModelRegistry(save=file.save)
    with pytest.raises(InvalidModel, match=says):
        await registry.register(_model(project, model, cid))
    with pytest.raises(InvalidModel, match=says):
        await registry.register_project(project, [_model(project, model, cid)])
    assert (file.saves, registry.models()) == (0, ())


@pytest.mark.parametrize("name", ["x" * 256, "é" * 128, "模型/7b:q4", "a b", "👩‍🚀"])
async def test_names_within_the_limits_are_kept(name: str) -> None:
    file = _File()
    registry = ModelRegistry(save=file.save)
    await registry.register(_model(name, name, name))
    assert registry.find(name, name, name) == file.models[0]


async def test_a_project_is_refused_as_a_whole() -> None:
    file = _File()
    registry = ModelRegistry([_model()], save=file.save)
    foreign = Model.of("P", "far", "http://192.0.2.1/", 0, "")
    cases: list[tuple[list[Model], type[RegistryError]]] = [
        ([_model("P", "a"), foreign], NotSameMachine),
        ([_model("P", "a"), _model("P", "a", port=9)], InvalidModel),
        ([_model("P", "a"), _model("Q", "b")], InvalidModel),
    ]
    for models, error in cases:
        with pytest.raises(error):
            await registry.register_project("P", models)
    assert (file.saves, registry.models()) == (0, (_model(),))


async def test_there_is_a_limit_to_the_models() -> None:
    file = _File()
    full = [_model(cid=str(number)) for number in range(defaults.REGISTRY_MAX_MODELS)]
    registry = ModelRegistry(full, save=file.save)
    with pytest.raises(InvalidModel, match="512 models at most"):
        await registry.register(_model(cid="one more"))
    await registry.register(_model(cid="7", port=9000))
    assert len(file.models) == len(registry.models()) == defaults.REGISTRY_MAX_MODELS


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InvalidModel, match="model type 3 is unknown; use one of 0 chat, 1 image generation"):
        _model(kind=3)
    assert _model(kind=2).kind is ModelKind.IMAGE_EDIT


async def test_a_failed_save_changes_nothing() -> None:
    file, told = _File(), list[int]()
    registry = ModelRegistry([_model()], save=file.save, on_change=lambda: told.append(1))
    file.error = OSError("disk full")
    with pytest.raises(OSError, match="disk full"):
        await registry.register(_model("Q"))
    assert (registry.models(), told) == ((_model(),), [])
    file.error = None
    await registry.register(_model("R"))
    assert registry.models() == file.models == (_model(), _model("R"))


async def test_changes_wait_for_each_other() -> None:
    file = _File()
    registry = ModelRegistry(save=file.save)
    async with asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(registry.register(_model(cid=str(number))))
    assert len(registry.models()) == 20
    assert file.models == registry.models()


async def test_a_caller_cancelled_while_saving_leaves_memory_and_file_the_same() -> None:
    file = _File()
    registry = ModelRegistry([_model()], save=file.save)
    file.may_end.clear()
    caller = asyncio.create_task(registry.register(_model("Q")))
    await file.saving.wait()
    for _ in range(3):  # as impatient as they come
        caller.cancel()
        await asyncio.sleep(0)
    assert not caller.done()
    assert registry.models() == (_model(),)
    file.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert registry.models() == file.models == (_model(), _model("Q"))


async def test_a_caller_cancelled_while_a_save_fails_is_cancelled_because_of_both() -> None:
    file = _File()
    registry = ModelRegistry(save=file.save)
    file.may_end.clear()
    caller = asyncio.create_task(registry.register(_model("Q")))
    await file.saving.wait()
    caller.cancel()
    file.error = OSError("disk full")
    file.may_end.set()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await caller
    assert cancelled.value.__cause__ is file.error
    assert registry.models() == file.models == ()


async def test_a_caller_cancelled_while_waiting_for_its_turn_changes_nothing() -> None:
    file = _File()
    registry = ModelRegistry(save=file.save)
    file.may_end.clear()
    first = asyncio.create_task(registry.register(_model("first")))
    await file.saving.wait()
    second = asyncio.create_task(registry.register(_model("second")))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    file.may_end.set()
    await first
    assert registry.models() == file.models == (_model("first"),)


async def test_a_timeout_around_a_change_still_is_a_timeout() -> None:
    file = _File()
    registry = ModelRegistry(save=file.save)
    file.may_end.clear()

    async def end_when_begun() -> None:
        await file.saving.wait()
        file.may_end.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(end_when_begun())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await registry.register(_model())
    assert registry.models() == file.models == (_model(),)


async def test_any_instance_means_the_least_busy_one() -> None:
    registry = ModelRegistry([_model(cid=cid) for cid in "abc"], save=_File().save)
    with (
        registry.in_flight.reserve(registry.find("P", "m", "a")),
        registry.in_flight.reserve(registry.find("P", "m", "c")),
    ):
        assert [registry.find("P", "m").cid for _ in range(3)] == ["b"] * 3
        with registry.in_flight.reserve(registry.find("P", "m", "b")), registry.in_flight.reserve(_model(cid="a")):
            assert {registry.find("P", "m").cid for _ in range(4)} == {"b", "c"}


async def test_equally_busy_instances_take_turns() -> None:
    registry = ModelRegistry([_model(cid=cid) for cid in "abc"], save=_File().save)
    assert [registry.find("P", "m").cid for _ in range(6)] == list("abcabc")
    await registry.register(_model(cid="d"))
    assert [registry.find("P", "m").cid for _ in range(5)] == list("dabcd")
    assert await registry.unregister("P", "m", "b")
    assert Counter(registry.find("P", "m").cid for _ in range(300)) == {"a": 100, "c": 100, "d": 100}


async def test_what_is_not_registered_is_not_found() -> None:
    registry = ModelRegistry([_model(cid="1")], save=_File().save)
    for project, model, cid in [("Q", "m", ""), ("P", "x", ""), ("P", "m", "2"), ("", "", "")]:
        with pytest.raises(ModelNotFound, match="can not find in registered project and model"):
            registry.find(ProjectName(project), ModelName(model), cid)


async def test_a_configured_model_of_another_machine_is_kept_but_not_served(caplog: pytest.LogCaptureFixture) -> None:
    file = _File()
    foreign = Model.of("P", "far", "http://192.0.2.1/", 0, "")
    with caplog.at_level(logging.WARNING, "aicn.registry"):
        registry = ModelRegistry([foreign, _model()], save=file.save)
    assert "model 'far' of project 'P' is not served: the url and the node are not on the same machine" in caplog.text
    assert registry.models() == (_model(),)
    with pytest.raises(ModelNotFound):
        registry.find("P", "far")
    await registry.register(_model("Q"))
    assert file.models == (foreign, _model(), _model("Q"))
    assert await registry.unregister("P", "far", "")
    assert file.models == registry.models() == (_model(), _model("Q"))


async def test_a_configured_model_of_another_machine_can_be_put_right() -> None:
    file = _File()
    registry = ModelRegistry([Model.of("P", "m", "http://192.0.2.1/", 0, "")], save=file.save)
    await registry.register(_model())
    assert registry.models() == file.models == (_model(),)
