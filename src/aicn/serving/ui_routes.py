"""The HTTP routes of a server for images that is asked in its own words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from aicn.backends import BackendClient
from aicn.serving.held_reply import Hold, read_whole
from aicn.wire.json_members import NO_JSON

_JSON: Final = ((b"content-type", b"application/json"),)


class UiRoutes:
    """One such server."""

    def __init__(self, backends: BackendClient, base: str) -> None:
        """Ask by `backends` at `base`, its URL without a path."""
        self._backends = backends
        self._base = base

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """Return the status and the JSON of the answer; None for anything else.

        Raises:
            BackendError: there is no answer.
        """
        status, answered = await self.exchange(method, path, b"" if body is None else msgspec.json.encode(body))
        try:
            return status, msgspec.json.decode(answered)
        except NO_JSON:
            return status, None

    async def exchange(self, method: str, path: str, body: bytes, hold: Hold | None = None) -> tuple[int, bytes]:
        """Return status and body of an answer.

        Args:
            method: of the request.
            path: of the request, with its query.
            body: of the request.
            hold: told of the body, where it is kept until all is answered; others are read and gone.

        Raises:
            BackendError: there is no answer.
        """
        async with self._backends.exchange(method, self._base + path, _JSON, body) as reply:
            return reply.status, await read_whole(reply, hold or _hold_nothing)


def member(value: Any, name: str) -> Any:
    """Return a member of a JSON object; None of anything else."""
    return value.get(name) if isinstance(value, dict) else None


def _hold_nothing(_: int) -> None:
    return
