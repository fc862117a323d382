"""Waiting for state that no event tells of."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Final

from interop.oracle_process import PATIENCE_S

POLL_S: Final = 0.005


async def eventually(what: str, check: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until `check` holds."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                held = check()
                if inspect.isawaitable(held):
                    held = await held
                if held:
                    return
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"never came true: {what}") from None
