"""Who is left alone for a while: single instances, and nodes of which one instance after the other fails."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, TypeVar

from aicn import defaults
from aicn.ids import PeerId
from aicn.routing import breaker
from aicn.routing.breaker import CLOSED, Breaker
from aicn.routing.reservations import Instance, Node

_SPARED: Final = defaults.BREAKER_FAILURES - 1
"""Instances of a node that may refuse for want of room before the others are taken to be full as well."""

_KeyT = TypeVar("_KeyT", Instance, Node)


class Breakers:
    """A breaker for each instance that is in trouble, and one for its node.

    Each instance counts once against its node until it answers well: one that is broken does not shut its neighbours
    off, and a node whose instances all fail, or that invents new ones as soon as the old ones are left alone, is left
    alone as a whole. The longest untroubled are forgotten when there are too many. Use from one event loop.
    """

    def __init__(self, max_instances: int = defaults.MEASURED_MAX_INSTANCES) -> None:
        """Know of no trouble."""
        self._max = max_instances
        self._instances: OrderedDict[Instance, Breaker] = OrderedDict()
        self._nodes: OrderedDict[Node, Breaker] = OrderedDict()

    def __len__(self) -> int:
        """Return how many instances are in trouble."""
        return len(self._instances)

    def allows(self, instance: Instance, now_s: float) -> bool:
        """Return whether one more request may be sent to `instance`."""
        own, shared = self._instances.get(instance), self._nodes.get(instance[:3])
        return (own is None or breaker.allows(own, now_s)) and (shared is None or breaker.allows(shared, now_s))

    def until_s(self, instance: Instance) -> float:
        """Return until when `instance` is left alone."""
        own, shared = self._instances.get(instance, CLOSED), self._nodes.get(instance[:3], CLOSED)
        return max(own.until_s, shared.until_s)

    def asked(self, instance: Instance, now_s: float) -> None:
        """Note that a request was sent: where it is on trial, no other is."""
        own, shared = self._instances.get(instance), self._nodes.get(instance[:3])
        if own is not None:
            self._instances[instance] = breaker.asked(own, now_s)
        if shared is not None:
            self._nodes[instance[:3]] = breaker.asked(shared, now_s)

    def good(self, instance: Instance) -> None:
        """Note that a request was answered."""
        self._instances.pop(instance, None)
        self._nodes.pop(instance[:3], None)

    def failed(self, instance: Instance, now_s: float, *, reachable: bool) -> None:
        """Note that a request failed in a way that is the instance's fault."""
        fell = breaker.failed if reachable else breaker.out_of_reach
        own, shared = self._instances.get(instance), self._nodes.get(instance[:3], CLOSED)
        self._set(self._instances, instance, fell(own or CLOSED, now_s))
        if own is None or not reachable or breaker.is_open(shared):
            self._set(self._nodes, instance[:3], fell(shared, now_s))

    def busy(self, instance: Instance, now_s: float) -> None:
        """Note that a request was refused for want of room."""
        own, shared = self._instances.get(instance), self._nodes.get(instance[:3], CLOSED)
        self._set(self._instances, instance, breaker.busy(own or CLOSED, now_s))
        if own is None or shared.refusals > _SPARED:
            self._set(self._nodes, instance[:3], breaker.busy(shared, now_s, _SPARED))

    def let_go(self, instance: Instance) -> None:
        """Note that a request that was sent will tell nothing."""
        own, shared = self._instances.get(instance), self._nodes.get(instance[:3])
        if own is not None:
            self._instances[instance] = breaker.let_go(own)
        if shared is not None:
            self._nodes[instance[:3]] = breaker.let_go(shared)

    def came(self, peer: PeerId) -> None:
        """Note that `peer` is connected and was not."""
        for instance in [each for each in self._instances if each[0] == peer]:
            self._ease(self._instances, instance)
        for node in [each for each in self._nodes if each[0] == peer]:
            self._ease(self._nodes, node)

    def _ease(self, table: OrderedDict[_KeyT, Breaker], key: _KeyT) -> None:
        state = breaker.came(table[key])
        if state is CLOSED:
            del table[key]
        else:
            table[key] = state

    def open_count(self) -> int:
        """Return how many instances are left alone because they have failed."""
        return sum(breaker.is_open(state) for state in self._instances.values())

    def _set(self, table: OrderedDict[_KeyT, Breaker], key: _KeyT, state: Breaker) -> None:
        table[key] = state
        table.move_to_end(key)
        if len(table) > self._max:
            table.popitem(last=False)
