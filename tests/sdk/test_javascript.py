"""The JavaScript SDK: each test of `javascript/*.test.mjs` is one test here. Node runs each file once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from .gateway import Gateway
from .node_program import FOLDER, Outcomes, judge, names_in, run_file
from .witness import witness

pytestmark = pytest.mark.asyncio(loop_scope="package")

FILES = sorted(path.name for path in FOLDER.glob("*.test.mjs"))
CASES = [(file, name) for file in FILES for name in names_in(file)]

RunFile = Callable[[str], Awaitable[Outcomes]]


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def ran(running: Gateway) -> AsyncIterator[RunFile]:
    """Gives what became of each test of a file, which is run at the first question."""
    known: dict[str, Outcomes] = {}
    async with witness(*running.servers) as witness_url:

        async def run(file: str) -> Outcomes:
            if file not in known:
                running.renew()
                known[file] = await run_file(
                    file,
                    AICN_ROOT=running.root,
                    AICN_DIRECT_ROOT=running.direct_root,
                    AICN_WITNESS=witness_url,
                )
            return known[file]

        yield run


@pytest.mark.parametrize(("file", "name"), CASES, ids=lambda word: word.removesuffix(".test.mjs"))
async def test_javascript(ran: RunFile, file: str, name: str) -> None:
    judge(await ran(file), name)


async def test_every_name_is_used_once() -> None:
    for path in FOLDER.glob("*.mjs"):
        names = names_in(path.name)
        assert len(names) == len(set(names))
    assert FILES
