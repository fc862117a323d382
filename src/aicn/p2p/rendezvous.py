"""Where the nodes of one network find each other: a provider record for the name of their topic."""

from __future__ import annotations

import hashlib

_SHA2_256 = b"\x12\x20"
"""Multihash header: sha2-256, 32 bytes."""


def rendezvous_key(topic: str) -> bytes:
    """Return the DHT key (a multihash) under which the members of `topic` announce themselves."""
    return _SHA2_256 + hashlib.sha256(topic.encode()).digest()
