"""Distinct types for the names that must not be mixed up.

All are `str` at run time. The type checker keeps a project name from being passed as a model name.
"""

from __future__ import annotations

from typing import NewType

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
