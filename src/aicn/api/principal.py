"""Who sent a request, as far as that decides what it may do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from starlette.types import Scope

from aicn.api.errors import ApiError, Code
from aicn.store.keys import ApiKey, KeyLimits, hash_of

_REFUSED: Final = 403

SCOPE_KEY: Final = "aicn.principal"
"""Where the gate puts the principal for the routes behind it."""


@dataclass(frozen=True, slots=True)
class Principal:
    """One caller, or all who share a key."""

    key: ApiKey | None = None
    address: str = ""
    """Of a caller from elsewhere without a key."""

    @property
    def key_id(self) -> str:
        """Id of the key, empty if there is none."""
        return "" if self.key is None else self.key.id

    @property
    def queue(self) -> str:
        """What requests that wait together have in common: the key, or else the address."""
        return self.key_id or f"@{self.address}"

    @property
    def limits(self) -> KeyLimits:
        """What it may use."""
        return NO_LIMITS if self.key is None else self.key.limits

    @property
    def asks_all(self) -> bool:
        """Whether it may ask every model."""
        return self.key is None or not self.key.models

    def allows(self, project: str, model: str) -> bool:
        """Return whether it may ask that model."""
        return self.key is None or self.key.allows(project, model)

    def require(self, project: str, model: str) -> None:
        """Refuse what it may not ask.

        Raises:
            ApiError: 403.
        """
        if not self.allows(project, model):
            raise ApiError(
                Code.PERMISSION,
                f"this key may not ask the model {f'{project}/{model}'!r}; its owner sets which ones it may",
                _REFUSED,
                slug="model_not_allowed",
                param="model",
            )


NO_LIMITS: Final = KeyLimits()

LOCAL: Final = Principal()
"""A caller on the node's own machine, who may do everything."""


def principal_of(scope: Scope) -> Principal:
    """Return who sent a request; without a gate before it, that is this machine."""
    found: Principal = scope.get(SCOPE_KEY, LOCAL)
    return found


class Keyring:
    """The keys of this node in memory, found by their secrets."""

    def __init__(self) -> None:
        """Know none yet."""
        self._by_hash: dict[bytes, ApiKey] = {}
        self._by_id: dict[str, ApiKey] = {}

    def __len__(self) -> int:
        """Return how many keys there are, revoked ones included."""
        return len(self._by_hash)

    def replace(self, keys: Iterable[ApiKey]) -> None:
        """Know `keys` from now on, and no others."""
        self._by_id = {key.id: key for key in keys}
        self._by_hash = {key.hash: key for key in self._by_id.values()}

    def by_id(self, number: str) -> ApiKey | None:
        """Return the key with that id."""
        return self._by_id.get(number)

    def find(self, secret: str, now_unix_s: float) -> ApiKey | None:
        """Return the valid key with that secret.

        What is compared are hashes of what was sent: how long that takes tells nothing of any secret.
        """
        key = self._by_hash.get(hash_of(secret))
        return key if key is not None and key.is_valid(now_unix_s) else None
