"""The checks that sections of a configuration share. Each names the key path, shows the value and says what to do."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from aicn.config.durations import parse_duration
from aicn.errors import ConfigError

_HOST_PORT: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^:\[\]\s/]*):(?P<port>[0-9]{1,5})", re.ASCII)
_MAX_PORT: Final = 65_535
_SHOWN_MAX: Final = 120
"""Characters of a wrong value that are shown."""


def check_host_port(path: str, addr: str) -> None:
    """Check that `addr` is `host:port`."""
    found = _HOST_PORT.fullmatch(addr)
    if found is None or int(found["port"]) > _MAX_PORT:
        raise wrong(path, addr, "write host:port, e.g. 127.0.0.1:7002")


def check_choice(path: str, value: str, choices: Collection[str]) -> None:
    """Check that `value` is one of `choices`."""
    if value not in choices:
        raise wrong(path, value, f"use one of {', '.join(choices)}")


def check_duration(path: str, text: str, *, positive: bool = False) -> None:
    """Check that `text` is a duration, above zero if it must be `positive`."""
    try:
        seconds = parse_duration(text)
    except ValueError:
        raise wrong(path, text, "write a duration, e.g. 90s, 1h30m or 500ms") from None
    if seconds < 0 or (positive and seconds == 0):
        raise wrong(path, text, f"use a duration {'above zero' if positive else 'of zero or more'}")


def wrong(path: str, value: object, advice: str) -> ConfigError:
    """Return the refusal of `value`."""
    shown = repr(value)
    if len(shown) > _SHOWN_MAX:
        shown = f"{shown[:_SHOWN_MAX]}…"
    return ConfigError(f"{path} is {shown}; {advice}")
