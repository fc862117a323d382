"""secp256k1 keys in libp2p's encoding, and the peer ids that follow from them.

Sources: libp2p peer id specification (protobuf `{Type 1, Data 2}`, type 2 = Secp256k1; keys of up to 42 bytes
are inlined in the peer id with the identity multihash), SEC 1 (compressed points).
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from aicn.errors import IdentityError
from aicn.ids import PeerId
from aicn.multiaddr import base58_decode, base58_encode, parse_peer_id

_CURVE: Final = ec.SECP256K1()
_ORDER: Final = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
"""Number of points of the curve; a private key is between 1 and this, exclusive. Source: SEC 2, section 2.4.1."""

_PRIVATE_PREFIX: Final = b"\x08\x02\x12\x20"
"""Type 2, then 32 bytes of data."""

_PUBLIC_PREFIX: Final = b"\x08\x02\x12\x21"
"""Type 2, then 33 bytes of data."""

_PRIVATE_BYTES: Final = 36
_PUBLIC_BYTES: Final = 37
_IDENTITY_MULTIHASH: Final = b"\x00\x25"
"""Identity hash of 37 bytes."""


class PublicKey:
    """The public key of a node."""

    __slots__ = ("_key", "_peer_id", "_protobuf")

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        """Wrap a point of secp256k1."""
        self._key = key
        # Compressed by hand (SEC 1, section 2.3.3): the library's serialization module costs a node 1.5 MB.
        point = key.public_numbers()
        self._protobuf = _PUBLIC_PREFIX + bytes([2 + (point.y & 1)]) + point.x.to_bytes(32)
        self._peer_id = PeerId(base58_encode(_IDENTITY_MULTIHASH + self._protobuf))

    @classmethod
    def from_protobuf(cls, data: bytes) -> PublicKey:
        """Read libp2p's encoding.

        Raises:
            IdentityError: it is not the encoding of a secp256k1 key.
        """
        if len(data) != _PUBLIC_BYTES or not data.startswith(_PUBLIC_PREFIX):
            raise IdentityError("not a secp256k1 public key in libp2p's encoding (37 bytes that begin with 08021221)")
        try:
            return cls(ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, data[len(_PUBLIC_PREFIX) :]))
        except ValueError:
            raise IdentityError("a public key is not a point of the curve secp256k1") from None

    @classmethod
    def from_peer_id(cls, peer: PeerId) -> PublicKey:
        """Read the key that a peer id of this network carries.

        Raises:
            AddressError: it is no peer id.
            IdentityError: it is one, but of another kind of key.
        """
        multihash = base58_decode(parse_peer_id(peer))
        if not multihash.startswith(_IDENTITY_MULTIHASH):
            raise IdentityError(f"peer id {peer} carries no secp256k1 key; only those of this network do (16Uiu2HA...)")
        return cls.from_protobuf(multihash[len(_IDENTITY_MULTIHASH) :])

    @property
    def protobuf(self) -> bytes:
        """libp2p's encoding, 37 bytes."""
        return self._protobuf

    @property
    def base64(self) -> str:
        """`protobuf` in base64."""
        return base64.b64encode(self._protobuf).decode()

    @property
    def peer_id(self) -> PeerId:
        """The peer id of whoever holds the private key."""
        return self._peer_id

    @property
    def point(self) -> ec.EllipticCurvePublicKey:
        """The key as the cryptography library knows it."""
        return self._key

    def __repr__(self) -> str:
        """Show the peer id."""
        return f"PublicKey({self.peer_id})"

    def __eq__(self, other: object) -> bool:
        """Compare the encoding."""
        return isinstance(other, PublicKey) and self._protobuf == other._protobuf

    def __hash__(self) -> int:
        """Hash the encoding."""
        return hash(self._protobuf)


class PrivateKey:
    """The private key of a node. Never shown by repr, str or a traceback."""

    __slots__ = ("_key", "_public", "_secret")

    def __init__(self, secret: bytes) -> None:
        """Take the 32 bytes of the key.

        Raises:
            IdentityError: they are no private key of secp256k1.
        """
        number = int.from_bytes(secret)
        if len(secret) != 32 or not 0 < number < _ORDER:  # noqa: PLR2004
            raise IdentityError("a private key is not a number that secp256k1 allows; make a new key file")
        self._secret = secret
        self._key = ec.derive_private_key(number, _CURVE)
        self._public = PublicKey(self._key.public_key())

    @classmethod
    def generate(cls) -> PrivateKey:
        """Return a new random key."""
        return cls((secrets.randbelow(_ORDER - 1) + 1).to_bytes(32))

    @classmethod
    def from_protobuf(cls, data: bytes) -> PrivateKey:
        """Read libp2p's encoding, as it stands in a key file.

        Raises:
            IdentityError: it is not the encoding of a secp256k1 key.
        """
        if len(data) != _PRIVATE_BYTES or not data.startswith(_PRIVATE_PREFIX):
            raise IdentityError("not a secp256k1 private key in libp2p's encoding (36 bytes that begin with 08021220)")
        return cls(data[len(_PRIVATE_PREFIX) :])

    @classmethod
    def from_base64(cls, text: str) -> PrivateKey:
        """Read the base64 of libp2p's encoding, as it stands in a configuration.

        Raises:
            IdentityError: it is not.
        """
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise IdentityError("a private key is not base64") from None
        return cls.from_protobuf(data)

    @property
    def protobuf(self) -> bytes:
        """libp2p's encoding, 36 bytes: the content of a key file."""
        return _PRIVATE_PREFIX + self._secret

    @property
    def base64(self) -> str:
        """`protobuf` in base64."""
        return base64.b64encode(self.protobuf).decode()

    @property
    def public(self) -> PublicKey:
        """The public key that belongs to it."""
        return self._public

    def ecdh(self, other: PublicKey) -> bytes:
        """Return the x coordinate, 32 bytes, of the point that only the holders of the two private keys can find."""
        return self._key.exchange(ec.ECDH(), other.point)

    def __repr__(self) -> str:
        """Show whose key it is, not the key."""
        return f"PrivateKey(hidden, {self._public.peer_id})"

    def __eq__(self, other: object) -> bool:
        """Compare in constant time."""
        return isinstance(other, PrivateKey) and secrets.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        """Hash the public half."""
        return hash(self._public)


def load_key_file(path: Path) -> PrivateKey:
    """Read a key file: 36 raw bytes.

    Raises:
        IdentityError: it cannot be read, or holds no key.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_PRIVATE_BYTES + 1)
    except OSError as error:
        raise IdentityError(f"key file {path} cannot be read ({error.strerror})") from error
    try:
        return PrivateKey.from_protobuf(data)
    except IdentityError as error:
        raise IdentityError(f"key file {path} holds no key of this network: {error}") from None


def create_key_file(path: Path) -> PrivateKey:
    """Make a new key and write it, readable by its owner only; a file that is there is never replaced.

    Raises:
        IdentityError: the file exists, or cannot be written; nothing is left behind then.
    """
    key = PrivateKey.generate()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise IdentityError(f"key file {path} exists; it was not replaced") from None
    except OSError as error:
        raise IdentityError(f"key file {path} cannot be created ({error.strerror})") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.protobuf)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise IdentityError(f"key file {path} cannot be written ({error.strerror})") from error
    return key
