"""What a publisher does: pack a release for each kind of machine, and sign what lies in a folder."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from aicn import defaults
from aicn.config.replace import replace_file
from aicn.errors import UpgradeError
from aicn.upkeep.upgrade.archive import archive_name, pack
from aicn.upkeep.upgrade.manifest import MANIFEST_NAME, Artefact, Manifest, seal_manifest
from aicn.upkeep.upgrade.version import Version, this_platform


def pack_release(packages: Path, into: Path) -> Path:
    """Pack the installed packages in a folder, for machines like this one.

    Args:
        packages: what `pip install --target` has filled with aicn and all that it needs.
        into: the folder of the source.

    Returns:
        The archive.

    Raises:
        UpgradeError: the packages are not complete, or the archive cannot be written.
    """
    said = subprocess.run(
        # -S: without the packages of this Python, so that what is missing is found here and not at every node.
        [sys.executable, "-S", "-P", "-m", "aicn", "version"],
        env={**os.environ, "PYTHONPATH": str(packages.resolve())},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=defaults.UPGRADE_FIRST_START_TIMEOUT_S,
    )
    words = said.stdout.decode(errors="replace").split()
    if said.returncode or words[:1] != ["aicn"] or len(words) != 2:  # noqa: PLR2004
        told = said.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise UpgradeError(
            f"{packages} is no whole release ({told[0][:300]}); "
            f"fill it with `pip install --target {packages} aicn-….whl`"
        )
    archive = into / archive_name(str(Version.parse(words[1])), this_platform())
    pack(packages, archive)
    return archive


def sign_release(folder: Path, version: str, minimum: str, key: Path) -> Manifest:
    """Write the signed manifest of the archives of one version that lie in a folder.

    Args:
        folder: becomes the source, or is copied to it.
        version: which archives.
        minimum: the oldest version that can be swapped for it directly.
        key: file of the signing key.

    Returns:
        What was signed.

    Raises:
        UpgradeError: there are none, or the key or the folder cannot be used.
        ReleaseRefused: a node would refuse the release.
    """
    number = str(Version.parse(version))
    artefacts = {}
    prefix, suffix = archive_name(number, "\n").split("\n")
    try:
        for file in sorted(folder.glob(f"{prefix}*{suffix}")):
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
            platform = file.name.removeprefix(prefix).removesuffix(suffix)
            artefacts[platform] = Artefact(name=file.name, size_bytes=file.stat().st_size, sha256=digest)
        if not artefacts:
            raise UpgradeError(f"{folder} holds no archive of {number}; make one with `aicn upgrade pack`")
        manifest = Manifest(version=number, minimum=str(Version.parse(minimum)), artefacts=artefacts)
        # Archives first, the manifest last and at once: a node that comes in between finds the former release.
        replace_file(folder / MANIFEST_NAME, seal_manifest(manifest, key))
        (folder / MANIFEST_NAME).chmod(0o644)
    except OSError as error:
        raise UpgradeError(f"{folder} cannot be used ({error.strerror})") from error
    return manifest
