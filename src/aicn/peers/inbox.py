"""The way of a heartbeat from the network into the directory."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

from aicn.clock import Clock
from aicn.errors import MalformedMessage
from aicn.ids import PeerId
from aicn.p2p.host import GossipMessage
from aicn.peers.admission import Admission
from aicn.peers.directory import Directory
from aicn.peers.heartbeat import read_heartbeat


class Outcome(StrEnum):
    """What became of a gossip message."""

    APPLIED = "applied"
    """A heartbeat, now in the directory."""
    OTHER = "other"
    """Not a heartbeat: for somebody else to read."""
    MALFORMED = "malformed"
    """Not a message of the protocol, or a heartbeat that another node signed."""
    REPLAYED = "replayed"
    """A heartbeat no newer than one that was applied before."""
    TOO_MANY = "too_many"
    """Not read: its sender has used up its allowance."""


class HeartbeatInbox:
    """Applies the heartbeats that deserve it to a directory, and counts the others.

    Attributes:
        outcomes: how many messages ended in each way, for metrics.
    """

    def __init__(self, directory: Directory, clock: Clock, *, admission: Admission | None = None) -> None:
        """Feed `directory`.

        Args:
            directory: where heartbeats go.
            clock: measures the rate of each sender.
            admission: limits to use instead of the usual ones.
        """
        self._directory = directory
        if admission is None:
            admission = Admission(clock, is_believed=lambda peer: directory.record(peer) is not None)
        self._admission = admission
        self.outcomes: Counter[Outcome] = Counter()

    def receive(self, gossip: GossipMessage) -> Outcome:
        """Take in one message and tell what became of it. Never raises for what a peer sent."""
        outcome = self._receive(gossip)
        self.outcomes[outcome] += 1
        return outcome

    def hear_own(self, payload: bytes, own_id: PeerId) -> None:
        """Apply the heartbeat that this node is about to send: gossip does not bring it back to its sender.

        Args:
            payload: the same bytes that the others will read.
            own_id: this node.

        Raises:
            MalformedMessage: the payload is not one of this node.
        """
        heartbeat = read_heartbeat(GossipMessage(topic="", source=own_id, seqno=b"", data=payload))
        if heartbeat is None:
            raise MalformedMessage("what was to be heard of this node itself is no heartbeat")
        self._directory.apply(heartbeat)

    def _receive(self, gossip: GossipMessage) -> Outcome:
        if not self._admission.has_allowance(gossip.source):
            return Outcome.TOO_MANY
        try:
            heartbeat = read_heartbeat(gossip)
        except MalformedMessage:
            self._admission.spend(gossip.source)
            return Outcome.MALFORMED
        if heartbeat is None:
            return Outcome.OTHER
        if not self._admission.admit(gossip.source, gossip.seqno, heartbeat.sent_unix_s):
            return Outcome.REPLAYED
        self._directory.apply(heartbeat)
        return Outcome.APPLIED
