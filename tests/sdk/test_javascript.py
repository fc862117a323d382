"""The JavaScript SDK: each test of `javascript/*.test.mjs` is one test here. Node runs each file once."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from .gateway import Gateway
from .node_program import FOLDER, node
from .witness import witness

pytestmark = pytest.mark.asyncio(loop_scope="package")

FILE_TIMEOUT_S = 120.0

_NAME = re.compile(r"^(?:test|ask)\('([^']+)'", re.MULTILINE)

Outcomes = dict[str, dict[str, Any]]
RunFile = Callable[[str], Awaitable[Outcomes]]


def names_in(file: Path) -> list[str]:
    return _NAME.findall(file.read_text(encoding="utf-8"))


CASES = [(file.name, name) for file in sorted(FOLDER.glob("*.test.mjs")) for name in names_in(file)]


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def run_file(running: Gateway) -> AsyncIterator[RunFile]:
    """Gives what became of each test of a file, which is run at the first question."""
    ran: dict[str, Outcomes] = {}
    async with witness(*running.servers) as witness_url:
        environment = {
            **os.environ,
            "AICN_ROOT": running.root,
            "AICN_DIRECT_ROOT": running.direct_root,
            "AICN_WITNESS": witness_url,
        }

        async def run(file: str) -> Outcomes:
            if file not in ran:
                running.renew()
                ran[file] = await _run(file, environment)
            return ran[file]

        yield run


@pytest.mark.parametrize(("file", "name"), CASES, ids=lambda word: word.removesuffix(".test.mjs"))
async def test_javascript(run_file: RunFile, file: str, name: str) -> None:
    outcomes = await run_file(file)
    assert name in outcomes, f"{file} ended before {name}: {outcomes.get('', {}).get('text')}"
    outcome = outcomes[name]
    assert not outcome["skipped"]
    assert outcome["passed"], outcome["text"]


async def test_every_name_is_used_once() -> None:
    for file in {file for file, _ in CASES}:
        names = names_in(FOLDER / file)
        assert len(names) == len(set(names)) > 0


async def _run(file: str, environment: dict[str, str]) -> Outcomes:
    words = (node(), "--test-reporter=./reporter.mjs", "--test-reporter-destination=stdout", file)
    process = await asyncio.create_subprocess_exec(
        *words, cwd=FOLDER, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(FILE_TIMEOUT_S):
            out, err = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    outcomes: Outcomes = {"": {"text": err.decode()}}
    for line in out.decode().splitlines():
        try:
            one = json.loads(line)
        except ValueError:
            outcomes[""]["text"] += f"\n{line}"
            continue
        outcomes[one["name"]] = one
    return outcomes
