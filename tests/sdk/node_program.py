"""Node and the JavaScript packages that `make test` installs."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

FOLDER = Path(__file__).parent / "javascript"


@functools.cache
def node() -> str:
    """Return where node is. It is no choice to be without: `make test` installs it, and the packages."""
    found = shutil.which("node")
    assert found is not None, "node is missing: run `make test`, or install Node.js"
    assert (FOLDER / "node_modules" / "openai").is_dir(), "the JavaScript packages are missing: run `make test`"
    return found
