"""The keys of a publisher: one signs releases and is kept offline, the other stands in every node's configuration."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import Final

from aicn.errors import UpgradeError

PUBLIC_KEY_BYTES: Final = 32
"""RFC 8032, section 5.1.5."""

SIGNATURE_BYTES: Final = 64
"""RFC 8032, section 5.1.6."""

_KEY_FILE_MAX_BYTES: Final = 4_096
"""A private key in PEM takes 119 bytes."""


def create_key(path: Path) -> str:
    """Make a new signing key in a file that only its owner can read.

    Args:
        path: where; nothing may be there yet.

    Returns:
        The public key in base64, for `AICN.Upgrade.PublicKey`.

    Raises:
        UpgradeError: the file is there or cannot be written.
    """
    # A node loads none of this: it runs `aicn upgrade apply` for what takes keys.
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
    except OSError as error:
        raise UpgradeError(f"the key {path} cannot be made ({error.strerror}); choose another name") from error
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def public_key_of(path: Path) -> str:
    """Return the public key, in base64, that belongs to a signing key.

    Raises:
        UpgradeError: the file holds no signing key.
    """
    return base64.b64encode(_load(path).public_key().public_bytes_raw()).decode()


def sign(path: Path, message: bytes) -> bytes:
    """Sign with the key in a file.

    Raises:
        UpgradeError: the file holds no signing key.
    """
    signature: bytes = _load(path).sign(message)
    return signature


def is_signed(public_key: str, message: bytes, signature: bytes) -> bool:
    """Tell whether the holder of a key has signed `message`.

    Args:
        public_key: in base64.
        message: what was signed.
        signature: 64 bytes.

    Raises:
        UpgradeError: `public_key` is none.
    """
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    try:
        raw = base64.b64decode(public_key, validate=True)
        key = Ed25519PublicKey.from_public_bytes(raw)
    except (ValueError, binascii.Error) as error:
        raise UpgradeError("AICN.Upgrade.PublicKey is no key; `aicn upgrade keygen` shows one") from error
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _load(path: Path):  # type: ignore[no-untyped-def]  # noqa: ANN202 - the type would load the library
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        with path.open("rb") as file:
            key = load_pem_private_key(file.read(_KEY_FILE_MAX_BYTES), password=None)
    except OSError as error:
        raise UpgradeError(f"the key {path} cannot be read ({error.strerror})") from error
    except (ValueError, TypeError) as error:
        raise UpgradeError(f"{path} is no signing key; make one with `aicn upgrade keygen`") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UpgradeError(f"{path} is a key of another kind; make one with `aicn upgrade keygen`")
    return key
