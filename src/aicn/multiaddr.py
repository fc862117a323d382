"""Multiaddrs and peer ids in text form: checked and taken apart without touching the network.

Sources: the multiaddr specification (protocol names and their values) and the libp2p peer id specification
(base58btc of a multihash; keys of up to 42 bytes are inlined with the identity hash).
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable

from aicn.errors import AddressError
from aicn.ids import Multiaddr, PeerId

MAX_ADDR_LENGTH = 1_024
"""Longest multiaddr in characters: a relayed address with two peer ids has about 150."""

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS = {digit: value for value, digit in enumerate(_ALPHABET)}
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")
_MAX_PORT = 65_535
_MAX_PEER_ID_LENGTH = 128

_IDENTITY_HASH = 0x00
_SHA2_256 = 0x12
_SHA2_256_BYTES = 32


def base58_encode(data: bytes) -> str:
    """Return `data` in base58btc."""
    number = int.from_bytes(data)
    digits = []
    while number:
        number, digit = divmod(number, 58)
        digits.append(_ALPHABET[digit])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + "".join(reversed(digits))


def base58_decode(text: str) -> bytes:
    """Return the bytes that `text` is the base58btc of.

    Raises:
        AddressError: a character is not of the alphabet.
    """
    number = 0
    for character in text:
        if (digit := _DIGITS.get(character)) is None:
            raise AddressError(f"{character!r} is no base58 character")
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8)


def parse_peer_id(text: str) -> PeerId:
    """Return `text` as a peer id.

    Raises:
        AddressError: it is none.
    """
    if not text or len(text) > _MAX_PEER_ID_LENGTH:
        raise AddressError(f"failed to parse peer id {text[:64]!r}: it must have 1 to {_MAX_PEER_ID_LENGTH} characters")
    try:
        multihash = base58_decode(text)
    except AddressError as error:
        raise AddressError(f"failed to parse peer id {text!r}: {error}") from None
    if len(multihash) < 2 or multihash[1] != len(multihash) - 2:  # noqa: PLR2004 - code and length take one byte each
        raise AddressError(f"failed to parse peer id {text!r}: it is no multihash")
    if multihash[0] not in {_IDENTITY_HASH, _SHA2_256} or (
        multihash[0] == _SHA2_256 and multihash[1] != _SHA2_256_BYTES
    ):
        raise AddressError(f"failed to parse peer id {text!r}: its hash is neither identity nor sha2-256")
    return PeerId(text)


def _ip4(value: str) -> bool:
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        return False
    return True


def _ip6(value: str) -> bool:
    try:
        ipaddress.IPv6Address(value)
    except ValueError:
        return False
    return "%" not in value


def _host_name(value: str) -> bool:
    return len(value) <= 253 and _HOST_NAME.fullmatch(value) is not None  # noqa: PLR2004 - RFC 1035


def _port(value: str) -> bool:
    return value.isascii() and value.isdecimal() and int(value) <= _MAX_PORT


def _peer(value: str) -> bool:
    try:
        parse_peer_id(value)
    except AddressError:
        return False
    return True


_VALUES: dict[str, Callable[[str], bool] | None] = {
    "ip4": _ip4,
    "ip6": _ip6,
    "dns": _host_name,
    "dns4": _host_name,
    "dns6": _host_name,
    "dnsaddr": _host_name,
    "tcp": _port,
    "udp": _port,
    "quic-v1": None,
    "ws": None,
    "wss": None,
    "p2p": _peer,
    "p2p-circuit": None,
}
"""Each protocol and the check of its value; None: it has none."""

_HOSTS = frozenset({"ip4", "ip6", "dns", "dns4", "dns6"})


def parse(text: str) -> Multiaddr:
    """Return `text` as a multiaddr.

    Raises:
        AddressError: it is none, or of a protocol that is not known here.
    """
    _split(text)
    return Multiaddr(text)


def peer_of(addr: Multiaddr) -> PeerId | None:
    """Return the peer that `addr` leads to: the value of its last part, if that is /p2p."""
    parts = _split(addr)
    return PeerId(parts[-1][1]) if parts[-1][0] == "p2p" else None


def without_peer(addr: Multiaddr) -> Multiaddr:
    """Return `addr` without the /p2p part at its end."""
    peer = peer_of(addr)
    return addr if peer is None else Multiaddr(addr.removesuffix(f"/p2p/{peer}"))


def with_peer(addr: Multiaddr, peer: PeerId) -> Multiaddr:
    """Return `addr` with `/p2p/peer` at its end, in place of another."""
    return Multiaddr(f"{without_peer(addr)}/p2p/{peer}")


def is_relayed(addr: Multiaddr) -> bool:
    """Tell whether `addr` leads through a relay."""
    return any(name == "p2p-circuit" for name, _ in _split(addr))


def host_port(addr: Multiaddr) -> tuple[str, int] | None:
    """Return the host and the TCP port that `addr` begins with; None if it begins otherwise."""
    parts = _split(addr)
    if len(parts) >= 2 and parts[0][0] in _HOSTS and parts[1][0] == "tcp":  # noqa: PLR2004 - host and port
        return parts[0][1], int(parts[1][1])
    return None


def _split(text: str) -> list[tuple[str, str]]:
    def fail(reason: str) -> AddressError:
        # Quoted so that whatever it holds stays on one line.
        return AddressError(f"failed to parse multiaddr {json.dumps(text[:256])}: {reason}")

    if not text.startswith("/"):
        raise fail("must begin with /")
    if len(text) > MAX_ADDR_LENGTH:
        raise fail(f"it is longer than {MAX_ADDR_LENGTH} characters")
    parts = []
    names = iter(text[1:].split("/"))
    for name in names:
        if name not in _VALUES:
            raise fail(f"unknown protocol {name!r}")
        check = _VALUES[name]
        value = ""
        if check is not None:
            value = next(names, "")
            if not check(value):
                raise fail(f"{value!r} is no value of {name}")
        parts.append((name, value))
    return parts
