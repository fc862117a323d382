"""What all requests together may hold in memory: bodies that may have to be sent again, answers that must be whole."""

from __future__ import annotations

from aicn import defaults
from aicn.api.errors import ApiError, Code


class Budget:
    """Counts the bytes held for all requests. Use from one event loop.

    It never makes a request wait: two that wait for each other's bytes would wait forever.

    Attributes:
        held_bytes: what is held now.
    """

    def __init__(self, max_bytes: int = defaults.HELD_MAX_BYTES) -> None:
        """Allow `max_bytes` in all."""
        self._max_bytes = max_bytes
        self.held_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Count `size_bytes` more.

        Raises:
            ApiError: there is no room for them (503); nothing is counted.
        """
        if self.held_bytes + size_bytes > self._max_bytes:
            raise ApiError(
                Code.BUFFER,
                f"this node holds {self.held_bytes} bytes of requests and answers and has no room for more; "
                "ask again in a moment",
                503,
            )
        self.held_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Count `size_bytes` less."""
        self.held_bytes -= size_bytes
