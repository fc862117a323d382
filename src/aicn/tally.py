"""How many there are of each, where a key that has none takes no room."""

from __future__ import annotations

from collections import Counter
from typing import TypeVar

K = TypeVar("K")


class Tally(Counter[K]):
    """Counts what is under way by whose it is: the table is bounded by what is, whatever keys strangers bring."""

    def take(self, key: K, amount: int = 1) -> None:
        """Count `amount` less of `key`."""
        left = self[key] - amount
        if left:
            self[key] = left
        else:
            del self[key]
