"""`GET /health`: whether the node serves, for load balancers and supervisors."""

from __future__ import annotations

from typing import Any, Final

from aicn.api.caller import Caller

HEALTH_PATH: Final = "/health"
"""Answered to everybody, without a key: that the node is there is all it tells."""

_OK: Final = {"status": "ok"}


async def health(caller: Caller) -> Any:  # noqa: ARG001 - every handler gets its caller
    """GET health; a node that is starting or ending accepts no connection."""
    return _OK
