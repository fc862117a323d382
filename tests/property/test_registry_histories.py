"""Whatever is registered, fails to be saved or is cancelled: the registry and its file are the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aicn.registry import Model, ModelRegistry

_MODELS = st.builds(
    Model.of,
    st.sampled_from("PQ"),
    st.sampled_from("mn"),
    st.sampled_from(["http://127.0.0.1:1/", "http://127.0.0.1:2/"]),
    st.integers(0, 2),
    st.sampled_from(["", "1"]),
)
_Models = tuple[Model, ...]
_Change = Callable[[ModelRegistry], Coroutine[Any, Any, object]]
_Case = tuple[_Change, Callable[[_Models], _Models]]
"""A change, and what it makes of a list of models."""


def _register(model: Model) -> _Case:
    def changed(models: _Models) -> _Models:
        if all(each.key != model.key for each in models):
            return (*models, model)
        return tuple(model if each.key == model.key else each for each in models)

    return (lambda registry: registry.register(model)), changed


def _register_project(project: str, models: list[Model]) -> _Case:
    fresh = tuple(Model.of(project, each.model, each.api, each.kind, each.cid) for each in models)
    return (
        lambda registry: registry.register_project(project, fresh),
        lambda models: (*(each for each in models if each.project != project), *fresh),
    )


def _unregister(model: Model) -> _Case:
    return (
        lambda registry: registry.unregister(*model.key),
        lambda models: tuple(each for each in models if each.key != model.key),
    )


def _unregister_project(project: str) -> _Case:
    return (
        lambda registry: registry.unregister_project(project),
        lambda models: tuple(each for each in models if each.project != project),
    )


_CASES = st.one_of(
    _MODELS.map(_register),
    st.builds(
        _register_project,
        st.sampled_from("PQ"),
        st.lists(_MODELS, max_size=3, unique_by=lambda model: (model.model, model.cid)),
    ),
    _MODELS.map(_unregister),
    st.sampled_from("PQ").map(_unregister_project),
)


class _Disk:
    def __init__(self, models: _Models) -> None:
        self.models = models
        self.fails = False

    async def save(self, models: _Models) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        if self.fails:
            raise OSError
        self.models = models


@settings(deadline=None)
@given(
    st.lists(_MODELS, max_size=4, unique_by=lambda model: model.key),
    st.lists(st.tuples(_CASES, st.booleans(), st.none() | st.integers(0, 8)), max_size=15),
)
def test_registry_and_file_are_the_same_after_every_change(
    configured: list[Model], steps: list[tuple[_Case, bool, int | None]]
) -> None:
    async def history() -> None:
        disk = _Disk(tuple(configured))
        registry = ModelRegistry(configured, save=disk.save)
        for (change, changed), fails, cancelled_after in steps:
            before, after = registry.models(), changed(registry.models())
            disk.fails = fails
            task = asyncio.ensure_future(change(registry))
            if cancelled_after is not None:
                for _ in range(cancelled_after):
                    await asyncio.sleep(0)
                task.cancel()
            await asyncio.wait({task})
            assert registry.models() == disk.models
            if task.cancelled():
                assert disk.models in {before, after}
            elif task.exception() is not None:
                assert isinstance(task.exception(), OSError)
                assert disk.models == before
            else:
                assert disk.models == after

    asyncio.run(history())


@given(st.integers(1, 5), st.lists(st.booleans(), max_size=60))
def test_the_next_request_goes_to_a_least_busy_instance(instances: int, arrivals: list[bool]) -> None:
    registry = ModelRegistry(
        [Model.of("P", "m", "http://127.0.0.1/", 0, str(number)) for number in range(instances)], save=_Disk(()).save
    )
    running = []
    for arrives in arrivals:
        if arrives:
            chosen = registry.find("P", "m")
            counts = [registry.in_flight.count(each) for each in registry.models()]
            assert registry.in_flight.count(chosen) == min(counts)
            reservation = registry.in_flight.reserve(chosen)
            reservation.__enter__()
            running.append(reservation)
        elif running:
            running.pop(0).__exit__(None, None, None)
    assert registry.in_flight.total() == len(running)
