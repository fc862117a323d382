"""What a package shows is written down, sorted, and there."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import aicn

CONSTANTS = {"aicn.defaults"}
"""Hands on every constant of its modules; another test holds it to just those."""

PACKAGES = ["aicn"] + [
    module.name
    for module in pkgutil.walk_packages(aicn.__path__, prefix="aicn.")
    if module.ispkg and module.name not in CONSTANTS
]


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_lists_its_public_names(name: str) -> None:
    package = load(name)
    assert package.__doc__, "a package says what it is for"
    names = package.__all__
    assert len(set(names)) == len(names)
    assert names == sorted(names, key=sort_key)
    assert [one for one in names if not hasattr(package, one)] == []


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_lists_all_that_it_brings_in(name: str) -> None:
    package = load(name)
    shown = {
        one
        for one, value in vars(package).items()
        if not one.startswith("_") and not isinstance(value, ModuleType) and one != "annotations"
    }
    assert shown <= set(package.__all__)


def sort_key(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest, as ruff sorts `__all__`."""
    if name.isupper():
        return (0, name)
    return (1, name) if name[0].isupper() else (2, name)


def test_the_command_line_loads_no_network_stack_before_it_needs_one() -> None:
    heavy = ["aiohttp", "starlette", "uvicorn", "uvloop", "aicn.node", "aicn._native"]
    program = f"import sys, aicn.cli.main; print([one for one in {heavy} if one in sys.modules])"
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"
