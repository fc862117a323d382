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

DOCS = Path(__file__).resolve().parents[2] / "docs"
DOCUMENTS = ("configuration.md", "zh/configuration.md")

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
            default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
            yield where, list(default) if isinstance(default, tuple) else default


def rows(document: str) -> dict[str, tuple[str, str, str]]:
    found = ROW.findall((DOCS / document).read_text(encoding="utf-8"))
    assert len({row[0] for row in found}) == len(found), "a key is described twice"
    return {key: (kind.strip(), default.strip(), meaning.strip()) for key, kind, default, meaning in found}


FIELDS = dict(fields(Config, ""))


def test_there_is_something_to_document() -> None:
    assert len(FIELDS) > 35
    assert "App.PeersCollect.HeartbeatInterval" in FIELDS
    assert "AIProjects[].Models[].API" in FIELDS


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize("key", FIELDS)
def test_a_key_is_described_with_its_default(key: str, document: str) -> None:
    _, default, meaning = rows(document)[key]
    assert len(meaning) > 4
    if default == NEEDED:
        assert FIELDS[key] in ("", [])
    else:
        assert default == f"`{json.dumps(FIELDS[key])}`"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_nothing_else_is_described(document: str) -> None:
    assert sorted(set(rows(document)) - set(FIELDS)) == []


def test_keys_have_the_same_order_in_every_language() -> None:
    assert list(rows("zh/configuration.md")) == list(rows("configuration.md"))
