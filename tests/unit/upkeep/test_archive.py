"""Archives: the same files make the same bytes, and no archive writes outside its folder or without a bound."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import pytest

from aicn import defaults
from aicn.errors import ReleaseRefused, UpgradeError
from aicn.upkeep.upgrade.archive import pack, unpack


def packages(folder: Path) -> Path:
    for name, text in {
        "aicn/__init__.py": "x = 1\n",
        "aicn/_native.abi3.so": "\x7fELF",
        "click/core.py": "y = 2\n",
        "aicn/__pycache__/__init__.cpython-311.pyc": "old",
        "bin/aicn": "#!/somebody/else/python\n",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def archive_of(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return path


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def test_what_is_packed_comes_out_again(tmp_path: Path) -> None:
    folder = packages(tmp_path / "packages")
    pack(folder, tmp_path / "a.zip")
    unpack(tmp_path / "a.zip", tmp_path / "out")
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {"aicn/__init__.py", "aicn/_native.abi3.so", "click/core.py"}
    assert (tmp_path / "out/click/core.py").read_text(encoding="utf-8") == "y = 2\n"


def test_the_same_files_make_the_same_archive(tmp_path: Path) -> None:
    for name in ("one", "two"):
        pack(packages(tmp_path / name), tmp_path / f"{name}.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_a_folder_without_aicn_is_not_packed(tmp_path: Path) -> None:
    with pytest.raises(UpgradeError, match="holds no aicn"):
        pack(tmp_path, tmp_path / "a.zip")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../evil.py", "/evil.py", "a/../../evil.py", "..\\evil.py", "C:evil.py"])
def test_a_name_that_leads_out_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    archive = archive_of(tmp_path / "a.zip", ("fine.py", b""), (name, b"evil"))
    with pytest.raises(ReleaseRefused, match="that no release has"):
        unpack(archive, tmp_path / "in" / "out")
    assert not (tmp_path / "in").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_link_is_refused(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "a.zip", (link("aicn"), b"/etc"), ("aicn/passwd", b"evil"))
    with pytest.raises(ReleaseRefused, match="that no release has"):
        unpack(archive, tmp_path / "out")


def test_two_entries_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive = archive_of(tmp_path / "a.zip", ("a.py", b"good"), ("a.py", b"evil"))
    with pytest.raises(UpgradeError):
        unpack(archive, tmp_path / "out")


def test_more_than_a_release_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = archive_of(tmp_path / "a.zip", ("a.py", b"x" * 600), ("b.py", b"x" * 600))
    monkeypatch.setattr(defaults, "UPGRADE_UNPACKED_MAX_BYTES", 1000)
    with pytest.raises(ReleaseRefused, match="more than 1000 bytes"):
        unpack(archive, tmp_path / "out")
    monkeypatch.setattr(defaults, "UPGRADE_UNPACKED_MAX_BYTES", 10_000)
    monkeypatch.setattr(defaults, "UPGRADE_MAX_FILES", 1)
    with pytest.raises(ReleaseRefused, match="has 2 files"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("data", [b"", b"no archive", b"PK\x05\x06" + b"\xff" * 18])
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(ReleaseRefused, match="is no archive"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_an_archive_cut_in_its_data_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("aicn/__init__.py", bytes(range(256)) * 40)
    data = bytearray(buffer.getvalue())
    data[60] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(ReleaseRefused):
        unpack(tmp_path / "a.zip", tmp_path / "out")
