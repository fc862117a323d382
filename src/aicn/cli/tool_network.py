"""Which network a tool is in: the options that several tools share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from aicn.config import PUBLIC_NETWORK_PSK, ConfigFile
from aicn.errors import UsageError
from aicn.identity import PreSharedKey

_Command = TypeVar("_Command", bound=Callable[..., Any])

NO_PSK: Final = "none"
"""Given as the key, it means a network that has none."""


def network_options(command: _Command) -> _Command:
    """Add `--config` and `--psk`, which reach the command as `config_path` and `psk`."""
    psk = click.option(
        "--psk",
        metavar="HEX",
        envvar="AICN_PSK",
        help=f"The network's pre-shared key, {NO_PSK!r} for a network without one. What stands on a command line "
        "others on this machine can read: use --config or the variable AICN_PSK for a key that is secret.",
    )
    config = click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        help="A node's configuration file, to be in the same network as it.  [default: the network of `aicn init`]",
    )
    return config(psk(command))


def network_psk(config_path: Path | None, psk: str | None) -> bytes | None:
    """Return the pre-shared key that the options mean; None for a network without one.

    Raises:
        UsageError: both were given.
        ConfigError, IdentityError: what was given cannot be used.
    """
    if config_path is not None:
        if psk is not None:
            raise UsageError("--config and --psk both name a network; give one of them")
        psk = ConfigFile.load(config_path).config.app.pre_shared_key or NO_PSK
    if psk is None:
        psk = PUBLIC_NETWORK_PSK
    return None if psk.lower() == NO_PSK else PreSharedKey.from_hex(psk).raw
