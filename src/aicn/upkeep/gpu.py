"""The graphics cards of this machine, with their memory: what a Worker is made of.

NVIDIA's come from the driver's own library, NVML. AMD's and all others come from the kernel's files in /sys, which
are there in every container and need none of the vendor's programs.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

from aicn.wire.messages import GpuInfo

_log = logging.getLogger("aicn.upkeep")

NVIDIA: Final = "NVIDIA Corporation"

_NVIDIA_ID: Final = 0x10DE
_AMD_ID: Final = 0x1002
_VENDORS: Final = {
    _NVIDIA_ID: NVIDIA,
    _AMD_ID: "Advanced Micro Devices, Inc. [AMD/ATI]",
    0x8086: "Intel Corporation",
    0x1E0F: "Moore Threads Technology Co.,Ltd",
}
"""PCI vendor ids and the names that the PCI id list gives them. Cards of other vendors draw a console, no more."""

_CARD: Final = re.compile(r"card[0-9]+")
_MIB: Final = 1_048_576
_MAX_CARDS: Final = 256
"""Far more than one machine holds."""

_AMD_NAMES: Final = "usr/share/libdrm/amdgpu.ids"
_PCI_NAMES: Final = ("usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids")


class Nvml(Protocol):
    """The part of the module `pynvml` that is used here."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None:  # noqa: N802 - NVIDIA's name
        """Load the driver's library."""

    def nvmlShutdown(self) -> None:  # noqa: N802
        """Let go of it."""

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        """Count the cards."""

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:  # noqa: N802
        """Return what stands for one card."""

    def nvmlDeviceGetName(self, handle: Any) -> str | bytes:  # noqa: N802
        """Return the card's name; older releases return bytes."""

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any:  # noqa: N802
        """Return a value with `total`, in bytes."""


def read_gpus(root: Path = Path("/"), nvml: Nvml | None = None) -> tuple[GpuInfo, ...]:
    """Return every graphics card, NVIDIA's first.

    Args:
        root: where `/sys` and `/usr` of a Linux are; tests bring their own.
        nvml: NVIDIA's library; the installed one if none is given.
    """
    nvidia = tuple(_nvidia(nvml))
    # A card that NVML has told of must not be told of twice; without NVML the kernel still knows that it is there.
    return nvidia + tuple(_kernel_cards(root, skip_nvidia=bool(nvidia)))


def _product(name: str, memory_bytes: int | None) -> str:
    """Return what stands on the wire, which has no field for memory: `NVIDIA H100 80GB HBM3 (81559 MiB)`."""
    return f"{name} ({memory_bytes // _MIB} MiB)" if memory_bytes else name


# --- NVIDIA -----------------------------------------------------------------------------------------------


def _nvidia(nvml: Nvml | None) -> Iterator[GpuInfo]:
    if nvml is None:
        nvml = _installed_nvml()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        _log.debug("no NVIDIA driver here: %s", error)
        return
    try:
        for index in range(min(nvml.nvmlDeviceGetCount(), _MAX_CARDS)):
            try:
                yield _nvidia_card(nvml, index)
            except nvml.NVMLError as error:
                _log.warning("NVIDIA card %d does not tell what it is: %s", index, error)
    except nvml.NVMLError as error:
        _log.warning("the NVIDIA driver does not tell its cards: %s", error)
    finally:
        nvml.nvmlShutdown()


def _nvidia_card(nvml: Nvml, index: int) -> GpuInfo:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name = nvml.nvmlDeviceGetName(handle)
    try:
        memory_bytes = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    except nvml.NVMLError:
        memory_bytes = None  # cards that share the machine's memory have none of their own
    return GpuInfo(NVIDIA, _product(name.decode() if isinstance(name, bytes) else name, memory_bytes))


def _installed_nvml() -> Nvml:
    import pynvml  # noqa: PLC0415 - a node that is never asked does without

    module: Nvml = pynvml
    return module


# --- the kernel's files -----------------------------------------------------------------------------------


def _kernel_cards(root: Path, *, skip_nvidia: bool) -> Iterator[GpuInfo]:
    folder = root / "sys/class/drm"
    if not folder.is_dir():
        return
    # card0-HDMI-A-1 and the like are the sockets of a card.
    for card in sorted(path for path in folder.iterdir() if _CARD.fullmatch(path.name))[:_MAX_CARDS]:
        device = card / "device"
        vendor_id = _hexadecimal(device / "vendor")
        vendor = _VENDORS.get(vendor_id)
        if vendor is None or (skip_nvidia and vendor_id == _NVIDIA_ID):
            continue
        memory = _read(device / "mem_info_vram_total")
        name = _card_name(root, device, vendor_id)
        yield GpuInfo(vendor, _product(name, int(memory) if memory.isdecimal() else None))


def _card_name(root: Path, device: Path, vendor_id: int) -> str:
    product_id = _hexadecimal(device / "device")
    name = _read(device / "product_name")
    if not name and vendor_id == _AMD_ID:
        name = _amd_name(root / _AMD_NAMES, product_id, _hexadecimal(device / "revision"))
    if not name:
        name = next(filter(None, (_pci_name(root / path, vendor_id, product_id) for path in _PCI_NAMES)), "")
    return name or f"graphics card {vendor_id:04x}:{product_id:04x}"


def _amd_name(file: Path, product_id: int, revision: int) -> str:
    """Look into libdrm's list, whose lines are `product id, revision, name`."""
    wanted = [f"{product_id:X}", f"{revision:X}"]
    for line in _lines(file):
        parts = [part.strip() for part in line.split(",", 2)]
        if parts[:2] == wanted and parts[2:]:
            return parts[2]
    return ""


def _pci_name(file: Path, vendor_id: int, product_id: int) -> str:
    """Look into the PCI id list: vendors begin a line, their products follow behind one tab."""
    ours = False
    for line in _lines(file):
        if not line.startswith(("\t", "#")):
            ours = line.startswith(f"{vendor_id:04x} ")
        elif ours and line.startswith(f"\t{product_id:04x} "):
            return line[5:].strip()
    return ""


def _lines(file: Path) -> Iterable[str]:
    try:
        with file.open(encoding="utf-8", errors="replace") as text:
            yield from text
    except OSError:
        return


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _hexadecimal(file: Path) -> int:
    try:
        return int(_read(file), 16)
    except ValueError:
        return 0
