from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from aicn import errors
from aicn.api.errors import ApiError, Code, chat_body, from_exception, from_node


def _tree(kind: type[errors.AicnError]) -> Iterator[type[errors.AicnError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


ALL = sorted(set(_tree(errors.AicnError)), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", ALL)
def test_every_error_has_an_answer(kind: type[errors.AicnError]) -> None:
    answer = from_exception(kind("what happened"))
    assert answer.status in {400, 500}
    assert answer.message


@pytest.mark.parametrize("kind", ALL)
def test_slugs_are_unique_and_answered(kind: type[errors.AicnError]) -> None:
    assert sum(other.slug == kind.slug for other in ALL) == 1
    assert from_node(kind.slug).status in {400, 500}


@pytest.mark.parametrize("kind", ALL)
def test_error_of_another_node_has_the_code_that_it_has_here(kind: type[errors.AicnError]) -> None:
    assert from_node(kind.slug).code == from_exception(kind("what happened")).code


def test_unknown_slug_of_a_newer_node_is_answered() -> None:
    assert from_node("from_the_future").code == Code.INTERNAL


def test_chat_error_has_the_recorded_shape() -> None:
    body = chat_body(from_exception(errors.NoCandidate("nobody")))
    assert body == {
        "code": 1017,
        "message": "Not enough available and directly connected nodes",
        "id": "",
        "object": "",
        "created": 0,
        "choices": None,
        "usage": {"completion_tokens": 0, "prompt_tokens": 0, "total_tokens": 0},
    }
    assert from_node("model_not_found").body() == {
        "code": 1007,
        "message": "can not find in registered project and model",
    }


async def test_error_passes_through_context_managers() -> None:
    """Contexts write the traceback of what passes through them."""

    @contextlib.asynccontextmanager
    async def context() -> AsyncIterator[None]:
        yield

    with pytest.raises(ApiError) as raised:
        async with context():
            raise ApiError(Code.MODEL, "no", 500)
    assert raised.value.status == 500
