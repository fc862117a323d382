"""Who may ask through a proxy for what: nobody by accident."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final, NamedTuple

from aicn.errors import MalformedFrame, UsageError
from aicn.tools.proxy_message import Authority, parse_authority

ANY: Final = "*"
"""As a target: every host and port that this machine can reach."""

_ANY_PORT: Final = 0


class _Rule(NamedTuple):
    host: str
    port: int


class AllowedTargets:
    """The servers that a far side makes requests to; by default those of its own machine."""

    def __init__(self, rules: Iterable[str] = ()) -> None:
        """Allow what `rules` name, each `HOST`, `HOST:PORT` or `*`; without any: loopback, every port.

        Raises:
            UsageError: a rule is of another form.
        """
        self._rules = tuple(dict.fromkeys(map(_rule, rules)))

    def permit(self, target: Authority) -> bool:
        """Tell whether `target` may be asked. Names are compared as they are written, never resolved."""
        host = _canonical(target.host)
        if not self._rules:
            return _is_loopback(host)
        return any(rule.host in {ANY, host} and rule.port in {_ANY_PORT, target.port} for rule in self._rules)

    @property
    def everything(self) -> bool:
        """Whether there is nothing that may not be asked."""
        return _Rule(ANY, _ANY_PORT) in self._rules

    def __str__(self) -> str:
        """Name what is allowed, for people."""
        if not self._rules:
            return "this machine (loopback)"
        return ", ".join(rule.host if rule.port == _ANY_PORT else str(Authority(*rule)) for rule in self._rules)


def _rule(text: str) -> _Rule:
    if text == ANY:
        return _Rule(ANY, _ANY_PORT)
    try:
        with_port, without_port = (parse_authority(text, default_port=port) for port in (1, 2))
    except MalformedFrame:
        raise UsageError(f"{text!r} is not HOST, HOST:PORT or {ANY}") from None
    return _Rule(_canonical(with_port.host), with_port.port if with_port == without_port else _ANY_PORT)


def _canonical(host: str) -> str:
    """Return an address in its one canonical form, a name as it is."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
