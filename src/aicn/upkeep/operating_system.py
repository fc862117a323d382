"""Which operating system this is, in the words that the network uses: those of Go and gopsutil."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Final

from aicn.wire.messages import OSInfo

UNKNOWN: Final = "unknown"
"""Stands for a fact that cannot be read."""

_FAMILIES: Final = ("debian", "rhel", "fedora", "suse", "arch", "alpine", "gentoo")
"""Families of Linux distributions; `ID` and `ID_LIKE` of os-release name them."""

_ARCHITECTURES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
"""Windows' and macOS' names of what Linux calls otherwise; without regard to case."""


def read_operating_system(root: Path = Path("/")) -> OSInfo:
    """Return name, family and version of the system and of its kernel.

    Args:
        root: where `/etc` and `/usr` of a Linux are; tests bring their own.
    """
    if sys.platform == "win32":
        name, family = "windows", "windows"
        product, version = f"Microsoft Windows {platform.release()}", platform.version()
    elif sys.platform == "darwin":
        name, family, product, version = "darwin", "darwin", "darwin", platform.mac_ver()[0]
    else:
        name = sys.platform
        product, family, version = _distribution(root)
    machine = platform.machine()
    return OSInfo(
        os=name,
        platform=product or UNKNOWN,
        platform_family=family or UNKNOWN,
        platform_version=version or UNKNOWN,
        kernel_version=platform.release() or UNKNOWN,
        kernel_arch=(machine if sys.platform == "darwin" else _ARCHITECTURES.get(machine.lower(), machine)) or UNKNOWN,
    )


def family_of(distribution: str, like: str) -> str:
    """Return the family of a Linux distribution.

    Args:
        distribution: `ID` of os-release, e.g. `ubuntu`.
        like: `ID_LIKE`, names parted by blanks, nearest first, e.g. `rhel centos fedora`.
    """
    return next((name for name in (*like.split(), distribution) if name in _FAMILIES), distribution)


def _distribution(root: Path) -> tuple[str, str, str]:
    # Loaded late: a node that is never asked does without.
    import distro  # noqa: PLC0415

    # No lsb_release and no uname: they are programs, and all that counts stands in files.
    facts = distro.LinuxDistribution(include_lsb=False, include_uname=False, root_dir=str(root))
    name = facts.id()
    return name, family_of(name, facts.like()), facts.version(best=True)
