"""One network for all tests of the folder; each gets model servers that are as new."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from .gateway import Gateway, running_gateway
from .python_clients import Clients, opened


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """The network, for those who take care of its model servers themselves."""
    async with running_gateway(tmp_path_factory.mktemp("sdk")) as gateway:
        yield gateway


@pytest_asyncio.fixture(loop_scope="package")
async def gateway(running: Gateway) -> Gateway:
    """The network, its model servers as new."""
    running.renew()
    return running


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def opened_clients(running: Gateway) -> AsyncIterator[Clients]:
    """The SDKs' clients of the network, for `clients`."""
    async with opened(running.root) as ready:
        yield ready


@pytest.fixture
def clients(gateway: Gateway, opened_clients: Clients) -> Clients:
    """The SDKs' clients of the network, whose model servers are as new."""
    assert not gateway.seen()
    return opened_clients


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def direct(running: Gateway) -> AsyncIterator[Clients]:
    """The SDKs' clients of the first model server, without a network before it."""
    async with opened(running.direct_root) as ready:
        yield ready
