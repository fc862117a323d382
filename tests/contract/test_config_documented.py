"""Every key of the configuration is described, with the default it has, and no other is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aicn.config import Config

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"

NEEDED = "needed"
"""Stands in place of the default where an empty value is refused, here or when the model is registered."""

ROW = re.compile(r"^\| `([\w.\[\]]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def fields(kind: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield path and default of every value of `kind`."""
    for field in msgspec.structs.fields(kind):
        where = f"{path}.{field.encode_name}" if path else field.encode_name
        element = getattr(field.type, "__args__", (None,))[0]
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from fields(field.type, where)
        elif isinstance(element, type) and issubclass(element, msgspec.Struct):
            yield from fields(element, f"{where}[]")
        else:
            yield where, list(field.default) if isinstance(field.default, tuple) else field.default


def rows() -> dict[str, tuple[str, str, str]]:
    found = ROW.findall(DOCUMENT.read_text(encoding="utf-8"))
    assert len({row[0] for row in found}) == len(found), "a key is described twice"
    return {key: (kind.strip(), default.strip(), meaning.strip()) for key, kind, default, meaning in found}


FIELDS = dict(fields(Config, ""))


def test_there_is_something_to_document() -> None:
    assert len(FIELDS) > 35
    assert "App.PeersCollect.HeartbeatInterval" in FIELDS
    assert "AIProjects[].Models[].API" in FIELDS


@pytest.mark.parametrize("key", FIELDS)
def test_a_key_is_described_with_its_default(key: str) -> None:
    _, default, meaning = rows()[key]
    assert len(meaning) > 9
    if default == NEEDED:
        assert FIELDS[key] in ("", [])
    else:
        assert default == f"`{json.dumps(FIELDS[key])}`"


def test_nothing_else_is_described() -> None:
    assert sorted(set(rows()) - set(FIELDS)) == []
