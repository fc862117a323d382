"""How fast and how reliable each instance was: moving averages that trust slowly and lose trust fast."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, TypeVar

from aicn import defaults
from aicn.ids import ModelName, ProjectName
from aicn.routing.reservations import Instance, Node

_LOSE: Final = 0.5
"""Weight of a value that is worse than the average."""

_TRUST: Final = 0.15
"""Weight of one that is better."""

_COMMON: Final = 0.05
"""Weight of each value in what all instances of a model have in common; the first ones weigh more, since before them
there is only a guess."""

_KeyT = TypeVar("_KeyT", Instance, Node)


@dataclass(slots=True)
class Measured:
    """What was measured of one instance, or of all of a model; times in seconds."""

    first_s: float
    """To the first content."""
    token_s: float
    """For each token after it."""
    failing: float = 0.0
    """Share of recent requests that failed or were refused, 0 to 1."""
    at_s: float = 0.0
    """When it was measured last."""


@dataclass(slots=True)
class _Common:
    """What all instances of a model have in common; times in seconds."""

    first_s: float = defaults.FIRST_CONTENT_GUESS_S
    token_s: float = defaults.TOKEN_GUESS_S
    firsts: int = 0
    """Values in `first_s`."""
    tokens: int = 0
    """Values in `token_s`."""

    def take(self, first_s: float | None, token_s: float | None) -> None:
        """Take in one answer; None: could not be measured."""
        if first_s is not None:
            self.firsts += 1
            self.first_s += max(_COMMON, 1 / self.firsts) * (first_s - self.first_s)
        if token_s is not None:
            self.tokens += 1
            self.token_s += max(_COMMON, 1 / self.tokens) * (token_s - self.token_s)


class Measurements:
    """Averages by instance, the least recently measured forgotten when there are too many."""

    def __init__(self, max_instances: int = defaults.MEASURED_MAX_INSTANCES) -> None:
        """Know nothing yet."""
        self._max = max_instances
        self._instances: OrderedDict[Instance, Measured] = OrderedDict()
        self._nodes: OrderedDict[Node, Measured] = OrderedDict()
        self._models: OrderedDict[tuple[ProjectName, ModelName], _Common] = OrderedDict()

    def __len__(self) -> int:
        """Return how many instances are remembered."""
        return len(self._instances)

    def of(self, instance: Instance, now_s: float) -> Measured:
        """Return what is to be expected of `instance`.

        What is new is taken for somewhat better than the others, so that it gets work at once; what was measured long
        ago turns into that again, so that it gets another chance. A new instance at a node that is known is taken for
        as fast as its neighbours are: a node is not new again because it gives its instances new names.
        """
        own = self._instances.get(instance)
        if own is not None:
            return self._expected(own, instance, now_s)
        expected = self._expected(self._nodes.get(instance[:3]), instance, now_s)
        # They share a machine, not a server: if one is broken, that says nothing of another.
        expected.failing = 0.0
        return expected

    def _expected(self, known: Measured | None, of: Instance | Node, now_s: float) -> Measured:
        common = self._models.get((of[1], of[2]))
        first_s = (common.first_s if common else defaults.FIRST_CONTENT_GUESS_S) * defaults.NEWCOMER_BONUS
        token_s = (common.token_s if common else defaults.TOKEN_GUESS_S) * defaults.NEWCOMER_BONUS
        if known is None:
            return Measured(first_s, token_s)
        left = math.exp((known.at_s - now_s) / defaults.MEASURED_FADES_S)
        return Measured(
            first_s + (known.first_s - first_s) * left,
            token_s + (known.token_s - token_s) * left,
            known.failing * left,
        )

    def first_content_s(self, instance: Instance) -> float | None:
        """Return the usual time to the first content of `instance`, None if it was never asked."""
        known = self._instances.get(instance)
        return None if known is None else known.first_s

    def answered(self, instance: Instance, first_s: float | None, token_s: float | None, now_s: float) -> None:
        """Take in a request that went well; None: could not be measured."""
        self._model(instance).take(first_s, token_s)
        for known in self._entries(instance, now_s):
            if first_s is not None:
                known.first_s = _moved(known.first_s, first_s)
            if token_s is not None:
                known.token_s = _moved(known.token_s, token_s)
            known.failing *= 1 - _TRUST

    def wrote(self, instance: Instance, whole_s: float, tokens: int, now_s: float) -> None:
        """Take in an answer that came when all of it was written.

        What part of the time was the first token's is not known, and a long answer takes long everywhere. So what
        counts is how it compares with what was expected for one of so many tokens; 0: nobody knows how many.
        """
        if not tokens:
            self.answered(instance, None, None, now_s)
            return
        expected = self.of(instance, now_s)
        slower = whole_s / (expected.first_s + tokens * expected.token_s)
        self.answered(instance, expected.first_s * slower, expected.token_s * slower, now_s)

    def refused(self, instance: Instance, now_s: float) -> None:
        """Take in a request that was refused.

        One that is broken is so everywhere, and makes no difference between instances. But an instance that refuses all
        of them is idle all the time, and would be asked more than any other.
        """
        for known in self._entries(instance, now_s):
            known.failing += _TRUST * (1 - known.failing)

    def slow(self, instance: Instance, at_least_s: float, now_s: float) -> None:
        """Take in a request of which there was no content yet after so long."""
        for known in self._entries(instance, now_s):
            known.first_s = _moved(known.first_s, max(known.first_s, at_least_s))

    def failed(self, instance: Instance, now_s: float) -> None:
        """Take in a request that failed."""
        for known in self._entries(instance, now_s):
            known.failing += _LOSE * (1 - known.failing)

    def _entries(self, instance: Instance, now_s: float) -> tuple[Measured, Measured]:
        """Return what is kept of an instance and of its node, as it is now and to be changed."""
        own = self._entry(self._instances, instance, self.of(instance, now_s), now_s)
        shared = self._expected(self._nodes.get(instance[:3]), instance, now_s)
        return own, self._entry(self._nodes, instance[:3], shared, now_s)

    def _entry(self, table: OrderedDict[_KeyT, Measured], key: _KeyT, known: Measured, now_s: float) -> Measured:
        known.at_s = now_s
        table[key] = known
        table.move_to_end(key)
        if len(table) > self._max:
            table.popitem(last=False)
        return known

    def _model(self, instance: Instance) -> _Common:
        name = (instance[1], instance[2])
        common = self._models.get(name)
        if common is None:
            common = self._models[name] = _Common()
            if len(self._models) > self._max:
                self._models.popitem(last=False)
        return common


def _moved(old: float, new: float) -> float:
    return old + (_LOSE if new > old else _TRUST) * (new - old)
