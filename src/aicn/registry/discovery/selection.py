"""Which of the models that are found are registered, and under which names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aicn.ids import matches


@dataclass(frozen=True, slots=True)
class Selection:
    """What the owner of a node wants of what is found. The default is everything, as it is called."""

    include: tuple[str, ...] = ()
    """Patterns of names, with `*` and `?`; none: all."""
    exclude: tuple[str, ...] = ()
    """Patterns of names that are left out all the same."""
    names: Mapping[str, str] = field(default_factory=dict)
    """The name on the network of a model that its server calls otherwise."""

    def wants(self, name: str) -> bool:
        """Return whether a model that its server calls `name` is registered."""
        if any(matches(name, pattern) for pattern in self.exclude):
            return False
        return not self.include or any(matches(name, pattern) for pattern in self.include)

    def name_of(self, name: str) -> str:
        """Return what a model is called on the network."""
        return self.names.get(name, name)
