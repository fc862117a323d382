"""Graphics cards: AMD's and Intel's from the kernel's files, NVIDIA's at the border of its library."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pynvml
import pytest

from aicn.upkeep.gpu import NVIDIA, read_gpus

AMD = "Advanced Micro Devices, Inc. [AMD/ATI]"


def card(root: Path, name: str, **files: str) -> None:
    device = root / "sys/class/drm" / name / "device"
    device.mkdir(parents=True)
    for file, content in files.items():
        (device / file).write_text(f"{content}\n", encoding="ascii")


def told(root: Path, nvml: Library | None = None) -> list[tuple[str, str]]:
    return [(one.vendor, one.product) for one in read_gpus(root, nvml or Library())]


@dataclass
class Library:
    """Stands for pynvml, whose answers need a driver and a card."""

    cards: list[tuple[str | bytes, int | None]] | None = None
    open: int = 0
    broken: set[int] = field(default_factory=set)
    NVMLError: type[Exception] = pynvml.NVMLError

    def nvmlInit(self) -> None:  # noqa: N802
        if self.cards is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        assert self.open
        return len(self.cards or ())

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        assert self.open
        if index in self.broken:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return index

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:  # noqa: N802
        assert self.cards is not None
        return self.cards[handle][0]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> pynvml.c_nvmlMemory_t:  # noqa: N802
        assert self.cards is not None
        total = self.cards[handle][1]
        if total is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        memory = pynvml.c_nvmlMemory_t()
        memory.total = total
        return memory


def test_the_library_has_every_name_that_is_used_of_it() -> None:
    used = [name for name in vars(Library) if name.startswith("nvml")]
    assert used
    assert [name for name in used if not callable(getattr(pynvml, name))] == []


def test_nvidia_cards_come_with_their_memory() -> None:
    library = Library([("NVIDIA H100 80GB HBM3", 81559 * 2**20), (b"Tesla T4", 15360 * 2**20), ("NVIDIA GB10", None)])
    assert told(Path("/nowhere"), library) == [
        (NVIDIA, "NVIDIA H100 80GB HBM3 (81559 MiB)"),
        (NVIDIA, "Tesla T4 (15360 MiB)"),
        (NVIDIA, "NVIDIA GB10"),
    ]
    assert library.open == 0


def test_a_card_that_fell_off_the_bus_does_not_hide_the_others() -> None:
    library = Library([("NVIDIA A100", 40960 * 2**20)] * 3, broken={1})
    assert told(Path("/nowhere"), library) == [(NVIDIA, "NVIDIA A100 (40960 MiB)")] * 2
    assert library.open == 0


def test_amd_cards_are_named_by_their_driver(tmp_path: Path) -> None:
    card(tmp_path, "card1", vendor="0x1002", device="0x74a1", product_name="AMD Instinct MI300X OAM")
    vram = tmp_path / "sys/class/drm/card1/device/mem_info_vram_total"
    vram.write_text(f"{192 * 2**30}\n", encoding="ascii")
    (tmp_path / "sys/class/drm/card1-DP-1").mkdir()
    (tmp_path / "sys/class/drm/renderD128").mkdir()
    assert told(tmp_path) == [(AMD, "AMD Instinct MI300X OAM (196608 MiB)")]


@pytest.mark.parametrize(
    ("lists", "name"),
    [
        pytest.param((), "graphics card 1002:73bf", id="no list"),
        pytest.param(("usr/share/libdrm/amdgpu.ids",), "AMD Radeon RX 6900 XT", id="libdrm"),
        pytest.param(("usr/share/misc/pci.ids",), "Navi 21 [Radeon RX 6800/6900 XT]", id="Debian"),
        pytest.param(("usr/share/hwdata/pci.ids",), "Navi 21 [Radeon RX 6800/6900 XT]", id="Fedora"),
        pytest.param(("usr/share/misc/pci.ids", "usr/share/libdrm/amdgpu.ids"), "AMD Radeon RX 6900 XT", id="both"),
    ],
)
def test_a_card_that_does_not_tell_its_name_is_looked_up(tmp_path: Path, lists: tuple[str, ...], name: str) -> None:
    card(tmp_path, "card0", vendor="0x1002", device="0x73bf", revision="0xc0", mem_info_vram_total="17163091968")
    content = {
        "amdgpu.ids": "# comment\n1.0.0\n73BF,\tC1,\tAMD Radeon RX 6800 XT\n73BF,\tC0,\tAMD Radeon RX 6900 XT\n",
        "pci.ids": "0001  Other\n\t73bf  No\n1002  AMD\n\t73be  Neither\n\t73bf  Navi 21 [Radeon RX 6800/6900 XT]\n"
        "\t\t1002 73bf  A board\n1003  Next\n\t73bf  Too late\n",
    }
    for path in lists:
        file = tmp_path / path
        file.parent.mkdir(parents=True)
        file.write_text(content[file.name], encoding="utf-8")
    assert told(tmp_path) == [(AMD, f"{name} (16368 MiB)")]


def test_what_only_draws_a_console_is_no_graphics_card_to_us(tmp_path: Path) -> None:
    card(tmp_path, "card0", vendor="0x1a03", device="0x2000")
    card(tmp_path, "card1", vendor="", device="")
    assert told(tmp_path) == []


def test_nvidia_cards_are_told_once_and_without_the_driver_by_the_kernel(tmp_path: Path) -> None:
    card(tmp_path, "card0", vendor="0x10de", device="0x2330")
    card(tmp_path, "card1", vendor="0x8086", device="0x46a6")
    intel = ("Intel Corporation", "graphics card 8086:46a6")
    assert told(tmp_path, Library([("NVIDIA H100", 2**30)])) == [(NVIDIA, "NVIDIA H100 (1024 MiB)"), intel]
    assert told(tmp_path) == [(NVIDIA, "graphics card 10de:2330"), intel]


def test_the_installed_library_finds_no_card_or_real_ones() -> None:
    cards = read_gpus(Path("/nowhere"))
    assert {one.vendor for one in cards} <= {NVIDIA}
    assert (len(cards) > 0) == Path("/proc/driver/nvidia/version").exists()
