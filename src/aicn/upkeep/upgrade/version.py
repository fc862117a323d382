"""Version numbers of releases, and which machines an artefact is made for."""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import dataclass
from typing import Final, Self

from aicn.errors import UpgradeError

_FORM: Final = re.compile(r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})", re.ASCII)

ANY_PLATFORM: Final = "any"
"""Platform of an artefact without machine code."""


@dataclass(frozen=True, order=True, slots=True)
class Version:
    """Three numbers. Ordered: 0.10.0 is newer than 0.9.9."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `1.2.3`.

        Raises:
            UpgradeError: it is not three numbers.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            raise UpgradeError(f"{text[:40]!r} is no version of a release; releases are numbered like 1.2.3")
        return cls(*map(int, found.groups()))

    def __str__(self) -> str:
        """Write `1.2.3`."""
        return f"{self.major}.{self.minor}.{self.patch}"


def this_platform() -> str:
    """Return the platform whose artefacts run here, e.g. `cpython-311-linux-x86_64`.

    Python's version is a part of it: most packages with machine code are built for one.
    """
    libc = "-musl" if sys.platform == "linux" and platform.libc_ver()[0] == "" else ""
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    return f"{sys.implementation.cache_tag}-{sys.platform}-{machine}{libc}"
