"""The node's part in an upgrade: it waits until nothing is under way, and asks for its own end once."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from aicn import __version__
from aicn.clock import ManualClock
from aicn.config import ConfigFile, Role, create_node
from aicn.upkeep.upgrade.settings import UpgradeSettings, upgrade_settings
from aicn.upkeep.upgrade.state import State, StateFile
from aicn.upkeep.upgrade.upgrader import Upgrader
from support.releases import Publisher

DEADLINE_S = 20.0


class Requests:
    """Counts looks at what is under way; each look takes a tenth of a second of the clock."""

    def __init__(self, clock: ManualClock, under_way: Callable[[int], int]) -> None:
        self.looks = 0
        self._clock = clock
        self._under_way = under_way

    def __call__(self) -> int:
        self.looks += 1
        self._clock.advance(0.1)
        return self._under_way(self.looks)


def settings(home: Path) -> UpgradeSettings:
    return UpgradeSettings(
        source=str(home),
        public_key="",
        home=home,
        interval_s=0.02,
        health_timeout_s=1.0,
        probation_s=1.0,
        api_address="127.0.0.1:1",
        peer_id="nobody",
    )


async def test_it_waits_through_pauses_between_requests(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    publisher.publish(__version__)
    config_path = create_node(tmp_path, Role.WORKER).config_path
    raw = json.loads(config_path.read_text(encoding="utf-8"))
    raw["App"]["AutoUpgrade"]["TimeInterval"] = "20ms"
    config_path.write_text(json.dumps({**raw, "AICN": publisher.section()}), encoding="utf-8")
    own = upgrade_settings(ConfigFile.load(config_path).config)
    StateFile(own.state_path).change(lambda _: State(pending="9.0.0"))
    clock = ManualClock()
    # Every request but the last is followed by the next one within 0.5 s.
    requests = Requests(clock, lambda look: int(look % 6 == 1 and look < 40))
    asked: list[int] = []

    def restart() -> None:
        asked.append(requests.looks)

    async with asyncio.timeout(DEADLINE_S):
        await Upgrader(own, config_path, in_flight=requests, restart=restart, clock=clock).run()
    assert len(asked) == 1
    assert 37 + 9 <= asked[0] <= 37 + 13


async def test_where_looking_fails_nothing_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    StateFile(tmp_path / "state.json").change(lambda _: State(pending="9.0.0"))
    upgrader = Upgrader(settings(tmp_path), tmp_path / "gone.json", in_flight=lambda: 0, restart=pytest.fail)
    running = asyncio.create_task(upgrader.run())
    async with asyncio.timeout(DEADLINE_S):
        while not caplog.records:
            assert not running.done()
            await asyncio.sleep(0.02)
    done, _ = await asyncio.wait({running}, timeout=0.5)
    assert not done
    running.cancel()
    await asyncio.wait({running})


async def test_a_release_on_trial_looks_for_no_other(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json")
    file.change(lambda _: State(pending=__version__))
    upgrader = Upgrader(settings(tmp_path), tmp_path / "gone.json", in_flight=lambda: 0, restart=pytest.fail)
    running = asyncio.create_task(upgrader.run())
    done, _ = await asyncio.wait({running}, timeout=0.5)
    assert not done
    assert file.read().checked_unix_s == 0
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()


async def test_trouble_with_the_source_is_told_once_and_does_not_end_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="aicn.upkeep")
    upgrader = Upgrader(settings(tmp_path), tmp_path / "gone.json", in_flight=lambda: 0, restart=pytest.fail)
    running = asyncio.create_task(upgrader.run())
    async with asyncio.timeout(DEADLINE_S):
        while len(caplog.records) < 2:
            assert not running.done()
            await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.wait({running})
    levels = [record.levelno for record in caplog.records]
    assert levels[:2] == [logging.WARNING, logging.DEBUG]
    assert "gone.json" in caplog.records[0].getMessage()


async def test_a_look_that_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    upgrader = Upgrader(settings(tmp_path), tmp_path / "gone.json", in_flight=lambda: 0, restart=pytest.fail)
    running = asyncio.create_task(upgrader.run())
    me = psutil.Process()
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if children := [one for one in me.children() if "upgrade" in one.cmdline()]:
                break
            await asyncio.sleep(0.001)
    running.cancel()
    await asyncio.wait({running})
    assert [one for one in children if one.is_running()] == []
