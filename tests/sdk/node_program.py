"""Node and the JavaScript packages that `make test` installs, and what became of the tests that node ran."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "javascript"
FILE_TIMEOUT_S = 120.0

Outcomes = dict[str, dict[str, Any]]
"""What became of each test of a file, by its name."""

_NAME = re.compile(r"^(?:test|ask)\('([^']+)'", re.MULTILINE)


@functools.cache
def node() -> str:
    """Return where node is. It is no choice to be without: `make test` installs it, and the packages."""
    found = shutil.which("node")
    assert found is not None, "node is missing: run `make test`, or install Node.js"
    assert (FOLDER / "node_modules" / "openai").is_dir(), "the JavaScript packages are missing: run `make test`"
    return found


def names_in(file: str) -> list[str]:
    """Return the names of the tests in a file."""
    return _NAME.findall((FOLDER / file).read_text(encoding="utf-8"))


def judge(outcomes: Outcomes, name: str) -> None:
    """Fail, with what node said, unless that test passed."""
    assert name in outcomes, f"node ended before {name}: {outcomes['']['text']}"
    outcome = outcomes[name]
    assert not outcome["skipped"]
    assert outcome["passed"], outcome["text"]


async def run_file(file: str, **environment: str) -> Outcomes:
    """Run a file of tests, and return what became of them; under no name, what else node wrote."""
    process = await asyncio.create_subprocess_exec(
        node(),
        "--test-reporter=./reporter.mjs",
        "--test-reporter-destination=stdout",
        file,
        cwd=FOLDER,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
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
