"""Values that fit a JSON schema: what the model fills tools and structured outputs with."""

from __future__ import annotations

from typing import Any


def value(schema: dict[str, Any], words: str) -> Any:
    """Return a value that `schema` allows; strings in it are `words`."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        return {name: value(each, words) for name, each in schema.get("properties", {}).items()}
    if kind == "array":
        return [value(schema.get("items", {}), words)]
    plain = {"integer": 7, "number": 7.5, "boolean": True, "null": None}
    return plain.get(str(kind), words)
