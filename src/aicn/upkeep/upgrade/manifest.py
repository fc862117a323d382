"""The manifest of a release: what there is, for which machines, and the publisher's signature over it.

A file of one line of text and a JSON object::

    aicn-release-v1 <base64 of the Ed25519 signature>
    {"version": "0.2.0", "minimum": "0.1.0", "artefacts": {"cpython-311-linux-x86_64": {"name": …, …}}}

The signature is over `DOMAIN` and every byte after the first line, and is verified before any of them is parsed. One
file and not two: a reader can never catch a signature of yesterday beside a manifest of today.
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from typing import Final

import msgspec

from aicn import defaults
from aicn.errors import ReleaseRefused
from aicn.upkeep.upgrade.keys import SIGNATURE_BYTES, is_signed, sign
from aicn.upkeep.upgrade.version import ANY_PLATFORM, Version

MANIFEST_NAME: Final = "aicn-release.manifest"
"""Name of the file at a source."""

DOMAIN: Final = b"aicn release manifest v1\x00"
"""Stands before what is signed, so that nothing else that the key ever signs can pass for a manifest."""

_FIRST_WORD: Final = b"aicn-release-v1 "
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}", re.ASCII)
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Artefact(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """A file to download, a zip archive with everything that a release runs on."""

    name: str
    """File name at the source."""
    size_bytes: int
    """Its length."""
    sha256: str
    """Its hash, 64 lower-case hexadecimal digits."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """What a publisher says of one release."""

    version: str
    """Its number."""
    minimum: str
    """The oldest version that can be swapped for it directly."""
    artefacts: dict[str, Artefact]
    """By platform, see `version.this_platform`; `any` runs everywhere."""

    @property
    def number(self) -> Version:
        """`version`, comparable."""
        return Version.parse(self.version)

    def artefact_for(self, platform: str) -> Artefact | None:
        """Return what to download on `platform`, or None if the release is not made for it."""
        return self.artefacts.get(platform) or self.artefacts.get(ANY_PLATFORM)


def seal_manifest(manifest: Manifest, key: Path) -> bytes:
    """Return the file: the manifest signed with the key in the file `key`.

    Raises:
        UpgradeError: the key cannot be used.
        ReleaseRefused: a node would refuse the manifest.
    """
    _check(manifest)
    body = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    return _FIRST_WORD + base64.b64encode(sign(key, DOMAIN + body)) + b"\n" + body


def open_manifest(data: bytes, public_key: str) -> Manifest:
    """Return the manifest in the file `data`, once the signature is found to be good.

    Raises:
        ReleaseRefused: it is not signed with the key, or is not what a manifest must be.
        UpgradeError: `public_key` is no key.
    """
    first, newline, body = data.partition(b"\n")
    try:
        signature = base64.b64decode(first.removeprefix(_FIRST_WORD), validate=True)
    except binascii.Error:
        signature = b""
    if not newline or not first.startswith(_FIRST_WORD) or len(signature) != SIGNATURE_BYTES:
        raise ReleaseRefused("the source has no signed manifest of a release; check AICN.Upgrade.Source")
    if not is_signed(public_key, DOMAIN + body, signature):
        raise ReleaseRefused(
            "the manifest is not signed with the key of AICN.Upgrade.PublicKey; nothing of it is used. "
            "Check the key, and if it is right, tell the publisher"
        )
    try:
        manifest = msgspec.json.decode(body, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ReleaseRefused(f"the signed manifest cannot be read ({error}); tell the publisher") from error
    _check(manifest)
    return manifest


def _check(manifest: Manifest) -> None:
    Version.parse(manifest.version)
    Version.parse(manifest.minimum)
    for platform, artefact in manifest.artefacts.items():
        if not _NAME.fullmatch(platform) or not _NAME.fullmatch(artefact.name):
            raise ReleaseRefused(f"the manifest names a file {artefact.name[:80]!r} that may not be named so")
        if not _SHA256.fullmatch(artefact.sha256):
            raise ReleaseRefused(f"the manifest has no SHA-256 for {artefact.name}")
        if not 0 < artefact.size_bytes <= defaults.UPGRADE_ARTEFACT_MAX_BYTES:
            raise ReleaseRefused(
                f"{artefact.name} has {artefact.size_bytes} bytes; a release has at most "
                f"{defaults.UPGRADE_ARTEFACT_MAX_BYTES}"
            )
