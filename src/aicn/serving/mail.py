"""Every gossip message to its reader: heartbeats to the directory, replies to who asked, questions to who answers."""

from __future__ import annotations

import logging

from aicn.errors import MalformedMessage
from aicn.ids import PeerId
from aicn.p2p.host import GossipMessage
from aicn.p2p.rpc import ReplyOutcome, Rpc
from aicn.peers import HeartbeatInbox, Outcome
from aicn.serving.gossip import GossipServer
from aicn.wire.messages import decode_message

_log = logging.getLogger("aicn.serving")


class GossipMail:
    """Sorts the gossip of this node's topic; `receive` is a `GossipHandler`."""

    def __init__(self, own_id: PeerId, heartbeats: HeartbeatInbox, rpc: Rpc, server: GossipServer) -> None:
        """Sort what is for `own_id`.

        Args:
            own_id: this node.
            heartbeats: reads what is for everybody.
            rpc: reads replies.
            server: reads questions.
        """
        self._own_id = own_id
        self._heartbeats = heartbeats
        self._rpc = rpc
        self._server = server

    def receive(self, gossip: GossipMessage) -> None:
        """Hand one message to its reader. Never raises for what a peer sent."""
        outcome = self._heartbeats.receive(gossip)
        # Whoever has used up its allowance of heartbeats may still answer and ask: a reference node sends two
        # heartbeats with each request it works on, and its replies must not be lost for that.
        if outcome not in {Outcome.OTHER, Outcome.TOO_MANY}:
            return
        try:
            message = decode_message(gossip.data)
        except MalformedMessage as error:
            _log.debug("a message of peer %s is dropped: %s", gossip.source, error)
            return
        if message.header.receiver != self._own_id or not message.header.id:
            return
        if self._rpc.receive(message, gossip.source) is ReplyOutcome.NOT_ASKED:
            self._server.receive(message, gossip.source)
