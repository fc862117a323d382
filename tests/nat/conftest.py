"""An internet for each test that asks for one, where the machine allows it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from functools import cache

import pytest

from nat.namespaces import Internet, why_not
from nat.programs import Machines

probe = cache(why_not)


@pytest.fixture
def internet() -> Iterator[Internet]:
    reason = probe()
    if reason is not None:
        pytest.skip(reason)
    with Internet() as made:
        yield made


@pytest.fixture
async def machines(internet: Internet) -> AsyncIterator[Machines]:  # noqa: ARG001 - outlives them
    """Starts programs, which end before the namespaces go."""
    async with contextlib.AsyncExitStack() as stack:
        yield Machines(stack)
