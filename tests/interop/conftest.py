"""Peers on go-libp2p and our host, started for a test and ended after it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import pytest_asyncio

from interop.networks import Network
from interop.oracle import Oracle
from interop.oracle_build import GoMissing, build
from interop.our_host import OurHost

OracleStart = Callable[..., Awaitable[Oracle]]
HostStart = Callable[..., Awaitable[OurHost]]


def without_go(reason: str) -> NoReturn:
    """Skip the test for want of Go, or fail it where Go may not be missing."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must have Go: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def oracle_binary() -> Path:
    """Return the oracle's binary. Without Go the test is skipped by name; in CI it fails."""
    try:
        return build()
    except GoMissing as missing:
        without_go(str(missing))


@pytest.fixture(scope="module")
def network(request: pytest.FixtureRequest) -> Network:
    """Return the network that a test is run on: see `every_network`."""
    wanted: Network = request.param
    return wanted


@pytest_asyncio.fixture
async def stack() -> AsyncIterator[contextlib.AsyncExitStack]:
    """Return what ends everything that a test has started, last first."""
    async with contextlib.AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def start_oracle(oracle_binary: Path, stack: contextlib.AsyncExitStack) -> OracleStart:
    """Return what starts a Go peer; arguments as of `Oracle`."""

    async def start(**options: Any) -> Oracle:
        return await stack.enter_async_context(Oracle(oracle_binary, **options))

    return start


@pytest.fixture
def start_host(stack: contextlib.AsyncExitStack) -> HostStart:
    """Return what starts a host of ours; arguments as of `OurHost`."""

    async def start(**options: Any) -> OurHost:
        return await stack.enter_async_context(OurHost(**options))

    return start
