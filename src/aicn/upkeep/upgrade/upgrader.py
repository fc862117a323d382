"""The node's part in upgrades: looks at the source from time to time, and ends the node when it is idle."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

from aicn import __version__, defaults
from aicn.clock import Clock, SystemClock
from aicn.errors import UpgradeError
from aicn.upkeep.upgrade.releases import command, environment
from aicn.upkeep.upgrade.settings import UpgradeSettings
from aicn.upkeep.upgrade.state import State, StateFile

_log = logging.getLogger("aicn.upkeep")

_ANSWER_MAX_CHARS: Final = 1_000
"""Of what `aicn upgrade apply` says, in the log."""

_IDLE_POLL_S: Final = 0.1
"""Between two looks at whether requests are under way: cheap, and only while a release waits."""

_SPREAD: Final = 0.1
"""Looks at the source are up to so much earlier or later: a thousand nodes do not come in one second."""


class Upgrader:
    """Runs as long as the node does, under a supervisor."""

    def __init__(
        self,
        settings: UpgradeSettings,
        config_path: Path,
        *,
        in_flight: Callable[[], int],
        restart: Callable[[], None],
        clock: Clock | None = None,
    ) -> None:
        """Look for releases.

        Args:
            settings: where, and how often.
            config_path: the node's configuration file, as `aicn upgrade apply` is to read it.
            in_flight: how many requests are under way now.
            restart: ends the node with `RESTART_STATUS`; called once, while nothing is in flight.
            clock: for waits.
        """
        self._settings = settings
        self._config_path = config_path
        self._in_flight = in_flight
        self._restart = restart
        self._clock = clock or SystemClock()
        self._state = StateFile(settings.state_path)
        self._told = ""

    async def run(self) -> None:
        """Look, wait, and return after having asked for a restart. Failures are logged; the next look comes."""
        state = await self._read()
        if state.outcome:
            failed = any(version in state.outcome for version in state.bad)
            _log.log(logging.WARNING if failed else logging.INFO, "upgrades: %s", state.outcome)
        await self._pause(min(self._settings.interval_s, defaults.UPGRADE_FIRST_LOOK_S))
        # The supervisor still watches this release: nothing is asked of it that is not needed to live.
        while (await self._read()).pending == __version__:
            await self._pause(min(self._settings.interval_s, defaults.UPGRADE_FIRST_LOOK_S))
        while True:
            looked = await self._look()
            pending = (await self._read()).pending
            # Where looking fails, trying would: the disk may be full.
            if looked and pending and pending != __version__:
                _log.info("release %s is ready; it is taken as soon as no request is under way", pending)
                await self._idle(pending)
                _log.info("stopping to take release %s", pending)
                self._restart()
                return
            await self._pause(self._settings.interval_s)

    async def _look(self) -> bool:
        """Run `aicn upgrade apply`, a process that takes no memory and no time of the node's; tell how it went."""
        process = await asyncio.create_subprocess_exec(
            *command("upgrade", "apply", "-c", str(self._config_path)),
            env=environment(None),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(defaults.UPGRADE_APPLY_TIMEOUT_S):
                said, _ = await process.communicate()
        except TimeoutError:
            _log.warning("looking for a release took longer than %g s", defaults.UPGRADE_APPLY_TIMEOUT_S)
            return False
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        words = said.decode(errors="replace").strip()[-_ANSWER_MAX_CHARS:]
        # The same trouble every hour is told once.
        level = logging.DEBUG if words == self._told else logging.WARNING if process.returncode else logging.INFO
        self._told = words
        _log.log(level, "looked for a release: %s", words.removeprefix("aicn: "))
        return process.returncode == 0

    async def _idle(self, pending: str) -> None:
        """Wait until no request has been under way for `defaults.UPGRADE_QUIET_S`, however long that takes."""
        waiting_since_s = quiet_since_s = self._clock.monotonic()
        while (now_s := self._clock.monotonic()) < quiet_since_s + defaults.UPGRADE_QUIET_S:
            if self._in_flight():
                quiet_since_s = now_s + _IDLE_POLL_S
            if now_s > waiting_since_s + defaults.UPGRADE_WAIT_TOLD_S:
                _log.warning("release %s still waits: requests are always under way; restart the node by hand", pending)
                waiting_since_s = now_s
            await asyncio.sleep(_IDLE_POLL_S)

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds * random.uniform(1 - _SPREAD, 1 + _SPREAD))  # noqa: S311 - no secret

    async def _read(self) -> State:
        try:
            return await asyncio.to_thread(self._state.read)
        except UpgradeError as error:
            _log.warning("%s", error)
            return State()
