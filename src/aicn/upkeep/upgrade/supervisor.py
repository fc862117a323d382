"""`aicn run` where upgrades are on: a small process that starts the node, and swaps its release when asked.

The node ends with `RESTART_STATUS` when a release is pending and it is idle. The supervisor starts the release, asks
the API until it answers, and watches it for its probation. Only then the release becomes the current one; if it ends,
or stays silent, the former one is started again and the release is never tried again. The state is on disk at every
step: a power cut in the middle leaves the former release or the new one, and a release that takes the machine down
with it is given up after `defaults.UPGRADE_MAX_ATTEMPTS`.

The supervisor holds the other end of the node's standard input: when the supervisor ends, however it ends, the node
is told to stop.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from aicn import __version__, defaults
from aicn.errors import UpgradeError
from aicn.filelock import FileLock
from aicn.upkeep.upgrade.health import is_healthy
from aicn.upkeep.upgrade.releases import Releases, command, environment
from aicn.upkeep.upgrade.settings import RESTART_STATUS, UpgradeSettings
from aicn.upkeep.upgrade.state import State, StateFile
from aicn.upkeep.upgrade.version import Version

_log = logging.getLogger("aicn.upkeep")

_POLL_S: Final = 0.2
"""Between two looks at a release on trial."""

_KILLED: Final = 130
"""Exit status when a second signal ended the node at once; `aicn run` has the same."""

_FAILED: Final = 1


class _Stopped(Exception):
    """A signal has asked to stop while a release was on trial."""


class Supervisor:
    """Runs one node, in whichever release is the current one."""

    def __init__(self, settings: UpgradeSettings, config_path: Path, *, own_version: str = __version__) -> None:
        """Run the node of the configuration file at `config_path`; `own_version` is that of the installed program.

        Raises:
            UpgradeError: the API has no fixed port, so that a new release could not be asked how it is.
        """
        if settings.api_address.endswith(":0"):
            raise UpgradeError("upgrades need to know where the API is; give API.Addr a port other than 0")
        self._settings = settings
        self._config_path = config_path.resolve()
        self._own = Version.parse(own_version)
        self._state = StateFile(settings.state_path)
        self._releases = Releases(settings.home)
        self._child: subprocess.Popen[bytes] | None = None
        self._signals = 0

    def run(self) -> int:
        """Run until the node ends for another reason than an upgrade, or a signal asks to stop.

        Must be called in the main thread.

        Returns:
            The exit status of the node.

        Raises:
            UpgradeError: another supervisor runs this node.
        """
        self._settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(self._settings.home / "supervisor.lock")
        if not lock.acquire():
            raise UpgradeError(f"another process runs this node ({self._settings.home} is locked); stop it first")
        try:
            with self._signals_taken():
                return self._run()
        finally:
            self._end_child()
            lock.release()

    def _run(self) -> int:
        while True:
            pending = self._remembered().pending
            try:
                child = self._try(pending) if pending else self._start(self._current())
            except _Stopped:
                return self._status()
            if child is None:
                continue
            child.wait()
            if self._signals or child.returncode != RESTART_STATUS:
                return self._status()
            if not self._remembered().pending:
                _log.error("the node asked for a release to be started, and none is pending")
                return _FAILED

    def _status(self) -> int:
        status = self._child.returncode if self._child is not None else _FAILED
        if self._signals > 1:
            return _KILLED
        return status if status >= 0 else 128 - status

    # --- releases -----------------------------------------------------------------------------------------

    def _current(self) -> str:
        """Return the release to run; "" for the installed program, which may have become the newer by hand."""
        current = self._remembered().current
        if not current or Version.parse(current) <= self._own:
            return ""
        if not self._releases.has(current):
            _log.warning("release %s is gone, or was made for another Python; the installed program runs", current)
            return ""
        return current

    def _try(self, version: str) -> subprocess.Popen[bytes] | None:
        """Start a release; return it once it has proven itself, or None when it was given up.

        Where nothing can be written, nothing is tried: the current release is started and returned instead.

        Raises:
            _Stopped: a signal came; the release is tried again at the next start.
        """
        attempts = self._remembered().attempts
        if Version.parse(version) <= self._own or not self._releases.has(version):
            written = self._remember(lambda now: replace(now, pending="", attempts=0))
            return None if written else self._start(self._current())
        if attempts >= defaults.UPGRADE_MAX_ATTEMPTS:
            written = self._give_up(version, f"its trial came to no end {attempts} times")
            return None if written else self._start(self._current())
        if not self._remember(lambda now: replace(now, attempts=now.attempts + 1)):
            return self._start(self._current())
        _log.info("trying release %s", version)
        child = self._start(version)
        failure = self._failure_of(child)
        if self._signals:
            self._end_child()
            self._remember(lambda now: replace(now, attempts=max(0, now.attempts - 1)))
            raise _Stopped
        if failure:
            self._end_child()
            self._give_up(version, failure)
            return None
        former = self._current()
        self._releases.keep_only({version, former})
        self._remember(
            lambda now: replace(
                now, current=version, previous=former, pending="", attempts=0, outcome=f"{version} was taken"
            )
        )
        _log.info("release %s is healthy and is the current one now", version)
        return child

    def _failure_of(self, child: subprocess.Popen[bytes]) -> str:
        """Watch a release on trial and return why it failed; "" if it did not, or a signal came."""
        settings = self._settings

        def answers() -> bool:
            return is_healthy(settings.api_address, settings.peer_id, tls=settings.api_tls)

        if not self._until(answers, settings.health_timeout_s, child):
            return self._end_of(child) or f"its API did not answer within {settings.health_timeout_s:g} s"
        self._until(lambda: False, settings.probation_s, child)
        if self._signals or child.poll() is not None:
            return self._end_of(child)
        return "" if answers() or self._until(answers, settings.health_timeout_s, child) else "its API fell silent"

    def _until(self, ready: Callable[[], bool], timeout_s: float, child: subprocess.Popen[bytes]) -> bool:
        """Wait until `ready`, at most `timeout_s`, while the child lives and no signal has come."""
        deadline_s = time.monotonic() + timeout_s
        while child.poll() is None and not self._signals:
            if ready():
                return True
            if time.monotonic() >= deadline_s:
                return False
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_POLL_S)
        return False

    def _end_of(self, child: subprocess.Popen[bytes]) -> str:
        return "" if child.poll() is None or self._signals else f"it ended with status {child.returncode}"

    def _give_up(self, version: str, reason: str) -> bool:
        _log.error("release %s is given up: %s; the former one runs again", version, reason)
        written = self._remember(lambda now: now.with_bad(version, reason))
        state = self._remembered()
        self._releases.keep_only({state.current, state.previous, state.pending})
        return written

    def _remembered(self) -> State:
        """Return what is remembered; where that cannot be read, the installed program does the node's work."""
        try:
            return self._state.read()
        except UpgradeError as error:
            _log.error("%s", error)
            return State()

    def _remember(self, change: Callable[[State], State]) -> bool:
        """Write what `change` makes of the state; a full disk must not keep a node from running.

        Returns:
            Whether it is written.
        """
        try:
            self._state.change(change)
        except UpgradeError as error:
            _log.error("%s", error)
            return False
        return True

    # --- the node's process -------------------------------------------------------------------------------

    def _start(self, version: str) -> subprocess.Popen[bytes]:
        self._child = subprocess.Popen(  # noqa: S603 - our own words
            command("run", "-c", str(self._config_path)),
            env=environment(self._releases.path(version) if version else None, supervised=True),
            stdin=subprocess.PIPE,
            bufsize=0,  # closed by a signal handler, maybe while it is being closed
            # Ctrl-C is for the supervisor alone: a node takes a second signal for impatience.
            start_new_session=True,
        )
        if self._signals:
            self._ask_to_stop()
        return self._child

    def _ask_to_stop(self) -> None:
        child = self._child
        if child is not None and child.stdin is not None:
            with contextlib.suppress(OSError):
                child.stdin.close()

    def _end_child(self) -> None:
        child = self._child
        if child is None or child.poll() is not None:
            return
        self._ask_to_stop()
        try:
            child.wait(defaults.UPGRADE_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    @contextlib.contextmanager
    def _signals_taken(self) -> Iterator[None]:
        names = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(one, self._asked) for one in names]
        try:
            yield
        finally:
            for one, handler in zip(names, before, strict=True):
                signal.signal(one, handler)

    def _asked(self, *_: object) -> None:
        self._signals += 1
        if self._signals == 1:
            self._ask_to_stop()
        elif self._child is not None:
            self._child.kill()
