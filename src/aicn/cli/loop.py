"""The event loop of a command: which one it is, and how signals end what runs on it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator
from types import FrameType
from typing import Any

from aicn.cli import exits

_log = logging.getLogger("aicn.cli")


@contextlib.contextmanager
def stopped_by_signals(stop: asyncio.Event) -> Iterator[None]:
    """Set `stop` at the first SIGINT, SIGTERM or SIGHUP; end the process at the second, even if the loop hangs by then.

    A SIGHUP that was ignored at the start, as under nohup, goes on to be ignored.

    Args:
        stop: what the block waits on.
    """
    loop = asyncio.get_running_loop()
    signals = [signal.SIGINT, signal.SIGTERM]
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)

    def asked() -> None:
        # First: with its terminal a process loses whom it could tell.
        stop.set()
        _let_go(loop, signals)
        for one in signals:
            signal.signal(one, _end)
        if sys.platform != "win32":
            # A terminal that is closed sends several, and systemd may send one right after SIGTERM: nobody asks twice.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        _log.info("stopping; ask again to stop at once")

    for one in signals:
        if sys.platform == "win32":  # its loop takes no signal handlers
            signal.signal(one, lambda *_: loop.call_soon_threadsafe(asked))
        else:
            loop.add_signal_handler(one, asked)
    try:
        yield
    finally:
        # Once asked to stop, a signal ends the process up to its very end.
        if not stop.is_set():
            _let_go(loop, signals)


def _let_go(loop: asyncio.AbstractEventLoop, signals: Iterable[signal.Signals]) -> None:
    for one in signals:
        if sys.platform == "win32":
            signal.signal(one, signal.SIG_DFL)
        else:
            loop.remove_signal_handler(one)


def _end(_number: int, _frame: FrameType | None) -> None:
    # The clean end hangs or is too slow for whoever asks; whatever a command writes stands any end.
    os._exit(exits.INTERRUPTED)


async def run_until_signal(work: Coroutine[Any, Any, None]) -> bool:
    """Run `work` to its end, or until a signal asks to stop: then it is cancelled, and what it had counts.

    Returns:
        Whether it came to its end.

    Raises:
        Exception: what `work` raised.
    """
    stop = asyncio.Event()
    with stopped_by_signals(stop):
        working = asyncio.create_task(work)
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            working.cancel()
            stopped.cancel()
            await asyncio.wait({working, stopped})
    if working.cancelled():
        return False
    working.result()
    return True


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's, where there is one."""
    try:
        import uvloop  # noqa: PLC0415 - not on Windows
    except ImportError:
        return None
    return uvloop.new_event_loop
