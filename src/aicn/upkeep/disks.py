"""The disks of this machine: kind, size and model, never a serial number."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aicn.upkeep.operating_system import UNKNOWN
from aicn.wire.messages import DiskInfo

_SECTOR_BYTES: Final = 512
"""Unit of `size` in /sys/block, whatever the disk's own sectors are."""

_NOT_DISKS: Final = ("loop", "ram", "zram", "dm-", "md", "nbd", "sr", "fd", "zd")
"""Block devices that are files, memory, parts or unions of other devices, or drives without a medium."""


def read_disks(root: Path = Path("/")) -> tuple[DiskInfo, ...]:
    """Return the disks, in the order of their device names.

    `serial_number` is always `unknown`: the answer goes to any node of the network that asks, and a serial number
    would mark the machine for ever without telling anybody what it can do.

    Args:
        root: where `/sys` of a Linux is; tests bring their own.
    """
    if sys.platform != "linux":
        return tuple(_mounted_disks())
    return tuple(_linux_disks(root / "sys/block"))


def _linux_disks(folder: Path) -> Iterator[DiskInfo]:
    if not folder.is_dir():
        return
    for disk in sorted(folder.iterdir()):
        size_bytes = int(_read(disk / "size") or 0) * _SECTOR_BYTES
        if size_bytes and not disk.name.startswith(_NOT_DISKS):
            kind = {"0": "SSD", "1": "HDD"}.get(_read(disk / "queue" / "rotational"), UNKNOWN)
            yield DiskInfo(kind, size_bytes, _read(disk / "device" / "model") or UNKNOWN, UNKNOWN)


def _mounted_disks() -> Iterator[DiskInfo]:
    """Yield what is mounted, one entry for each device: other systems tell no more without a program of theirs."""
    import psutil  # noqa: PLC0415 - a node that is never asked does without

    seen: set[str] = set()
    for part in psutil.disk_partitions(all=False):
        if part.device in seen or "cdrom" in part.opts:
            continue
        seen.add(part.device)
        try:
            size_bytes = psutil.disk_usage(part.mountpoint).total
        except OSError:
            continue  # a drive without a medium, or one that this user may not see
        yield DiskInfo(UNKNOWN, size_bytes, UNKNOWN, UNKNOWN)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
