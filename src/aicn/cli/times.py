"""Moments on a command line: a while from now, or a date and time."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from aicn.config import parse_duration
from aicn.errors import UsageError


def moment_unix_s(text: str, *, ahead: bool = False) -> float:
    """Return the moment that `text` means, in seconds since 1970 UTC.

    Args:
        text: a duration (24h, 90m), or a date and time, which is local where it names no zone.
        ahead: whether a duration leads into the future; else it leads back.

    Raises:
        UsageError: it is neither.
    """
    try:
        while_s = parse_duration(text)
    except ValueError:
        pass
    else:
        return time.time() + (while_s if ahead else -while_s)
    try:
        # Moments that have no date in UTC could be kept, and never shown.
        return datetime.fromisoformat(text).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is no time; write 24h, 90m, 2026-11-23 or 2026-11-23T17:30:00Z") from None
