"""Gossip between hosts in memory: who hears what, once, and passes it on."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable

from aicn import defaults
from aicn.errors import PublishFailed
from aicn.ids import PeerId
from aicn.p2p.host import GossipHandler, GossipMessage

_log = logging.getLogger("aicn.p2p")

_SEEN_MAX = 10_000
"""Gossip messages remembered against duplicates: far more than are under way at once."""


class MemoryGossip:
    """What one host publishes, hears and sends on."""

    def __init__(
        self, own: PeerId, topics: tuple[str, ...], neighbours: Callable[[], Iterable[tuple[PeerId, MemoryGossip]]]
    ) -> None:
        """Speak for `own`, who listens to `topics`; `neighbours` are the connected peers of the moment."""
        self.handler: GossipHandler | None = None
        self.topics = topics
        self._own = own
        self._neighbours = neighbours
        self._seen: OrderedDict[tuple[PeerId, bytes], None] = OrderedDict()
        self._seqno = 0
        self._ended = False

    def end(self) -> None:
        """Hear nothing more."""
        self._ended = True

    async def publish(self, topic: str, data: bytes) -> int:
        """Send `data` to the subscribers of `topic`, who send it on; return to how many.

        Raises:
            PublishFailed: it is longer than a message may be.
        """
        if len(data) > defaults.GOSSIP_MAX_BYTES:
            raise PublishFailed(f"a message of {len(data)} bytes is longer than {defaults.GOSSIP_MAX_BYTES} bytes")
        self._seqno += 1
        message = GossipMessage(topic, self._own, self._seqno.to_bytes(8), data)
        self._remember(message)
        await asyncio.sleep(0)
        return self._send_on(message, came_from=None)

    def _hear(self, message: GossipMessage, came_from: PeerId) -> None:
        """Take in a message of the network, once, and send it on."""
        if self._ended or message.topic not in self.topics or not self._remember(message):
            return
        if self.handler is not None:
            try:
                self.handler(message)
            except Exception:  # noqa: BLE001 - told in the log; the next one is delivered
                _log.exception("the receiver of gossip failed on a message of %s", message.source)
        self._send_on(message, came_from)

    def _send_on(self, message: GossipMessage, came_from: PeerId | None) -> int:
        loop = asyncio.get_running_loop()
        others = [
            other
            for peer, other in self._neighbours()
            if peer not in {came_from, message.source} and message.topic in other.topics
        ]
        for other in others:
            loop.call_soon(other._hear, message, self._own)  # noqa: SLF001 - of the same class
        return len(others)

    def _remember(self, message: GossipMessage) -> bool:
        """Return whether the message is new."""
        name = message.source, message.seqno
        if name in self._seen:
            return False
        self._seen[name] = None
        if len(self._seen) > _SEEN_MAX:
            self._seen.popitem(last=False)
        return True
