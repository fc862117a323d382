"""Every instance that could answer a request, with what is known of it at this moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aicn.ids import InstanceId, ModelName, PeerId, ProjectName
from aicn.p2p.host import Connection
from aicn.peers import Directory
from aicn.routing.reservations import Reservations


@dataclass(frozen=True, slots=True)
class Candidate:
    """One instance of a model on one node."""

    peer: PeerId
    cid: InstanceId
    in_flight: int
    """Requests in flight there: what the node reports or what this node sent, whichever is more."""
    connected: bool
    relayed: bool
    rtt_us: int | None
    """Round-trip time in microseconds; None while unknown. 0 for this node itself."""


class CandidateSource:
    """Joins the directory (who serves what), the connections (how near) and our own reservations (how busy)."""

    def __init__(
        self,
        directory: Directory,
        connection: Callable[[PeerId], Connection | None],
        reservations: Reservations,
        own_id: PeerId,
    ) -> None:
        """`connection` tells how a peer is connected now; `own_id` needs no connection."""
        self._directory = directory
        self._connection = connection
        self._reservations = reservations
        self._own_id = own_id

    def find(self, project: ProjectName, model: ModelName) -> tuple[Candidate, ...]:
        """Return all instances of the model that are believed to be alive, in no particular order."""
        return tuple(
            self._candidate(record.peer, project, model, offer.cid, offer.in_flight)
            for record, offer in self._directory.serving(project, model)
        )

    def _candidate(
        self, peer: PeerId, project: ProjectName, model: ModelName, cid: InstanceId, reported: int
    ) -> Candidate:
        in_flight = max(reported, self._reservations.count((peer, project, model, cid)))
        if peer == self._own_id:
            return Candidate(peer, cid, in_flight, connected=True, relayed=False, rtt_us=0)
        connection = self._connection(peer)
        if connection is None:
            return Candidate(peer, cid, in_flight, connected=False, relayed=False, rtt_us=None)
        return Candidate(peer, cid, in_flight, connected=True, relayed=connection.relayed, rtt_us=connection.rtt_us)
