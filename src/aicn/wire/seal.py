"""Sealing: what is said in public to one node, and only that node can read.

sealed = nonce (12 bytes) ‖ AES-256-GCM(ciphertext ‖ tag), without associated data; the key is the x coordinate
of the secp256k1 Diffie-Hellman point. Fixed by the network that exists.
"""

from __future__ import annotations

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aicn.errors import SealError
from aicn.identity import PrivateKey, PublicKey

NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16


def seal(plain: bytes, own: PrivateKey, other: PublicKey, *, nonce: bytes | None = None) -> bytes:
    """Return `plain` so that only the holder of `other`'s private key, or of `own`, can read it.

    Args:
        plain: what to say.
        own: key of the sender.
        other: key of the receiver.
        nonce: 12 bytes never used before with these keys; random by default, which is what all but tests want.

    Raises:
        SealError: the nonce has another length.
    """
    if nonce is None:
        nonce = os.urandom(NONCE_BYTES)
    elif len(nonce) != NONCE_BYTES:
        raise SealError(f"a nonce has {NONCE_BYTES} bytes, not {len(nonce)}")
    return nonce + AESGCM(own.ecdh(other)).encrypt(nonce, plain, None)


def open_sealed(sealed: bytes, own: PrivateKey, other: PublicKey) -> bytes:
    """Return what was sealed by `other` for `own`.

    Raises:
        SealError: it was not, or was changed on the way.
    """
    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        raise SealError(f"{len(sealed)} bytes are too short to be sealed")
    try:
        return AESGCM(own.ecdh(other)).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
    except InvalidTag:
        raise SealError("a sealed body does not open: it was sealed for or by another node, or changed") from None
