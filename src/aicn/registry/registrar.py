"""The models of this node: registered, saved, found."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from aicn.errors import AicnError, BackendUnreachable, InvalidModel, ModelNotFound, Overloaded, RegistryError
from aicn.ids import InstanceId, ModelName, ProjectName
from aicn.registry.address import IpAddress, is_own_address
from aicn.registry.controls import Control, as_before
from aicn.registry.inflight import InFlight
from aicn.registry.models import Model, ModelKey, ModelState, check_count, check_model, check_project

_log = logging.getLogger("aicn.registry")

_NOTHING_MOVED: Mapping[ModelKey, ModelKey] = MappingProxyType({})

SaveModels = Callable[[tuple[Model, ...]], Awaitable[None]]
"""Makes the models durable. Once it has returned they must survive the loss of the process."""


class ModelRegistry:
    """Owns the models of this node.

    A change is saved first and takes effect after that, so that nothing that was answered with success is lost.
    Changes wait for each other. A caller that is cancelled while its change is being saved gets its
    cancellation once the change is whole: memory and file never differ. Use from one event loop.

    Attributes:
        in_flight: the requests in flight of each model.
        fault: tells why the model server with a URL cannot be asked, nothing if it can; whoever watches the servers
            sets it.
        on_register: called after a change of the models. It must not block or raise.
    """

    def __init__(
        self,
        models: Iterable[Model] = (),
        *,
        save: SaveModels,
        on_change: Callable[[], None] | None = None,
        is_own: Callable[[IpAddress], bool] = is_own_address,
    ) -> None:
        """Serve `models`, which are taken to be saved already.

        A model among them that could not be registered (its URL no longer leads to this machine, say) is not
        served, with a warning, but is handed to `save` with the others: it was the user who wrote it.

        Args:
            models: as read from the configuration.
            save: makes all models durable; what it raises comes out of the change, which then has no effect.
            on_change: called after a change of the models or of a count in `in_flight`. It must not block or raise.
            is_own: tells whether an address is of this machine.
        """
        self.in_flight = InFlight(on_change)
        self.fault: Callable[[str], str] = _unwatched
        self.on_register: Callable[[], None] | None = None
        self._save = save
        self._on_change = on_change
        self._is_own = is_own
        self._changing = asyncio.Lock()
        self._turn = 0
        self._last_turns: dict[ModelKey, int] = {}
        """When each instance was chosen last, in turns; the longest idle of equals is next."""
        self._kept: dict[ModelKey, Model] = {}
        """Everything in the file, in its order."""
        self._served: dict[ModelKey, Model] = {}
        self._instances: dict[tuple[ProjectName, ModelName], tuple[Model, ...]] = {}
        kept: dict[ModelKey, Model] = {}
        served: dict[ModelKey, Model] = {}
        for model in models:
            kept[model.key] = model
            served.pop(model.key, None)
            try:
                check_model(model, is_own)
                check_count((*served.values(), model))
            except RegistryError as error:
                _log.warning("model %r of project %r is not served: %s", model.model, model.project, error)
            else:
                served[model.key] = model
        self._show(kept, served)

    def models(self) -> tuple[Model, ...]:
        """Return the models that are served, in the order of their registration."""
        return tuple(self._served.values())

    def withheld(self) -> tuple[Model, ...]:
        """Return the discovered models that are not served for the time being, as they were."""
        return tuple(model for key, model in self._kept.items() if model.discovered and key not in self._served)

    def offered(self) -> tuple[Model, ...]:
        """Return the models that others may ask for now: neither paused nor on a server that does not answer."""
        return tuple(model for model in self._served.values() if self.takes(model))

    def takes(self, model: Model) -> bool:
        """Whether `model` takes requests, however many it works on."""
        return not model.paused and not self.fault(model.api)

    def state(self, model: Model) -> ModelState:
        """Return how `model` stands now."""
        if model.paused:
            return ModelState.DRAINING if self.in_flight.count(model) else ModelState.PAUSED
        return ModelState.UNREACHABLE if self.fault(model.api) else ModelState.SERVING

    def tell(self) -> None:
        """Call `on_change`: what is offered is no longer the same."""
        if self._on_change is not None:
            self._on_change()

    def find(self, project: str, model: str, cid: str = "") -> Model:
        """Return the instance that a request goes to.

        With an empty `cid` that is the one with the fewest requests in flight; equals take turns.

        Raises:
            ModelNotFound: no such model, or instance of it, is registered here.
            Overloaded: it is paused, or works on as many requests as it may.
            BackendUnreachable: its server does not answer.
        """
        instances = self._instances.get((ProjectName(project), ModelName(model)), ())
        if cid:
            instances = tuple(each for each in instances if each.cid == cid)
        if not instances:
            raise ModelNotFound("can not find in registered project and model")
        free = [each for each in instances if self.takes(each) and self._has_room(each)]
        if not free:
            raise self._why_not(instances)
        chosen = min(free, key=lambda each: (self.in_flight.count(each), self._last_turns.get(each.key, 0)))
        self._turn += 1
        self._last_turns[chosen.key] = self._turn
        return chosen

    def _has_room(self, model: Model) -> bool:
        return not model.max_concurrent or self.in_flight.count(model) < model.max_concurrent

    def _why_not(self, instances: tuple[Model, ...]) -> AicnError:
        """Return why none of `instances` takes a request now: the reason that passes soonest."""
        name = instances[0].model
        if any(self.takes(each) for each in instances):
            return Overloaded(f"model {name!r} works on as many requests as it may; ask again, or another node")
        if any(not each.paused for each in instances):
            return BackendUnreachable(f"the model server of {name!r} does not answer")
        return Overloaded(f"model {name!r} is paused; ask again later, or another node")

    async def register(self, model: Model) -> None:
        """Serve `model`; replace the one with the same project, name and instance.

        What an operator has changed of the former one stays, where the new one says nothing of it.

        Raises:
            InvalidModel: a field is missing, malformed or too long, or there are too many models.
            NotSameMachine: its URL leads to another machine.
        """
        check_model(model, self._is_own)

        def with_model(models: dict[ModelKey, Model]) -> dict[ModelKey, Model]:
            return {**models, model.key: as_before(model, self._kept.get(model.key))}

        await self._change(with_model, with_model)

    async def claim(self, keys: Collection[ModelKey]) -> None:
        """Let discovery have the models with `keys` in hand."""

        def claimed(models: dict[ModelKey, Model]) -> dict[ModelKey, Model]:
            return {key: replace(model, discovered=model.discovered or key in keys) for key, model in models.items()}

        await self._change(claimed, claimed)

    async def withhold(self, key: ModelKey) -> bool:
        """Serve a model no more for the time being, but keep it in the file; `register` brings it back.

        Returns:
            Whether it was served.
        """

        def kept(models: dict[ModelKey, Model]) -> dict[ModelKey, Model]:
            return models

        def without(models: dict[ModelKey, Model]) -> dict[ModelKey, Model]:
            return {each: served for each, served in models.items() if each != key}

        return await self._change(kept, without)

    async def register_project(self, project: str, models: Iterable[Model]) -> None:
        """Serve exactly `models` of `project`: those it had before and that are not among them are gone.

        Raises:
            InvalidModel: a model is of another project, there twice or too many; or as in `register`.
            NotSameMachine: the URL of a model leads to another machine.
        """
        check_project(project)
        fresh: dict[ModelKey, Model] = {}
        for model in models:
            if model.project != project:
                raise InvalidModel(f"model {model.model!r} is of another project than {project!r}")
            check_model(model, self._is_own)
            if model.key in fresh:
                raise InvalidModel(
                    f"model {model.model!r} with cid {model.cid!r} is there twice; give each its own cid"
                )
            fresh[model.key] = model

        def with_models(models: dict[ModelKey, Model]) -> dict[ModelKey, Model]:
            kept = {key: as_before(model, self._kept.get(key)) for key, model in fresh.items()}
            return {**_without_project(models, project), **kept}

        await self._change(with_models, with_models)

    async def unregister(self, project: str, model: str, cid: str) -> bool:
        """Serve an instance no more; requests in flight run to their end.

        Returns:
            Whether it was registered.
        """
        key = ProjectName(project), ModelName(model), InstanceId(cid)

        def without(models: dict[ModelKey, Model]) -> dict[ModelKey, Model]:
            return {each: kept for each, kept in models.items() if each != key}

        return await self._change(without, without)

    async def unregister_project(self, project: str) -> bool:
        """Serve no model of `project` any more; requests in flight run to their end.

        Returns:
            Whether one was registered.
        """

        def without(models: dict[ModelKey, Model]) -> dict[ModelKey, Model]:
            return _without_project(models, project)

        return await self._change(without, without)

    async def control(self, project: str, model: str, cid: str, change: Control) -> tuple[Model, ...]:
        """Change the registration of an instance, or with an empty `cid` of every instance of a model.

        Returns:
            The instances that were meant, as they are now.

        Raises:
            ModelNotFound: no such model, or instance of it, is registered here.
            InvalidModel: the change makes it one that cannot be registered, or gives it the name of another one.
        """

        def is_meant(each: Model) -> bool:
            return (each.project, each.model) == (project, model) and cid in ("", each.cid)

        def changed(models: dict[ModelKey, Model]) -> dict[ModelKey, Model]:
            made: dict[ModelKey, Model] = {}
            for each in models.values():
                after = change(each) if is_meant(each) else each
                if after.key in made or (after.key != each.key and after.key in models):
                    raise InvalidModel(f"project {project!r} has a model {after.model!r} already; use another name")
                made[after.key] = after
            return made

        after = [change(each) for each in self._served.values() if is_meant(each)]
        if not after:
            raise ModelNotFound("can not find in registered project and model")
        for each in after:
            check_model(each, self._is_own)
        moved = {each.key: change(each).key for each in self._served.values() if is_meant(each)}
        await self._change(changed, changed, moved)
        return tuple(after)

    async def _change(
        self, change_kept: _Change, change_served: _Change, moved: Mapping[ModelKey, ModelKey] = _NOTHING_MOVED
    ) -> bool:
        """Save the changed models, then show them; return whether there was anything to change.

        Args:
            change_kept: makes the models of the file from the former ones.
            change_served: likewise those that are served.
            moved: keys of models that are the same ones under another name, with the new keys.
        """
        async with self._changing:
            kept, served = change_kept(self._kept), change_served(self._served)
            if _same(kept, self._kept) and _same(served, self._served):
                return False
            check_count(kept.values())
            await _uninterrupted(self._save_and_show(kept, served, moved))
        return True

    async def _save_and_show(
        self, kept: dict[ModelKey, Model], served: dict[ModelKey, Model], moved: Mapping[ModelKey, ModelKey]
    ) -> None:
        await self._save(tuple(kept.values()))
        self._show(kept, served)
        for old, new in moved.items():
            self.in_flight.rename(old, new)
        self.tell()
        if self.on_register is not None:
            self.on_register()

    def _show(self, kept: dict[ModelKey, Model], served: dict[ModelKey, Model]) -> None:
        instances: dict[tuple[ProjectName, ModelName], list[Model]] = {}
        for model in served.values():
            instances.setdefault((model.project, model.model), []).append(model)
        self._kept, self._served = kept, served
        self._instances = {name: tuple(each) for name, each in instances.items()}
        self._last_turns = {key: turn for key, turn in self._last_turns.items() if key in served}


def _unwatched(_: str) -> str:
    return ""


_Change = Callable[[dict[ModelKey, Model]], dict[ModelKey, Model]]


def _same(one: dict[ModelKey, Model], other: dict[ModelKey, Model]) -> bool:
    """Compare with the order, which is the order of the file."""
    return list(one.values()) == list(other.values())


def _without_project(models: dict[ModelKey, Model], project: str) -> dict[ModelKey, Model]:
    return {key: model for key, model in models.items() if model.project != project}


async def _uninterrupted(work: Awaitable[None]) -> None:
    """Run `work` to its end even if the caller is cancelled meanwhile; then pass the cancellation on."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return task.result()
    failure = None if task.cancelled() else task.exception()
    raise cancelled from failure
