"""Reads the facts about this machine in a process of its own.

The libraries of hardware vendors are large and hang at times: a node that was asked once would carry 20 MB of them
for good, and a driver that does not return would keep one of its threads. A process gives both back when it ends.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from threading import Timer
from typing import Any, Final

import msgspec

from aicn import defaults
from aicn.wire.messages import CpuInfo, DiskInfo, GpuInfo, MemoryInfo, OSInfo

_log = logging.getLogger("aicn.upkeep")

COMMAND: Final = (sys.executable, "-m", "aicn.upkeep.apart")

_TYPES: Final[dict[str, Any]] = {
    "os": OSInfo,
    "cpu": tuple[CpuInfo, ...],
    "memory": MemoryInfo,
    "disk": tuple[DiskInfo, ...],
    "gpu": tuple[GpuInfo, ...],
}
_LINE_MAX_BYTES: Final = 1_048_576
"""Longest line that is read: hundreds of cards have some 100 KB."""


class _Line(msgspec.Struct):
    name: str
    fact: msgspec.Raw = msgspec.Raw(b"null")


def read_apart(
    command: Sequence[str] = COMMAND, *, timeout_s: float = defaults.HARDWARE_TIMEOUT_S
) -> Iterator[tuple[str, Any]]:
    """Yield each field and its fact as the other process tells them; what it does not tell in time is left out.

    Args:
        command: writes one JSON object a line, `{"name": "cpu", "fact": ...}`.
        timeout_s: after so many seconds the process is killed.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - our own program
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError as error:
        _log.warning("the facts of this machine cannot be read: %s", error)
        return
    limit = Timer(timeout_s, process.kill)
    limit.daemon = True
    limit.start()
    try:
        with process:
            if process.stdout is None:
                return
            while line := process.stdout.readline(_LINE_MAX_BYTES):
                try:
                    told = msgspec.json.decode(line, type=_Line)
                    fact = msgspec.json.decode(told.fact, type=_TYPES[told.name])
                except (msgspec.DecodeError, KeyError) as error:
                    _log.warning("a fact of this machine cannot be understood: %s", error)
                else:
                    yield told.name, fact
            process.kill()  # it has told all it will; a driver may still keep it
    finally:
        limit.cancel()


def main() -> None:
    """Write the facts of this machine to the output, each as soon as it is known."""
    from aicn.upkeep.readers import read_facts  # noqa: PLC0415 - the libraries that a node is to do without

    for name, fact in read_facts():
        sys.stdout.buffer.write(msgspec.json.encode({"name": name, "fact": fact}) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
