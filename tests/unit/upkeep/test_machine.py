"""The facts of the very machine that runs the tests, beside what the kernel says of it."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path

import pytest

from aicn.upkeep.disks import read_disks
from aicn.upkeep.hardware import read_hardware
from aicn.upkeep.processors import read_memory, read_processors

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compares with /proc")


async def test_the_system_is_what_its_own_files_say() -> None:
    told = (await read_hardware()).os
    assert told is not None
    fields = platform.freedesktop_os_release()
    assert (told.os, told.platform) == ("linux", fields["ID"])
    assert told.platform_version.startswith(fields["VERSION_ID"])
    assert told.kernel_version == Path("/proc/sys/kernel/osrelease").read_text(encoding="ascii").strip()
    assert told.kernel_arch == os.uname().machine


async def test_processors_are_those_of_proc_cpuinfo() -> None:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    processors = (await read_hardware()).cpu
    assert sum(one.total_threads for one in processors) == len(re.findall(r"^processor\s*:", text, flags=re.MULTILINE))
    assert 0 < sum(one.total_cores for one in processors) <= sum(one.total_threads for one in processors)
    model = re.search(r"^model name\s*:\s*(.+)$", text, flags=re.MULTILINE)
    if model is not None:
        assert processors[0].model_name == model[1].strip()


async def test_memory_is_that_of_proc_meminfo() -> None:
    memory = (await read_hardware()).memory
    assert memory is not None
    found = re.search(r"^MemTotal:\s+(\d+) kB$", Path("/proc/meminfo").read_text(encoding="ascii"), flags=re.MULTILINE)
    assert found is not None
    assert memory.total_usable_bytes == int(found[1]) * 1024
    assert memory.total_usable_bytes <= memory.total_physical_bytes < memory.total_usable_bytes * 1.2


async def test_disks_are_the_devices_that_have_a_size() -> None:
    disks = (await read_hardware()).disk
    sizes = {path.name: int((path / "size").read_text(encoding="ascii")) for path in Path("/sys/block").iterdir()}
    real = [sizes[name] * 512 for name in sorted(sizes) if sizes[name] and re.match(r"sd|vd|nvme|xvd|hd|mmcblk", name)]
    assert [one.size_bytes for one in disks] == real
    assert {one.serial_number for one in disks} <= {"unknown"}


def topology(root: Path, thread: int, package: int, core: int) -> None:
    folder = root / f"sys/devices/system/cpu/cpu{thread}/topology"
    folder.mkdir(parents=True)
    (folder / "physical_package_id").write_text(f"{package}\n", encoding="ascii")
    (folder / "core_id").write_text(f"{core}\n", encoding="ascii")


def test_two_packages_with_two_threads_a_core_are_two_processors(tmp_path: Path) -> None:
    for thread in range(8):
        topology(tmp_path, thread, package=thread // 4, core=thread % 2)
    (tmp_path / "proc").mkdir()
    blocks = [
        f"processor\t: {thread}\nmodel name\t: Model of package {thread // 4}\nphysical id\t: {thread // 4}\n"
        for thread in range(8)
    ]
    (tmp_path / "proc/cpuinfo").write_text("\n".join(blocks), encoding="utf-8")
    told = [(one.model_name, one.total_cores, one.total_threads) for one in read_processors(tmp_path)]
    assert told == [("Model of package 0", 2, 4), ("Model of package 1", 2, 4)]


def test_an_arm_board_names_its_model_once_at_the_end(tmp_path: Path) -> None:
    topology(tmp_path, 0, package=0, core=0)
    (tmp_path / "proc").mkdir()
    text = "processor\t: 0\nBogoMIPS\t: 108.00\n\nHardware\t: BCM2835\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n"
    (tmp_path / "proc/cpuinfo").write_text(text, encoding="utf-8")
    assert read_processors(tmp_path)[0].model_name == "Raspberry Pi 5 Model B Rev 1.0"


def test_memory_without_a_count_of_blocks_is_what_can_be_used(tmp_path: Path) -> None:
    memory = read_memory(tmp_path)
    assert memory.total_physical_bytes == memory.total_usable_bytes > 0


def disk(root: Path, name: str, sectors: int, rotational: str, model: str | None = None) -> None:
    folder = root / "sys/block" / name
    (folder / "queue").mkdir(parents=True)
    (folder / "size").write_text(f"{sectors}\n", encoding="ascii")
    (folder / "queue/rotational").write_text(f"{rotational}\n", encoding="ascii")
    if model is not None:
        (folder / "device").mkdir()
        (folder / "device/model").write_text(f"{model}  \n", encoding="ascii")
        (folder / "device/serial").write_text("S3CR3T\n", encoding="ascii")


def test_disks_are_told_without_serial_numbers_and_without_what_is_no_disk(tmp_path: Path) -> None:
    disk(tmp_path, "nvme0n1", 2_000_409_264, "0", "Samsung SSD 980 PRO 1TB")
    disk(tmp_path, "sda", 7_814_037_168, "1", "ST4000DM004")
    disk(tmp_path, "vdb", 2048, "2")
    disk(tmp_path, "sdb", 0, "1", "Card reader without a card")
    for other in ("loop0", "zram0", "dm-0", "md127"):
        disk(tmp_path, other, 4096, "0")
    told = [(one.drive_type, one.size_bytes, one.model, one.serial_number) for one in read_disks(tmp_path)]
    assert told == [
        ("SSD", 1_024_209_543_168, "Samsung SSD 980 PRO 1TB", "unknown"),
        ("HDD", 4_000_787_030_016, "ST4000DM004", "unknown"),
        ("unknown", 1_048_576, "unknown", "unknown"),
    ]


def test_a_container_without_sys_block_has_no_disks(tmp_path: Path) -> None:
    assert read_disks(tmp_path) == ()
