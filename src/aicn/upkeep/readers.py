"""What reads each fact about this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from aicn.upkeep.disks import read_disks
from aicn.upkeep.gpu import read_gpus
from aicn.upkeep.operating_system import read_operating_system
from aicn.upkeep.processors import read_memory, read_processors

_log = logging.getLogger("aicn.upkeep")

Readers = Mapping[str, Callable[[], Any]]
"""A function for each field of `HostInfoResponse`; each may block and may raise."""

READERS: Final[Readers] = {
    "os": read_operating_system,
    "cpu": read_processors,
    "memory": read_memory,
    "disk": read_disks,
    # Last: a broken graphics driver may hang, and all else is known by then.
    "gpu": read_gpus,
}


def read_facts(readers: Readers = READERS) -> Iterator[tuple[str, Any]]:
    """Yield each field and its fact; one that cannot be read is named in the log and left out."""
    for name, reader in readers.items():
        try:
            fact = reader()
        except Exception as error:  # noqa: BLE001 - whatever one part of a machine does, the others count
            _log.warning("the %s of this machine cannot be read: %s: %s", name, type(error).__name__, error)
        else:
            yield name, fact
