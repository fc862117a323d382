from __future__ import annotations

import base64
import traceback
from dataclasses import dataclass
from pathlib import Path

import pytest

from aicn.errors import AddressError, IdentityError
from aicn.identity import PreSharedKey, PrivateKey, PublicKey, create_key_file, load_key_file
from aicn.ids import PeerId

KNOWN_PRIVATE = "CAISINAckM6QODvCrez5I0Q3RZyo9PeV4jDeB1L71AHnSU/H"
KNOWN_PUBLIC = "CAISIQNbA9ZWCwFM7X/eTUUBvwSRzTurMLkb9jg38wn5IRL4BQ=="
KNOWN_PEER = "16Uiu2HAmJnGqxBqtWGkymSsy5WDKJY5A5NctcUduENADDptQFF4Y"


def test_published_example_gives_its_public_key_and_peer_id() -> None:
    key = PrivateKey.from_base64(KNOWN_PRIVATE)
    assert key.base64 == KNOWN_PRIVATE
    assert key.public.base64 == KNOWN_PUBLIC
    assert key.public.peer_id == KNOWN_PEER
    assert PublicKey.from_protobuf(base64.b64decode(KNOWN_PUBLIC)) == key.public


def test_both_sides_find_the_same_secret_and_others_do_not() -> None:
    one, other, third = (PrivateKey.generate() for _ in range(3))
    assert one.ecdh(other.public) == other.ecdh(one.public)
    assert len(one.ecdh(other.public)) == 32
    assert one.ecdh(other.public) != third.ecdh(other.public)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08\x02\x12\x20",
        b"\x08\x02\x12\x20" + bytes(32),
        b"\x08\x02\x12\x20" + b"\xff" * 32,
        b"\x08\x01\x12\x20" + b"\x01" * 32,
        b"\x08\x02\x12\x20" + b"\x01" * 33,
        b"\x08\x02\x12\x20" + b"\x01" * 31,
    ],
)
def test_what_is_no_private_key_is_refused(data: bytes) -> None:
    with pytest.raises(IdentityError):
        PrivateKey.from_protobuf(data)
    with pytest.raises(IdentityError):
        PrivateKey.from_base64(base64.b64encode(data).decode())


@pytest.mark.parametrize("text", ["not base64!", "QUJD\n", "ä", " " + KNOWN_PRIVATE])
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(IdentityError):
        PrivateKey.from_base64(text)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08\x02\x12\x21" + b"\x02" * 32,
        b"\x08\x02\x12\x21\x05" + b"\x01" * 32,
        b"\x08\x02\x12\x21\x02" + b"\xff" * 32,
        b"\x08\x01\x12\x21\x02" + b"\x01" * 32,
    ],
)
def test_what_is_no_public_key_is_refused(data: bytes) -> None:
    with pytest.raises(IdentityError):
        PublicKey.from_protobuf(data)


def test_peer_id_gives_the_key_it_is_made_of() -> None:
    key = PrivateKey.generate().public
    assert PublicKey.from_peer_id(key.peer_id) == key


@pytest.mark.parametrize(
    ("peer", "error"),
    [
        ("", AddressError),
        ("not a peer", AddressError),
        ("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", IdentityError),  # the hash of an RSA key
        ("12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA", IdentityError),  # Ed25519, inline as ours
    ],
)
def test_peer_id_of_another_network_gives_none(peer: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        PublicKey.from_peer_id(PeerId(peer))


def test_key_file_is_made_once_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "peer.key"
    key = create_key_file(path)
    assert path.read_bytes() == key.protobuf
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key_file(path) == key
    with pytest.raises(IdentityError, match="exists"):
        create_key_file(path)
    assert load_key_file(path) == key


@pytest.mark.parametrize("content", [b"", b"x" * 36, b"\x08\x02\x12\x20" + b"\x01" * 40])
def test_file_that_holds_no_key_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "peer.key"
    path.write_bytes(content)
    with pytest.raises(IdentityError, match=r"peer\.key"):
        load_key_file(path)


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match=r"peer\.key"):
        load_key_file(tmp_path / "peer.key")
    with pytest.raises(IdentityError, match="nowhere"):
        create_key_file(tmp_path / "nowhere" / "peer.key")


def test_pre_shared_key_round_trips() -> None:
    key = PreSharedKey.generate()
    assert PreSharedKey.from_hex(key.hex) == key
    assert PreSharedKey.from_hex(key.hex.upper()) == key
    assert PreSharedKey(key.raw) == key
    assert PreSharedKey.generate() != key


@pytest.mark.parametrize("text", ["", "00", "g" * 64, "0" * 63, "0" * 65, " " + "0" * 63])
def test_what_is_no_pre_shared_key_is_refused(text: str) -> None:
    with pytest.raises(IdentityError):
        PreSharedKey.from_hex(text)


@dataclass
class _Holder:
    key: PrivateKey
    psk: PreSharedKey


def _shown(key: PrivateKey, psk: PreSharedKey) -> str:
    """Everything that a log, a debugger or a crash report would print."""
    holder = _Holder(key, psk)
    shown = [repr(holder), str(key), str(psk), f"{key} {psk}", repr([key, psk])]
    try:
        raise IdentityError(f"{key} {psk}")  # noqa: TRY301 - the point is what it prints
    except IdentityError:
        shown.append(traceback.format_exc())
    return "\n".join(shown)


def test_secrets_never_show() -> None:
    key, psk = PrivateKey.generate(), PreSharedKey.generate()
    shown = _shown(key, psk)
    secret = key.protobuf[4:]
    for form in (
        key.base64,
        secret.hex(),
        repr(secret),
        base64.b64encode(secret).decode(),
        str(int.from_bytes(secret)),
    ):
        assert form not in shown
    for form in (psk.hex, repr(psk.raw), base64.b64encode(psk.raw).decode()):
        assert form not in shown
    assert key.public.peer_id in shown


def test_refused_secrets_never_show() -> None:
    wrong = base64.b64encode(b"\x08\x02\x12\x20" + b"\x41" * 31).decode()
    with pytest.raises(IdentityError) as refused:
        PrivateKey.from_base64(wrong)
    assert wrong not in str(refused.value)
    with pytest.raises(IdentityError) as refused:
        PreSharedKey.from_hex("ab" * 31)
    assert "abab" not in str(refused.value)
