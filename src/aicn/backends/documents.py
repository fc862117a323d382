"""Small JSON documents of model servers: lists of models, versions."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from aicn import defaults
from aicn.backends.client import BackendClient
from aicn.errors import BackendRefused
from aicn.wire.json_members import NO_JSON

_OK: Final = 200
_UNAUTHORIZED: Final = 401


class DocumentReader:
    """Gets documents one by one, in bounded time and size."""

    def __init__(self) -> None:
        """Open nothing yet."""
        self._client = BackendClient(idle_timeout_s=defaults.DISCOVERY_ASK_TIMEOUT_S)

    async def read(self, url: str) -> Any:
        """Return the JSON at `url`; None if there is none, or more than `defaults.DISCOVERY_ANSWER_MAX_BYTES`.

        Raises:
            BackendUnreachable: nobody listens there.
            BackendTimeout, BackendBroken: whoever does is silent, or no HTTP server.
            BackendRefused: it wants a key.
        """
        body = bytearray()
        async with self._client.exchange("GET", url, ((b"accept", b"application/json"),), b"") as reply:
            if reply.status == _UNAUTHORIZED:
                raise BackendRefused("it wants a key")
            if reply.status != _OK:
                return None
            while part := await reply.read_some():
                body += part
                if len(body) > defaults.DISCOVERY_ANSWER_MAX_BYTES:
                    return None
        try:
            return msgspec.json.decode(body)
        except NO_JSON:
            return None

    async def close(self) -> None:
        """Close every connection. Idempotent."""
        await self._client.close()
