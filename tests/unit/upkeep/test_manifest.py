"""Manifests and the signature over them: nothing that was changed is read, whatever was changed."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from aicn import defaults
from aicn.errors import ReleaseRefused, UpgradeError
from aicn.upkeep.upgrade.keys import create_key, public_key_of, sign
from aicn.upkeep.upgrade.manifest import DOMAIN, Artefact, Manifest, open_manifest, seal_manifest
from aicn.upkeep.upgrade.version import Version, this_platform

RSA_LIKE = b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"
DIGEST = "ab" * 32
GOOD = Manifest("1.2.3", "1.0.0", {"any": Artefact("aicn-1.2.3-any.zip", 1000, DIGEST)})


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "release.key"
    create_key(path)
    return path


@pytest.fixture(scope="module")
def sealed(key: Path) -> bytes:
    return seal_manifest(GOOD, key)


def sealed_text(key: Path, body: bytes) -> bytes:
    return b"aicn-release-v1 " + base64.b64encode(sign(key, DOMAIN + body)) + b"\n" + body


def test_what_was_signed_is_read(key: Path, sealed: bytes) -> None:
    assert open_manifest(sealed, public_key_of(key)) == GOOD


def test_the_format_is_the_one_in_the_document(key: Path, sealed: bytes) -> None:
    first, _, body = sealed.partition(b"\n")
    word, signature = first.split(b" ")
    assert word == b"aicn-release-v1"
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key_of(key)))
    public.verify(base64.b64decode(signature), b"aicn release manifest v1\x00" + body)
    assert msgspec.json.decode(body) == {
        "version": "1.2.3",
        "minimum": "1.0.0",
        "artefacts": {"any": {"name": "aicn-1.2.3-any.zip", "size_bytes": 1000, "sha256": DIGEST}},
    }


@given(data=st.data())
def test_no_single_changed_byte_goes_unnoticed(key: Path, sealed: bytes, data: st.DataObject) -> None:
    where = data.draw(st.integers(0, len(sealed) - 1))
    changed = bytearray(sealed)
    changed[where] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ReleaseRefused):
        open_manifest(bytes(changed), public_key_of(key))


@given(st.binary(max_size=300))
def test_noise_is_refused(key: Path, noise: bytes) -> None:
    for data in (noise, b"aicn-release-v1 " + noise, b"aicn-release-v1 " + base64.b64encode(b"x" * 64) + b"\n" + noise):
        with pytest.raises(ReleaseRefused):
            open_manifest(data, public_key_of(key))


def test_another_key_is_refused(tmp_path: Path, sealed: bytes) -> None:
    with pytest.raises(ReleaseRefused, match="not signed with the key"):
        open_manifest(sealed, create_key(tmp_path / "other.key"))


def test_a_signature_over_the_bare_text_does_not_count(key: Path, sealed: bytes) -> None:
    body = sealed.partition(b"\n")[2]
    bare = b"aicn-release-v1 " + base64.b64encode(sign(key, body)) + b"\n" + body
    with pytest.raises(ReleaseRefused, match="not signed"):
        open_manifest(bare, public_key_of(key))


def test_a_field_of_tomorrow_does_no_harm(key: Path) -> None:
    body = msgspec.json.encode({**msgspec.to_builtins(GOOD), "notes": "faster"})
    assert open_manifest(sealed_text(key, body), public_key_of(key)) == GOOD


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": "1.2"}, "no version"),
        ({"version": "v1.2.3"}, "no version"),
        ({"version": "1.02.3"}, "no version"),
        ({"minimum": ""}, "no version"),
        ({"artefacts": {"any": Artefact("../x.zip", 1, DIGEST)}}, "may not be named so"),
        ({"artefacts": {"any": Artefact(".hidden", 1, DIGEST)}}, "may not be named so"),
        ({"artefacts": {"any": Artefact("a/b.zip", 1, DIGEST)}}, "may not be named so"),
        ({"artefacts": {"../any": Artefact("a.zip", 1, DIGEST)}}, "may not be named so"),
        ({"artefacts": {"any": Artefact("a.zip", 1, DIGEST.upper())}}, "no SHA-256"),
        ({"artefacts": {"any": Artefact("a.zip", 0, DIGEST)}}, "has 0 bytes"),
        ({"artefacts": {"any": Artefact("a.zip", defaults.UPGRADE_ARTEFACT_MAX_BYTES + 1, DIGEST)}}, "at most"),
    ],
)
def test_a_signed_manifest_is_checked_all_the_same(key: Path, changes: dict[str, object], words: str) -> None:
    manifest = msgspec.structs.replace(GOOD, **changes)
    with pytest.raises(UpgradeError, match=words):
        open_manifest(sealed_text(key, msgspec.json.encode(manifest)), public_key_of(key))
    with pytest.raises(UpgradeError, match=words):
        seal_manifest(manifest, key)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"version": 1}', b"\xff\xfe"])
def test_a_signed_text_that_is_no_manifest_is_refused(key: Path, body: bytes) -> None:
    with pytest.raises(ReleaseRefused, match="cannot be read"):
        open_manifest(sealed_text(key, body), public_key_of(key))


@pytest.mark.parametrize(
    "public_key", ["", "x", base64.b64encode(b"x" * 31).decode(), base64.b64encode(b"x" * 33).decode()]
)
def test_a_public_key_that_is_none_is_named(sealed: bytes, public_key: str) -> None:
    with pytest.raises(UpgradeError, match=r"AICN\.Upgrade\.PublicKey is no key"):
        open_manifest(sealed, public_key)


@pytest.mark.skipif(os.name == "nt", reason="Windows has other rights")
def test_a_signing_key_is_its_owners_alone_and_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "release.key"
    public_key = create_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert public_key_of(path) == public_key
    with pytest.raises(UpgradeError, match="choose another name"):
        create_key(path)
    assert public_key_of(path) == public_key


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _: None, "cannot be read"),
        (lambda path: path.write_bytes(b"noise"), "is no signing key"),
        (lambda path: path.write_bytes(RSA_LIKE), "is no signing key"),
    ],
)
def test_a_file_that_is_no_signing_key_is_named(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    path = tmp_path / "key"
    make(path)
    with pytest.raises(UpgradeError, match=words):
        sign(path, b"message")


numbers = st.tuples(*[st.integers(0, 10**6)] * 3)


@given(numbers, numbers)
def test_versions_are_ordered_as_numbers(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    first, second = (Version.parse(".".join(map(str, each))) for each in (one, other))
    assert (first < second) == (one < other)
    assert Version.parse(str(first)) == first


def test_an_artefact_for_this_machine_goes_before_one_for_all() -> None:
    own = Artefact("own.zip", 1, DIGEST)
    every = Artefact("any.zip", 1, DIGEST)
    manifest = Manifest("1.0.0", "0.0.0", {"any": every, this_platform(): own})
    assert manifest.artefact_for(this_platform()) == own
    assert manifest.artefact_for("cpython-399-plan9-pdp11") == every
    assert Manifest("1.0.0", "0.0.0", {"other": own}).artefact_for(this_platform()) is None
