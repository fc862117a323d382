"""The pre-shared key of a private network."""

from __future__ import annotations

import re
import secrets

from aicn.errors import IdentityError

_HEX = re.compile(r"[0-9a-fA-F]{64}")


class PreSharedKey:
    """32 bytes that every node of a private network holds. Never shown by repr, str or a traceback.

    Source: the libp2p specification of private networks (pnet), version 1.
    """

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        """Take the 32 bytes.

        Raises:
            IdentityError: they are not 32.
        """
        if len(raw) != 32:  # noqa: PLR2004
            raise IdentityError(f"a pre-shared key has 32 bytes, not {len(raw)}")
        self._raw = raw

    @classmethod
    def from_hex(cls, text: str) -> PreSharedKey:
        """Read 64 hexadecimal digits.

        Raises:
            IdentityError: they are not.
        """
        if _HEX.fullmatch(text) is None:
            raise IdentityError("a pre-shared key is written as 64 hexadecimal digits; make one with `aicn host -psk`")
        return cls(bytes.fromhex(text))

    @classmethod
    def generate(cls) -> PreSharedKey:
        """Return a new random key."""
        return cls(secrets.token_bytes(32))

    @property
    def raw(self) -> bytes:
        """The 32 bytes."""
        return self._raw

    @property
    def hex(self) -> str:
        """The 64 digits, lower case."""
        return self._raw.hex()

    def __repr__(self) -> str:
        """Hide the key."""
        return "PreSharedKey(hidden)"

    def __eq__(self, other: object) -> bool:
        """Compare in constant time."""
        return isinstance(other, PreSharedKey) and secrets.compare_digest(self._raw, other._raw)

    def __hash__(self) -> int:
        """Hash the key."""
        return hash(self._raw)
