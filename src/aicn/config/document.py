"""The JSON of a configuration file: from bytes to a dictionary and back, nothing lost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from aicn import defaults
from aicn.config.schema import Config
from aicn.errors import ConfigError

Raw = dict[str, Any]
"""A configuration as JSON has it: keys in the order of the file, unknown ones too."""


def read_document(data: bytes) -> Raw:
    """Return the JSON object that `data` is.

    Raises:
        ConfigError: it is none, is too large, or names one key twice.
    """
    if len(data) > defaults.CONFIG_MAX_BYTES:
        raise ConfigError(f"it is larger than {defaults.CONFIG_MAX_BYTES // 1_048_576} MiB; is it the right file?")
    try:
        # Notepad puts a byte order mark before UTF-8.
        decoded = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_object, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise ConfigError(f"byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"line {error.lineno}, column {error.colno}: {error.msg}; correct the JSON there") from None
    except RecursionError:
        raise ConfigError("it is nested too deeply; is it the right file?") from None
    except ValueError as error:  # a number with more digits than Python converts
        raise ConfigError(f"{error}; correct the JSON") from None
    if not isinstance(decoded, dict):
        raise ConfigError("it is no JSON object; a configuration begins with {")
    return decoded


def write_document(raw: Raw) -> bytes:
    """Return `raw` as the reference writes it: indented by two spaces, in the order of its keys."""
    return json.dumps(raw, indent=2, ensure_ascii=False, allow_nan=False).encode()


def decode(raw: Raw) -> Config:
    """Return `raw` as types, defaults filled in. Values are not checked beyond their JSON type.

    Raises:
        ConfigError: a key is misspelt in its case, or a value is of the wrong JSON type; names the key path.
    """
    for path, name, known in _walk(raw, Config, ""):
        if name not in known and (right := _same_but_case(name, known)):
            raise ConfigError(f"{path}: the key is written {right!r}; keys are case-sensitive")
    try:
        config = msgspec.convert(_with_meaning(raw, Config), Config, strict=True)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        path = where.removeprefix(".").removesuffix("`") or "the file"
        raise ConfigError(f"{path}: {what[:1].lower()}{what[1:]}; correct its JSON type") from None
    return msgspec.structs.replace(config, pubsub=msgspec.structs.replace(config.pubsub, enabled=True))


def unknown_keys(raw: Raw) -> tuple[str, ...]:
    """Return the paths of keys that no part of this program reads. They are kept when the file is rewritten."""
    return tuple(path for path, name, known in _walk(raw, Config, "") if name not in known)


def _object(pairs: list[tuple[str, Any]]) -> Raw:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"the key {twice[:100]!r} is there twice in one object; remove one")
    return made


def _refuse_constant(name: str) -> Any:
    raise ConfigError(f"{name} is no JSON; correct it")


def _with_meaning(value: Any, kind: Any) -> Any:
    """Return `value` without what stands for a default: null, and "" and 0 where the default is another."""
    element = _element(kind)
    if element is not None and isinstance(value, list):
        return [_with_meaning(item, element) for item in value]
    if not _is_struct(kind) or not isinstance(value, dict):
        return value
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    kept = {}
    for name, inner in value.items():
        if inner is None or name not in fields:
            continue
        default = fields[name].default
        if default and type(default) in (str, int) and inner == type(default)():
            continue
        kept[name] = _with_meaning(inner, fields[name].type)
    return kept


def _walk(value: Any, kind: Any, path: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, name and the described names beside it of every key of every object that is described."""
    if not isinstance(value, dict):
        return
    known = _names(kind)
    for name, inner in value.items():
        where = f"{path}.{name}" if path else name
        yield where, name, known
        inner_kind = known.get(name)
        element = _element(inner_kind)
        if _is_struct(inner_kind):
            yield from _walk(inner, inner_kind, where)
        elif _is_struct(element) and isinstance(inner, list):
            for index, item in enumerate(inner):
                yield from _walk(item, element, f"{where}[{index}]")


def _same_but_case(name: str, known: Iterable[str]) -> str | None:
    return next((each for each in known if each.casefold() == name.casefold()), None)


def _names(kind: Any) -> dict[str, Any]:
    return {field.encode_name: field.type for field in msgspec.structs.fields(kind)}


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _element(kind: Any) -> Any:
    """Return the element type of a tuple type, or None."""
    arguments = getattr(kind, "__args__", ())
    return arguments[0] if getattr(kind, "__origin__", None) is tuple and arguments else None
