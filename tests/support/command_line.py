"""The real command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

TIMEOUT_S = 60.0
"""A command that asks for nothing takes a fifth of a second; a loaded machine takes longer."""


def aicn(*words: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `python -m aicn words…` in `cwd` to its end."""
    return subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-m", "aicn", *map(str, words)],
        cwd=cwd,
        env=environment(env),
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        timeout=TIMEOUT_S,
    )


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a command: this one's, without what would change what it says."""
    return {**{name: value for name, value in os.environ.items() if name != "AICN_DEBUG"}, **(more or {})}


def refused(done: subprocess.CompletedProcess[str], status: int) -> str:
    """Return the one line in which a command refused; nothing else was written."""
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    return line
