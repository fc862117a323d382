"""The oracle's binary: built once per source, into the user's cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).parent / "go"
BUILD_TIMEOUT_S: Final = 900.0
"""A cold build compiles all of go-libp2p: two and a half minutes on two cores, and downloads before it."""


class GoMissing(Exception):
    """There is no Go toolchain, and no oracle built by one."""


class OracleFailed(Exception):
    """The oracle refused a command, could not be built or ended by itself."""


def build() -> Path:
    """Return the oracle's binary, built into the user's cache unless one of the same source lies there.

    Raises:
        GoMissing: no `go` to build it with.
        OracleFailed: the build failed; the message is the compiler's.
    """
    digest = hashlib.sha256()
    for file in sorted([*SOURCE.glob("*.go"), SOURCE / "go.mod", SOURCE / "go.sum"]):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aicn"
    binary = cache / f"oracle-{digest.hexdigest()[:16]}"
    if binary.exists():
        return binary
    go = shutil.which("go")
    if go is None:
        raise GoMissing("go toolchain missing: interop skipped")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        fresh = Path(folder) / "oracle"
        command = [go, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", str(fresh), "."]
        done = subprocess.run(  # noqa: S603 - no part of the command comes from outside
            command, cwd=SOURCE, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
        )
        if done.returncode != 0:
            raise OracleFailed(f"the oracle does not build:\n{done.stderr}")
        fresh.replace(binary)
    return binary
