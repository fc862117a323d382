"""How late the event loop wakes what should run: the first sign of a node that has too much to do."""

from __future__ import annotations

import asyncio

from aicn import defaults
from aicn.clock import Clock
from aicn.telemetry.metrics import LOOP_LAG, Metrics


async def watch_loop_lag(metrics: Metrics, clock: Clock, interval_s: float = defaults.LOOP_LAG_INTERVAL_S) -> None:
    """Measure until cancelled."""
    while True:
        began_s = clock.monotonic()
        await asyncio.sleep(interval_s)
        metrics.observe(LOOP_LAG, (), max(0.0, clock.monotonic() - began_s - interval_s))
