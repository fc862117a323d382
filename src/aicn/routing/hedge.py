"""A second attempt beside the first, when the first is slower than it usually is.

Whichever is good first counts, and the other one is cancelled, as far as its model server. Source of the idea: Dean and
Barroso, "The Tail at Scale" (2013), hedged requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from aicn import defaults

T = TypeVar("T")


def hedge_after_s(usual_s: float | None) -> float | None:
    """Return how long to wait for the first attempt alone; None: until its end.

    Args:
        usual_s: how long its node usually takes to the first content; None while unknown.
    """
    return None if usual_s is None else max(defaults.HEDGE_MIN_S, defaults.HEDGE_FACTOR * usual_s)


async def hedged(
    first: Coroutine[Any, Any, T],
    second: Callable[[], Coroutine[Any, Any, T] | None],
    after_s: float,
    *,
    good: Callable[[T], bool],
    discard: Callable[[T], Awaitable[None]],
) -> T:
    """Run `first`, and after `after_s` the attempt of `second` beside it; return the first good result.

    Args:
        first: the first attempt.
        second: called once if the first is slow; returns the second attempt, or None if there is to be none.
        after_s: how long the first runs alone.
        good: whether a result is worth ending the other attempt for. If neither is, the later one is returned.
        discard: releases a result that is not returned.

    Raises:
        Exception: whatever an attempt raises that should not; the other one is then ended as well.
    """
    running = {asyncio.create_task(first)}
    try:
        done, _ = await asyncio.wait(running, timeout=after_s)
        if not done and (other := second()) is not None:
            running.add(asyncio.create_task(other))
        while True:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for one in [one for one in running if one.done()]:
                running.discard(one)
                result = one.result()
                if good(result) or not running:
                    return result
                await discard(result)
    finally:
        await _end(running, discard)


async def _end(running: set[asyncio.Task[T]], discard: Callable[[T], Awaitable[None]]) -> None:
    """Cancel what still runs, wait until it has ended, and release what it may have brought nevertheless."""
    for one in running:
        one.cancel()
    if not running:
        return
    await asyncio.wait(running)
    for one in running:
        if not one.cancelled() and one.exception() is None:
            await discard(one.result())
