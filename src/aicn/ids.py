"""Distinct types for the names that must not be mixed up, and what every name must satisfy.

All are `str` at run time. The type checker keeps a project name from being passed as a model name.
"""

from __future__ import annotations

import unicodedata
from enum import IntEnum
from fnmatch import fnmatchcase
from typing import Final, NewType

PeerId = NewType("PeerId", str)
"""A libp2p peer id in base58, `16Uiu2HA…` for the secp256k1 identities of this network."""

Multiaddr = NewType("Multiaddr", str)
"""A multiaddr in text form, e.g. `/ip4/127.0.0.1/tcp/7001/p2p/16Uiu2HA…`."""

ProjectName = NewType("ProjectName", str)
"""The project a model is registered under."""

ModelName = NewType("ModelName", str)
"""The name of a model inside its project."""

InstanceId = NewType("InstanceId", str)
"""The `cid`: tells apart several instances of one model on one node. May be empty: any instance."""

RequestId = NewType("RequestId", str)
"""A UUID that names one request on its whole way."""


class ModelKind(IntEnum):
    """What a model does; the number is the `type` of configuration, HTTP interface and gossip."""

    CHAT = 0
    IMAGE_GENERATION = 1
    IMAGE_EDIT = 2


def fits(registered: ModelKind, asked: ModelKind) -> bool:
    """Return whether a model of one kind may be asked for another.

    Chat is what a registration says that says nothing: the network has image models registered so, and they work.
    """
    return registered is asked or registered is ModelKind.CHAT


_UNPRINTABLE: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories that no name may hold: controls, lone surrogates (no UTF-8), line and paragraph separators."""


def name_fault(name: str, max_bytes: int) -> str | None:
    """Return why `name` cannot name a project, model or instance, or None if it can. An empty name has no fault.

    Args:
        name: the name as it was received.
        max_bytes: longest UTF-8 form that is accepted.
    """
    if name.isascii():
        if len(name) > max_bytes:
            return f"is longer than {max_bytes} bytes"
        return None if name.isprintable() else "holds a control character"
    if len(name) > max_bytes:
        return f"is longer than {max_bytes} bytes"
    if any(unicodedata.category(character) in _UNPRINTABLE for character in name):
        return "holds a control character"
    return f"is longer than {max_bytes} bytes" if len(name.encode()) > max_bytes else None


def matches(name: str, pattern: str) -> bool:
    """Return whether `name` is of `pattern`, in which `*` and `?` stand for others.

    A bracket stands for itself: names of models have some. Elsewhere it would begin a set of characters.
    """
    return fnmatchcase(name, pattern.replace("[", "[[]"))
