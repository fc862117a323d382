"""Dataclasses and protobuf messages of the same shape, copied into each other field by field."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, Final, TypeVar

from aicn import defaults
from aicn.errors import MalformedMessage

T = TypeVar("T")


def fill(into: Any, value: Any) -> None:
    """Copy the fields of the dataclass `value` into the protobuf message `into`, which has the same shape.

    Raises:
        MalformedMessage: a value does not fit its field.
    """
    try:
        for name, part, many in _fields(type(value)):
            content = getattr(value, name)
            if many and part is not None:
                for each in content:
                    fill(getattr(into, name).add(), each)
            elif many:
                getattr(into, name).extend(content)
            elif part is None:
                setattr(into, name, content)
            elif content is not None:
                getattr(into, name).SetInParent()
                fill(getattr(into, name), content)
    except (ValueError, TypeError) as error:
        raise MalformedMessage(f"a value does not fit its field: {error}") from error


def read(message: Any, kind: type[T]) -> T:
    """Return the dataclass `kind` with the fields of the protobuf `message`, which has the same shape.

    Raises:
        MalformedMessage: it has more than `defaults.GOSSIP_MAX_PARTS` parts.
    """
    built: T = _read(message, kind, _Budget())
    return built


class _Budget:
    """Bounds the values that are made of one message: a megabyte of empty parts is half a million of them."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = defaults.GOSSIP_MAX_PARTS

    def take(self, parts: int) -> None:
        self._left -= parts
        if self._left < 0:
            raise MalformedMessage(f"a message has more than {defaults.GOSSIP_MAX_PARTS} parts")


_Field = tuple[str, Any, bool]
"""Name, class of the part (None for a plain value), and whether there are many."""

_FIELDS: Final[dict[type[Any], tuple[_Field, ...]]] = {}


def _fields(kind: type[Any]) -> tuple[_Field, ...]:
    """Return the fields of a dataclass; worked out once for each."""
    found = _FIELDS.get(kind)
    if found is None:
        found = _FIELDS[kind] = tuple(_field(name, hint) for name, hint in typing.get_type_hints(kind).items())
    return found


def _field(name: str, hint: Any) -> _Field:
    many = typing.get_origin(hint) is tuple
    if many or isinstance(hint, types.UnionType):
        hint = typing.get_args(hint)[0]
    return name, hint if dataclasses.is_dataclass(hint) else None, many


def _read(message: Any, kind: type[Any], budget: _Budget) -> Any:
    """Build the dataclass of the same shape as a protobuf message."""
    values: dict[str, Any] = {}
    for name, part, many in _fields(kind):
        content = getattr(message, name)
        if many:
            budget.take(len(content))
            values[name] = tuple(content) if part is None else tuple(_read(each, part, budget) for each in content)
        elif part is None:
            values[name] = content
        else:
            values[name] = _read(content, part, budget) if message.HasField(name) else None
    return kind(**values)
