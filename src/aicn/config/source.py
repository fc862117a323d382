"""Where releases may come from: `AICN.Upgrade.Source`."""

from __future__ import annotations

import urllib.parse
from pathlib import Path
from typing import Final

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def check_source(text: str) -> str | None:
    """Return what is wrong with `AICN.Upgrade.Source`, or None."""
    if "://" not in text:
        return None if Path(text).expanduser().is_absolute() else "write the whole path of a folder, or a URL"
    try:
        parts = urllib.parse.urlsplit(text)
        host = parts.hostname
    except ValueError:
        return "write a folder or a URL"
    if parts.query or parts.fragment:
        return "write a URL without a query"
    if parts.scheme == "file":
        return None if parts.netloc in {"", "localhost"} else "write file:///folder"
    if parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK):
        return None if host else "name a host"
    return "use https://, file:// or a folder; http:// only to this machine"
