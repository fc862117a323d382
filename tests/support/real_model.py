"""The real model of the demonstration, SmolLM2, behind llama.cpp's own server, as a process."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

from aicn.cli.demo_model import MODEL_NAME, find_weights

START_TIMEOUT_S = 60.0


@contextlib.asynccontextmanager
async def model_server() -> AsyncIterator[str]:
    """Start the server; gives its URL, without a slash at the end."""
    weights = find_weights()
    assert weights is not None, "the model is not installed: run `make setup`"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "aicn.tools.model_server",
        "--weights",
        str(weights),
        "--name",
        MODEL_NAME,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            line = (await process.stdout.readline()).decode()
        yield line.removeprefix("listening on ").strip()
    finally:
        process.terminate()
        await process.wait()
