"""The processors and the memory of this machine."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Final

from aicn.upkeep.operating_system import UNKNOWN
from aicn.wire.messages import CpuInfo, MemoryInfo

_MODEL_KEYS: Final = ("model name", "Model", "cpu model", "cpu", "Hardware", "Processor")
"""What /proc/cpuinfo calls the model, by architecture: x86, ARM boards, MIPS, POWER, older ARM."""

_SYSCTL_TIMEOUT_S: Final = 2.0
"""sysctl answers from the kernel's memory at once."""


def read_processors(root: Path = Path("/")) -> tuple[CpuInfo, ...]:
    """Return one entry for each processor package, with its cores and hardware threads.

    Args:
        root: where `/proc` and `/sys` of a Linux are; tests bring their own.
    """
    packages = _packages(root) if sys.platform == "linux" else {}
    if packages:
        models = _linux_models(root)
        fallback = next(iter(models.values()), UNKNOWN)
        return tuple(
            CpuInfo(models.get(min(threads), fallback), len(set(threads.values())), len(threads))
            for _, threads in sorted(packages.items())
        )
    import psutil  # noqa: PLC0415 - a node that is never asked does without

    return (CpuInfo(_model(root), psutil.cpu_count(logical=False) or 0, psutil.cpu_count() or 0),)


def read_memory(root: Path = Path("/")) -> MemoryInfo:
    """Return how much memory the machine has, and how much of it the system left for programs.

    Args:
        root: where `/sys` of a Linux is; tests bring their own.
    """
    import psutil  # noqa: PLC0415 - a node that is never asked does without

    usable = psutil.virtual_memory().total
    # The kernel keeps a part for itself at boot. Not every machine tells how much: then the two are one.
    return MemoryInfo(max(_plugged_bytes(root), usable), usable)


def _packages(root: Path) -> dict[int, dict[int, tuple[int, int]]]:
    """Return, for each package, its online hardware threads and the core of each."""
    packages: dict[int, dict[int, tuple[int, int]]] = {}
    for topology in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/topology"):
        thread = int(topology.parent.name[3:])
        try:
            package = int((topology / "physical_package_id").read_text(encoding="ascii"))
            core = int((topology / "core_id").read_text(encoding="ascii"))
            die_file = topology / "die_id"
            die = int(die_file.read_text(encoding="ascii")) if die_file.exists() else 0
        except FileNotFoundError:
            continue  # taken offline meanwhile
        packages.setdefault(package, {})[thread] = (die, core)
    return packages


def _linux_models(root: Path) -> dict[int, str]:
    """Return the model of each hardware thread that /proc/cpuinfo names one for."""
    models: dict[int, str] = {}
    for number, block in enumerate((root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")):
        pairs = (line.split(":", 1) for line in block.splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in pairs}
        model = next((fields[key] for key in _MODEL_KEYS if fields.get(key)), "")
        if model:
            thread = fields.get("processor", "")
            models[int(thread) if thread.isdecimal() else number] = model
    return models


def _model(root: Path) -> str:
    if sys.platform == "darwin":
        import subprocess  # noqa: PLC0415 - needed on this system only

        told = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"],
            capture_output=True,
            check=True,
            text=True,
            timeout=_SYSCTL_TIMEOUT_S,
        )
        return told.stdout.strip() or UNKNOWN
    if sys.platform == "win32":
        return platform.processor() or UNKNOWN
    return next(iter(_linux_models(root).values()), UNKNOWN)


def _plugged_bytes(root: Path) -> int:
    """Return the bytes of all memory blocks that are online; 0 where the kernel does not tell."""
    folder = root / "sys/devices/system/memory"
    try:
        block_bytes = int((folder / "block_size_bytes").read_text(encoding="ascii"), 16)
    except FileNotFoundError:
        return 0
    online = (file.read_text(encoding="ascii").strip() for file in folder.glob("memory[0-9]*/online"))
    return block_bytes * sum(state == "1" for state in online)
