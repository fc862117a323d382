"""Run a module for as long as the process that started it lives, and no longer.

`python -m aicn.tools.tethered MODULE [ARG…]` runs MODULE as `python -m MODULE` would. Standard input must be a pipe
whose other end only the starter holds: when the starter ends, by whatever means, the pipe ends with it, and the
module is asked to stop as by SIGTERM. Unlike a parent-death signal this works on every system.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time
from typing import Final

__all__ = ["main"]

GRACE_S: Final = 5.0
"""From the request to stop to a hard end: a node closes its connections and its store in well under a second."""


def main(argv: list[str] | None = None) -> None:
    """Run the module that the command line names.

    Args:
        argv: module name and its arguments; None: those of this process.

    Raises:
        SystemExit: as the module ends, or with 2 when none was named.
    """
    words = sys.argv[1:] if argv is None else argv
    if not words:
        sys.exit("usage: python -m aicn.tools.tethered MODULE [ARG…]")
    threading.Thread(target=_stop_with_starter, name="tether", daemon=True).start()
    sys.argv = words
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


def _stop_with_starter() -> None:
    # A descriptor of its own: the module may do with sys.stdin what it likes.
    pipe = os.dup(0)
    while os.read(pipe, 4_096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    main()
