"""How long it takes to choose one instance out of ten thousand, in peace and while they come, go and change."""

from __future__ import annotations

import random
import time

from aicn.clock import SystemClock
from aicn.ids import InstanceId, ModelKind, ModelName, Multiaddr, PeerId, ProjectName
from aicn.p2p.host import Connection, Direction
from aicn.peers import Directory, Heartbeat, NodeFlags, Offer
from aicn.routing import Reservations, Sample, SampleOutcome, Selector, Wanted

INSTANCES = 10_000
CHOICES = 20_000

_PROJECT, _MODEL = ProjectName("P"), ModelName("m")


class Crowd:
    """A directory of connected peers that all serve one model."""

    def __init__(self, instances: int = INSTANCES) -> None:
        clock = SystemClock()
        self._chance = random.Random(1)  # noqa: S311 - the same choices each time
        self._directory = Directory(clock, max_peers=2 * instances, max_offers=2 * instances)
        self._peers = [PeerId(f"peer{number}") for number in range(instances)]
        self._connections = {peer: _connection(peer) for peer in self._peers}
        for peer in self._peers:
            self._hear(peer, 0)
        self._selector = Selector(
            self._directory, self._connections.get, Reservations(), PeerId("own"), clock=clock, draw=self._chance.random
        )

    def _hear(self, peer: PeerId, in_flight: int, cid: str = "") -> None:
        offer = Offer(_PROJECT, _MODEL, InstanceId(cid), ModelKind.CHAT, in_flight)
        self._directory.apply(Heartbeat(peer, NodeFlags.HAS_MODELS, (offer,)))

    def _toggle(self, peer: PeerId) -> None:
        """Let `peer` go if it is connected, else come back."""
        come = self._connections.pop(peer, None) is None
        if come:
            self._connections[peer] = _connection(peer)
        self._selector.network_changed(peer, come=come)

    def choose(self, choices: int, *, changes: bool) -> list[float]:
        """Choose so often, each time after a heartbeat and a connection that came or went; return microseconds.

        Without `changes` there is neither. One heartbeat in ten tells of another instance in place of that before.
        """
        wanted = Wanted(_PROJECT, _MODEL, ModelKind.CHAT)
        took_us = []
        for number in range(choices):
            if changes:
                another = "" if number % 10 else f"{number}"
                self._hear(self._chance.choice(self._peers), self._chance.randrange(5), another)
                self._toggle(self._chance.choice(self._peers))
            began_ns = time.perf_counter_ns()
            found = self._selector.choose(wanted, ())
            took_us.append((time.perf_counter_ns() - began_ns) / 1_000)
            assert found is not None
            instance = (found.peer, _PROJECT, _MODEL, found.cid)
            self._selector.report(instance, Sample(SampleOutcome.GOOD, 0.1, 100, 1.0))
        return took_us


def _connection(peer: PeerId) -> Connection:
    return Connection(peer, Multiaddr("/ip4/127.0.0.1"), Direction.INBOUND, relayed=False, rtt_us=1_000, conn_id=peer)
