"""What choosing a candidate takes in, and what is told of how each attempt went."""

from __future__ import annotations

import random
from collections.abc import Container
from enum import Enum, auto
from typing import NamedTuple

from aicn.ids import ModelKind, ModelName, ProjectName
from aicn.routing.candidates import Candidate, CandidateSource
from aicn.routing.reservations import Instance


class Wanted(NamedTuple):
    """What a request needs of its candidate."""

    project: ProjectName
    model: ModelName
    kind: ModelKind
    protocol: str | None = None
    session: str | None = None


class SampleOutcome(Enum):
    """What an attempt says of its instance."""

    GOOD = auto()
    FAILED = auto()
    BUSY = auto()
    """It works, and has more to do than it can."""


class Sample(NamedTuple):
    """How an attempt went."""

    outcome: SampleOutcome
    first_content_s: float | None = None
    tokens: int = 0
    content_s: float | None = None


class Selector:
    """Chooses the candidate with the fewest requests."""

    def __init__(self, candidates: CandidateSource) -> None:
        """Choose among `candidates`."""
        self._candidates = candidates

    def choose(self, wanted: Wanted, tried: Container[Instance]) -> Candidate | None:
        """Return the best instance that is not in `tried`; None if none is left.

        Raises:
            WrongKind: every instance does something else.
        """
        found = self._candidates.find(wanted.project, wanted.model, wanted.kind)
        left = (each for each in found if (each.peer, wanted.project, wanted.model, each.cid) not in tried)
        return min(left, key=lambda each: (not each.connected, each.in_flight, random.random()), default=None)  # noqa: S311

    def report(self, instance: Instance, sample: Sample) -> None:
        """Learn how an attempt at `instance` went."""

    def usual_first_content_s(self, instance: Instance) -> float | None:  # noqa: ARG002 - nothing is measured
        """Return how long `instance` usually takes to its first content; None while unknown."""
        return None
