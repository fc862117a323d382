"""Who this node is connected to: the parts of `Swarm` and `PeersCollect.ClientProject`, put together."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager, nullcontext

from aicn.clock import Clock
from aicn.config import Config
from aicn.errors import HostClosed
from aicn.ids import PeerId
from aicn.multiaddr import peer_of
from aicn.node.background import Background
from aicn.p2p.connmgr import ConnectionManager
from aicn.p2p.dialer import Dialer
from aicn.p2p.gating import Gate
from aicn.p2p.host import Host, HostEvent, PeerAddrs, StreamHandler
from aicn.p2p.relays import RelayClient
from aicn.peers import Directory, NodeFlags, PeerRecord, Standing, standing


def worth(record: PeerRecord | None, *, collects: bool) -> int:
    """Return what a connection to a peer is worth: a pure function.

    Args:
        record: what the peer said of itself; None for a stranger.
        collects: whether this node asks others for its users. Such a node needs who serves models most; one that
            does not needs who asks.
    """
    if record is None:
        return 0
    serves, asks = NodeFlags.HAS_MODELS in record.flags, NodeFlags.COLLECTS in record.flags
    return 1 + (2 * serves + asks if collects else 2 * asks + serves)


def welcome(record: PeerRecord | None, project: str, now_s: float) -> bool:
    """Return whether a peer that dials this node may stay: a pure function.

    A stranger, a node without models and one that was not heard for so long that it is no candidate any more are
    let in: they may serve the project, and how else could they tell?

    Args:
        record: what the peer last said of itself.
        project: `App.PeersCollect.ClientProject`; empty lets everybody in.
        now_s: local monotonic time.
    """
    if not project or record is None or NodeFlags.HAS_MODELS not in record.flags:
        return True
    if standing(record.heard_s, now_s) is not Standing.ELIGIBLE:
        return True
    return any(offer.project == project for offer in record.offers)


class Links:
    """Dials, lets in, is called through relays, and closes what is too much."""

    def __init__(self, host: Host, config: Config, directory: Directory, clock: Clock) -> None:
        """Prepare the links of `host` as `config` wants them; `directory` knows the peers."""
        self._host = host
        self._config = config
        self._directory = directory
        self._clock = clock
        swarm = config.swarm
        self._relays = (
            RelayClient(host, swarm.relay_client.static_relays or config.bootstrap)
            if swarm.relay_client.enabled
            else None
        )
        self._manager = (
            ConnectionManager(
                host,
                low_water=swarm.conn_mgr.low_water,
                high_water=swarm.conn_mgr.high_water,
                grace_s=swarm.conn_mgr.grace_period_s,
                worth=self._worth,
                keep=self._kept,
                clock=clock,
            )
            if swarm.conn_mgr.type == "basic"
            else None
        )
        self._gate = Gate(host, self._welcome) if config.app.peers_collect.client_project else None
        self._dialer: Dialer | None = None

    @property
    def dialer(self) -> Dialer:
        """What dials.

        Raises:
            HostClosed: the node has not started yet.
        """
        if self._dialer is None:
            raise HostClosed("this node has not started yet; ask again in a moment")
        return self._dialer

    def start(self, background: Background, remembered: Iterable[PeerAddrs]) -> None:
        """Begin, with the peers of earlier runs."""
        room = {} if self._manager is None else {"room": self._manager.room}
        self._dialer = Dialer(
            self._host,
            bootstrap=self._config.bootstrap,
            remembered=remembered,
            topic=self._config.app.topic_name,
            clock=self._clock,
            worth=self._worth,
            **room,
        )
        background.spawn("dialling", self._dialer.run())
        if self._manager is not None:
            background.spawn("connection manager", self._manager.run())
        if self._gate is not None:
            background.spawn("gate", self._gate.run())
        if self._relays is not None:
            background.spawn("relays", self._relays.run())

    def on_event(self, event: HostEvent) -> None:
        """Tell every part what happened."""
        for part in (self._gate, self._manager, self._relays, self._dialer):
            if part is not None:
                part.on_event(event)

    def counting(self, handler: StreamHandler) -> StreamHandler:
        """Return `handler`, with the connection of each stream kept as long as it runs."""
        return handler if self._manager is None else self._manager.counting(handler)

    def using(self, peer: PeerId) -> AbstractContextManager[None]:
        """Keep the connection to `peer` for the length of the block."""
        return nullcontext() if self._manager is None else self._manager.using(peer)

    def _worth(self, peer: PeerId) -> int:
        return worth(self._directory.record(peer), collects=self._config.app.peers_collect.enabled)

    def _welcome(self, peer: PeerId) -> bool:
        project = self._config.app.peers_collect.client_project
        return welcome(self._directory.record(peer), project, self._clock.monotonic())

    def _kept(self) -> Collection[PeerId]:
        """Return the peers that are never closed: they would be dialled again at once."""
        bootstrap = () if self._dialer is None else self._dialer.bootstrap()
        kept = {peer for addr in bootstrap if (peer := peer_of(addr)) is not None}
        return kept if self._relays is None else kept | self._relays.peers
