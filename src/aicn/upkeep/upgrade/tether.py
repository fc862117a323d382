"""How a node under a supervisor hears that it must stop: its standard input ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable


def on_end_of_input(stop: Callable[[], object]) -> None:
    """Call `stop` on the running loop when standard input ends: the supervisor asks to stop, or is gone.

    Unlike a second signal this never makes a node hurry: service managers send one to every process by themselves.
    """
    loop = asyncio.get_running_loop()
    # A descriptor of its own: nobody else reads this pipe.
    pipe = os.dup(0)

    def watch() -> None:
        # A pipe that cannot be read has nobody at its other end; a loop that is closed has nothing to stop.
        with contextlib.suppress(OSError):
            while os.read(pipe, 4_096):
                continue
        os.close(pipe)
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(stop)

    threading.Thread(target=watch, name="aicn-tether", daemon=True).start()
