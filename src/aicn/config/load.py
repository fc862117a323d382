"""The configuration file: read, checked, and rewritten without ever being half there."""

from __future__ import annotations

import asyncio
import copy
import sys
from collections.abc import Callable
from pathlib import Path

from aicn import defaults
from aicn.config.document import Raw, decode, read_document, unknown_keys, write_document
from aicn.config.replace import replace_file, writing
from aicn.config.schema import Config
from aicn.config.validate import validate
from aicn.errors import ConfigError

Change = Callable[[Raw], None]
"""Changes the JSON of a configuration in place. Called in a thread of its own, on a copy that nobody else has."""

LOAD_FAILED = "Failed to load JSON configuration file"
"""Begins every message about a file that cannot be read; the reference's words."""

INVALID = "Invalid configuration item"
"""Begins every message about a value that cannot be used; the reference's words."""


class ConfigFile:
    """A configuration file and what it said when it was last read or written.

    Use from one event loop. Several processes may write the same file; each change is applied to what is in the
    file at that moment. Only `AIProjects` is written whole, as its writer has it in memory, so that such a change is
    refused once another one has edited it.
    """

    def __init__(self, path: Path, config: Config, raw: Raw) -> None:
        """Take what was read; `load` is the way to make one."""
        self._path = path
        self._config = config
        self._raw = raw
        self._projects = config.ai_projects
        """As the owner of this object has them: those of the start, or of its own last change of them."""
        self._lock = asyncio.Lock()

    @classmethod
    def load(cls, path: Path) -> ConfigFile:
        """Read and check the file.

        Args:
            path: a file that `aicn init` or the reference has written, or one like it.

        Raises:
            ConfigError: it cannot be read, is no JSON, or holds a value that cannot be used.
        """
        raw, config = _read(path)
        return cls(path, config, raw)

    @property
    def path(self) -> Path:
        """Where the file is, as it was given."""
        return self._path

    @property
    def config(self) -> Config:
        """What the file said when it was last read or written by this object."""
        return self._config

    def notes(self) -> tuple[str, ...]:
        """Return sentences about what does not keep the file from being used, yet is likely not meant."""
        found = []
        if sys.platform != "win32" and self._path.stat().st_mode & 0o077:
            found.append(f"{self._path} holds a private key and others may read it; run chmod 600 on it")
        unknown = unknown_keys(self._raw)
        if unknown:
            shown = ", ".join(unknown[:10]) + (", …" if len(unknown) > 10 else "")  # noqa: PLR2004 - one line
            found.append(f"{self._path} has keys that mean nothing here: {shown}; correct their spelling")
        return tuple(found)

    async def update(self, change: Change) -> Config:
        """Apply `change` to what is in the file now and write the file, durably.

        When this returns, the change is on the disk. When it raises, the file is what it was, except after a
        cancellation: then the change is either written whole or not at all, and `config` says which.

        Args:
            change: changes the JSON in place; runs in a thread, so it must touch nothing but its argument.

        Returns:
            The new configuration.

        Raises:
            ConfigError: the file cannot be read or written, is not valid with or without the change, or the change is
                one of `AIProjects`, which somebody else has edited.
            AicnError: `change` raised it.
        """
        async with self._lock:
            job = asyncio.ensure_future(asyncio.to_thread(self._rewrite, change))
            try:
                return await asyncio.shield(job)
            except asyncio.CancelledError:
                await _settled(job)
                raise

    def _rewrite(self, change: Change) -> Config:
        # A link to the file stays a link; the file behind it is replaced.
        target = self._path.resolve()
        with writing(target.parent):
            before, config_before = _read(self._path)
            raw = copy.deepcopy(before)
            change(raw)
            config = _check(self._path, raw)
            changes_models = config.ai_projects != config_before.ai_projects
            if changes_models and config_before.ai_projects != self._projects:
                raise ConfigError(
                    f"AIProjects in {self._path} was edited since the node read it, and was left as it is; restart the "
                    "node to take the edit, or undo it, and try again"
                )
            if raw != before:
                data = write_document(raw)
                if len(data) > defaults.CONFIG_MAX_BYTES:
                    raise ConfigError(
                        f"{self._path} would grow beyond {defaults.CONFIG_MAX_BYTES // 1_048_576} MiB; "
                        "it was left as it is"
                    )
                try:
                    replace_file(target, data)
                except OSError as error:
                    raise ConfigError(
                        f"{self._path} cannot be written ({error.strerror}) and was left as it is; "
                        "check its folder and the space on its disk"
                    ) from error
            # Under the file's lock, so that the last writer is also the last to be shown.
            self._raw, self._config = raw, config
            if changes_models:
                self._projects = config.ai_projects
        return config


async def _settled(job: asyncio.Future[Config]) -> None:
    """Wait until `job` has ended, however often the waiting task is cancelled; its error goes with the cancellation."""
    while not job.done():
        try:
            await asyncio.wait({job})
        except asyncio.CancelledError:
            continue
    if not job.cancelled():
        job.exception()


def _read(path: Path) -> tuple[Raw, Config]:
    try:
        with path.open("rb") as file:
            data = file.read(defaults.CONFIG_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{LOAD_FAILED}: {path}: {reason}; make one with `aicn init`") from None
    try:
        raw = read_document(data)
    except ConfigError as error:
        raise ConfigError(f"{LOAD_FAILED}: {path}: {error}") from None
    return raw, _check(path, raw)


def _check(path: Path, raw: Raw) -> Config:
    try:
        config = decode(raw)
        validate(config)
    except ConfigError as error:
        raise ConfigError(f"{INVALID}: {path}: {error}") from None
    return config
