"""Whether the URL of a model leads to this machine.

A node forwards requests of strangers to the URLs that are registered on it. If one led elsewhere, the node
would be an open door into its owner's network. A name that resolves here today may resolve elsewhere
tomorrow, so names are not resolved: only literal addresses, `localhost` and the machine's own name pass.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from aicn import defaults
from aicn.errors import InvalidModel, NotSameMachine

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_FOREIGN: Final = "the url and the node are not on the same machine"
"""The reference's words; clients match them."""

_URL: Final = re.compile(r"https?://[!-~]+", re.IGNORECASE)
"""Printable ASCII without a space: what is left can be read in one way only."""

_AUTHORITY: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::(?P<port>[0-9]{1,5}))?")
"""Host and port, with neither user nor password, percent-escapes nor IPv6 zone."""

_ANY_PORT: Final = 9
"""Discard. Nothing is sent to it."""

_MAX_PORT: Final = 65_535


def is_own_address(address: IpAddress) -> bool:
    """Tell whether `address` belongs to an interface of this machine, loopback included.

    The kernel is asked: a datagram socket aimed at an own address gets that same address as its source, and
    never does when aimed at another machine, a broadcast or a multicast address. No packet is sent.
    """
    if address.is_loopback:  # all of 127.0.0.0/8, whose source is always 127.0.0.1
        return True
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET  # noqa: PLR2004 - the version of IP
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), _ANY_PORT))
            source = ipaddress.ip_address(probe.getsockname()[0])
    except OSError:  # no route to it, or the family is switched off: not of this machine
        return False
    return source == address


def check_model_url(url: str, *, is_own: Callable[[IpAddress], bool] = is_own_address) -> None:
    """Check that `url` can be called and leads to this machine.

    Args:
        url: where requests for a model will be sent; its path and query are kept as they are.
        is_own: tells whether an address is of this machine.

    Raises:
        InvalidModel: not a plain http or https URL, or longer than `defaults.MODEL_API_MAX_BYTES`.
        NotSameMachine: its host is another machine, or a name that might be.
    """
    if not url:
        raise InvalidModel("model api can not be empty")
    if len(url) > defaults.MODEL_API_MAX_BYTES:
        raise InvalidModel(f"model api is longer than {defaults.MODEL_API_MAX_BYTES} bytes; register a shorter URL")
    # A backslash is a slash to some parsers and part of the host to others.
    if not _URL.fullmatch(url) or "\\" in url or "#" in url:
        raise InvalidModel(f"model api {url!r} is not a URL like http://127.0.0.1:8000/v1/chat/completions")
    try:
        authority = _AUTHORITY.fullmatch(urlsplit(url).netloc)
    except ValueError:  # brackets that do not hold an IPv6 address
        authority = None
    if authority is None:
        raise InvalidModel(f"model api {url!r} needs a plain host and port, as in http://127.0.0.1:8000/")
    port = authority["port"]
    if port is not None and not 1 <= int(port) <= _MAX_PORT:
        raise InvalidModel(f"model api {url!r} has no port from 1 to {_MAX_PORT}")
    if not _is_this_machine(authority["host"], is_own):
        raise NotSameMachine(_FOREIGN)


def _is_this_machine(host: str, is_own: Callable[[IpAddress], bool]) -> bool:
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host.lower() in {"localhost", socket.gethostname().lower()}
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return is_own(mapped or address)
