"""What an operator may change of a registration without registering anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from aicn import defaults
from aicn.endpoints import has_own_words
from aicn.errors import InvalidModel
from aicn.ids import ModelName
from aicn.registry.models import Model

Control = Callable[[Model], Model]
"""Returns a registration as it is to be."""


def paused(*, on: bool) -> Control:
    """Take no requests for it, or take them again."""
    return lambda model: replace(model, paused=on)


def capped(max_concurrent: int) -> Control:
    """Work on so many requests at once at most; 0: no limit.

    Raises:
        InvalidModel: a negative number, or one beyond all reason.
    """
    if not 0 <= max_concurrent <= defaults.MODEL_CONCURRENT_MAX:
        raise InvalidModel(f"max_concurrent is a number from 0 (no limit) to {defaults.MODEL_CONCURRENT_MAX}")
    return lambda model: replace(model, max_concurrent=max_concurrent)


def renamed(name: str) -> Control:
    """Serve it under another name; its server goes on to be asked by the one that it knows.

    One that is asked as its callers write it, in a web UI's words, has no such name.
    """

    def change(model: Model) -> Model:
        named = model.server_model or ("" if has_own_words(model.api) else model.model)
        return replace(model, model=ModelName(name), server_model=named)

    return change


def as_before(model: Model, former: Model | None) -> Model:
    """Return a new registration of a model with what an operator has changed of its former one.

    Those who register know nothing of that: the route of the reference has no fields for it.
    """
    if former is None:
        return model
    return replace(
        model,
        server_model=model.server_model or former.server_model,
        paused=model.paused or former.paused,
        max_concurrent=model.max_concurrent or former.max_concurrent,
    )
