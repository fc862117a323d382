"""Releases as files: a folder of Python packages becomes a zip archive, and a folder again."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Final

from aicn import defaults
from aicn.errors import ReleaseRefused, UpgradeError

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a zip archive can tell: the same files make the same archive, whenever it is made."""

_LEFT_OUT: Final = frozenset({"__pycache__", "bin", "Scripts"})
"""Compiled again where it runs; and programs whose first line names the publisher's Python."""


def archive_name(version: str, platform: str) -> str:
    """Return the name by which `aicn upgrade sign` finds an archive."""
    return f"aicn-{version}-{platform}.zip"


def pack(folder: Path, to: Path) -> None:
    """Write the packages in `folder` into the archive `to`.

    Raises:
        UpgradeError: the folder holds no aicn, or the archive cannot be written.
    """
    if not (folder / "aicn" / "__init__.py").is_file():
        raise UpgradeError(f"{folder} holds no aicn; fill it with `pip install --target {folder} aicn-….whl`")
    draft = to.with_name(f".{to.name}.tmp")
    try:
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.rglob("*")):
                inside = path.relative_to(folder)
                if path.is_file() and not _LEFT_OUT.intersection((inside.parts[0], *inside.parts)):
                    info = zipfile.ZipInfo(inside.as_posix(), _EPOCH)
                    info.compress_type = zipfile.ZIP_DEFLATED
                    info.external_attr = (stat.S_IFREG | 0o644) << 16
                    with path.open("rb") as source, archive.open(info, "w") as target:
                        shutil.copyfileobj(source, target)
        draft.replace(to)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise UpgradeError(f"{to} cannot be written ({error.strerror})") from error


def unpack(archive: Path, to: Path) -> None:
    """Write what is in `archive` into the new folder `to`, durably. On failure `to` may hold a part of it.

    Raises:
        ReleaseRefused: it is no archive, has names that lead out of the folder, links, or too much in it.
        UpgradeError: it cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
            _check(entries)
            to.mkdir(mode=0o700, parents=True)
            left_bytes = defaults.UPGRADE_UNPACKED_MAX_BYTES
            for entry in entries:
                if not entry.is_dir():
                    left_bytes -= _write(opened, entry, to / entry.filename, left_bytes)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ReleaseRefused(f"{archive.name} is no archive of a release ({error}); tell the publisher") from error
    except OSError as error:
        raise UpgradeError(f"{to} cannot be written ({error.strerror}); is the disk full?") from error
    if sys.platform != "win32":
        os.sync()  # one call for thousands of small files


def _check(entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > defaults.UPGRADE_MAX_FILES:
        raise ReleaseRefused(
            f"the archive has {len(entries)} files; a release has at most {defaults.UPGRADE_MAX_FILES}"
        )
    if sum(entry.file_size for entry in entries) > defaults.UPGRADE_UNPACKED_MAX_BYTES:
        raise ReleaseRefused(f"the archive holds more than {defaults.UPGRADE_UNPACKED_MAX_BYTES} bytes")
    for entry in entries:
        path = PurePosixPath(entry.filename)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        outside = path.is_absolute() or ".." in path.parts or "\\" in entry.filename or ":" in entry.filename
        packed_otherwise = entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
        if outside or packed_otherwise or kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            raise ReleaseRefused(f"the archive has an entry {entry.filename[:80]!r} that no release has")


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, to: Path, max_bytes: int) -> int:
    """Write one file and return its length; what an entry says of its length is not believed."""
    to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = 0
    with archive.open(entry) as source, to.open("xb") as target:
        while chunk := source.read(1_048_576):
            written += len(chunk)
            if written > max_bytes:
                raise ReleaseRefused(f"the archive holds more than {defaults.UPGRADE_UNPACKED_MAX_BYTES} bytes")
            target.write(chunk)
    return written
