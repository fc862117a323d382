"""Reading the machine: bounded, once at a time, remembered, and never an error."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aicn.upkeep.apart import read_apart
from aicn.upkeep.hardware import Hardware, Source
from aicn.upkeep.operating_system import family_of, read_operating_system
from aicn.upkeep.readers import READERS, read_facts
from aicn.wire.messages import CpuInfo, GpuInfo, HostInfoResponse, MemoryInfo, OSInfo


class Machine:
    """Counts how often each part is read, and lets one part hang."""

    def __init__(self) -> None:
        self.reads: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def source(self) -> Source:
        readers = {"cpu": lambda: self._read("cpu", (CpuInfo("x", 1, 2),)), "gpu": self._gpu}
        return partial(read_facts, readers)

    def _gpu(self) -> Any:
        answer = self._read("gpu", (GpuInfo("v", "p"),))
        assert self.go_on.wait(30)
        return answer

    def _read(self, name: str, answer: tuple[Any, ...]) -> Any:
        self.reads.append(name)
        return answer


@contextmanager
def hanging(machine: Machine) -> Iterator[None]:
    machine.go_on.clear()
    try:
        yield
    finally:
        machine.go_on.set()


async def test_the_facts_are_read_once_for_all_who_ask_at_once_and_later() -> None:
    machine = Machine()
    hardware = Hardware(machine.source())
    answers = await asyncio.gather(*(hardware.read() for _ in range(20)))
    assert {one.cpu for one in [*answers, await hardware.read()]} == {(CpuInfo("x", 1, 2),)}
    assert machine.reads == ["cpu", "gpu"]


async def test_old_facts_are_read_again() -> None:
    machine = Machine()
    hardware = Hardware(machine.source(), max_age_s=0.0)
    await hardware.read()
    await hardware.read()
    assert machine.reads == ["cpu", "gpu"] * 2


async def test_a_driver_that_hangs_costs_its_own_part_and_one_thread() -> None:
    machine = Machine()
    hardware = Hardware(machine.source(), timeout_s=0.05, max_age_s=0.0)
    with hanging(machine):
        first, second = await hardware.read(), await hardware.read()
        assert (first.cpu, first.gpu) == (second.cpu, second.gpu) == ((CpuInfo("x", 1, 2),), ())
        assert machine.reads == ["cpu", "gpu"]
    while not (told := await hardware.read()).gpu:
        continue  # each look waits for the one thread
    assert told.gpu == (GpuInfo("v", "p"),)


async def test_what_cannot_be_read_is_unknown_and_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise PermissionError(13, "Permission denied")

    answer = await Hardware(partial(read_facts, dict.fromkeys(READERS, broken))).read()
    unknown = "unknown"
    assert answer == HostInfoResponse(
        os=OSInfo(unknown, unknown, unknown, unknown, unknown, unknown), memory=MemoryInfo(0, 0)
    )
    assert [record.getMessage().split(" of ")[0] for record in caplog.records] == [f"the {name}" for name in READERS]


def test_facts_of_another_process_are_those_of_this_machine() -> None:
    assert dict(read_apart()) == dict(read_facts())


def test_a_process_that_hangs_is_killed_and_what_it_told_counts() -> None:
    told = json.dumps({"name": "cpu", "fact": [{"model_name": "x", "total_cores": 1, "total_threads": 2}]})
    program = f"print({told!r}, flush=True); import time; time.sleep(600)"
    began_s = time.monotonic()
    facts = list(read_apart([sys.executable, "-c", program], timeout_s=10.0))
    assert facts == [("cpu", (CpuInfo("x", 1, 2),))]
    assert time.monotonic() - began_s < 300


@pytest.mark.parametrize("line", ["", "no JSON", '{"name": "soul", "fact": 1}', '{"name": "cpu", "fact": 1}'])
def test_what_another_process_should_not_say_is_left_out(line: str, caplog: pytest.LogCaptureFixture) -> None:
    assert list(read_apart([sys.executable, "-c", f"print({line!r})"])) == []
    assert "cannot be understood" in caplog.text


def test_a_process_that_cannot_be_started_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert list(read_apart(["/nowhere/at/all"])) == []
    assert "cannot be read" in caplog.text


def test_every_field_of_the_answer_has_a_reader() -> None:
    assert set(READERS) == set(HostInfoResponse.__dataclass_fields__)


def test_a_driver_that_hangs_does_not_hold_up_the_end_of_the_program() -> None:
    program = (
        "import asyncio, threading\n"
        "from aicn.upkeep.hardware import Hardware\n"
        "from aicn.upkeep.readers import read_facts\n"
        "readers = {'gpu': threading.Event().wait}\n"
        "asyncio.run(Hardware(lambda: read_facts(readers), timeout_s=0.05).read())\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)  # noqa: S603 - our own


def test_a_node_that_is_never_asked_loads_nothing_for_it() -> None:
    program = (
        "import json, sys, aicn.upkeep\n"
        "print(json.dumps([name for name in ('psutil', 'distro', 'pynvml') if name in sys.modules]))\n"
    )
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=30)  # noqa: S603
    assert json.loads(told.stdout) == []


@pytest.mark.parametrize(
    ("distribution", "like", "family"),
    [
        ("debian", "", "debian"),
        ("linuxmint", "ubuntu debian", "debian"),
        ("rocky", "rhel centos fedora", "rhel"),
        ("fedora", "", "fedora"),
        ("opensuse-leap", "suse opensuse", "suse"),
        ("manjaro", "arch", "arch"),
        ("nixos", "", "nixos"),
    ],
)
def test_families_of_distributions(distribution: str, like: str, family: str) -> None:
    assert family_of(distribution, like) == family


@pytest.mark.skipif(sys.platform != "linux", reason="reads os-release")
def test_a_distribution_is_read_from_its_own_files(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    text = 'ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\nNAME="Rocky Linux"\n'
    (tmp_path / "etc/os-release").write_text(text, encoding="utf-8")
    told = read_operating_system(tmp_path)
    assert (told.os, told.platform, told.platform_family, told.platform_version) == ("linux", "rocky", "rhel", "9.4")


@pytest.mark.skipif(sys.platform != "linux", reason="reads os-release")
def test_a_system_without_a_name_is_unknown(tmp_path: Path) -> None:
    told = read_operating_system(tmp_path)
    assert (told.os, told.platform, told.platform_family, told.platform_version) == ("linux", *["unknown"] * 3)
