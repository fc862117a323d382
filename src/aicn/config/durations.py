"""Durations as Go writes and reads them: `1h30m`, `500ms`, `284.017µs`."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_NANOSECONDS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # micro sign
    "μs": 1_000,  # Greek mu
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART: Final = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_WHOLE: Final = re.compile(rf"[+-]?(?:{_PART.pattern})+")
_MAX_LENGTH: Final = 64
_MAX_NS: Final = 2**63 - 1
"""Go counts in 64-bit nanoseconds: 292 years."""


def parse_duration(text: str) -> float:
    """Return the seconds that `text` stands for; negative ones too.

    Args:
        text: numbers with a unit each (`h`, `m`, `s`, `ms`, `us`, `µs`, `ns`), with a sign or without; or `0`.

    Raises:
        ValueError: it is no such text, or longer than 292 years.
    """
    if text in {"0", "+0", "-0"}:
        return 0.0
    if len(text) > _MAX_LENGTH or _WHOLE.fullmatch(text) is None:
        raise ValueError(f"{text[:_MAX_LENGTH]!r} is no duration")
    total_ns = sum(Decimal(number) * _NANOSECONDS[unit] for number, unit in _PART.findall(text))
    if total_ns > _MAX_NS:
        raise ValueError(f"{text!r} is longer than 292 years")
    seconds = float(total_ns) / 1e9
    return -seconds if text.startswith("-") else seconds


def format_duration(seconds: float) -> str:
    """Return `seconds`, to the nanosecond, as Go prints it: `1h30m0s`, `2.5ms`, `0s`."""
    total_ns = round(seconds * 1e9)
    sign = "-" if total_ns < 0 else ""
    total_ns = abs(total_ns)
    if total_ns == 0:
        return "0s"
    for unit in ("ns", "µs", "ms"):
        size_ns = _NANOSECONDS[unit]
        if total_ns < size_ns * 1_000:
            return f"{sign}{_decimal(total_ns, size_ns)}{unit}"
    minutes, rest_ns = divmod(total_ns, _NANOSECONDS["m"])
    text = f"{_decimal(rest_ns, _NANOSECONDS['s'])}s"
    if minutes:
        hours, minutes = divmod(minutes, 60)
        text = f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}"
    return sign + text


def _decimal(number: int, size: int) -> str:
    """Return `number / size` exactly; `size` is a power of ten."""
    whole, rest = divmod(number, size)
    if not rest:
        return str(whole)
    return f"{whole}.{str(rest).zfill(len(str(size)) - 1).rstrip('0')}"
