"""A node: every part built, connected, started and stopped in a stated order.

Start: datastore, HTTP address (taken, not served), libp2p, dialling and heartbeats, HTTP.
Stop: HTTP (requests under way get a moment), farewell heartbeat, dialling, requests of other nodes (they get a
moment too), libp2p, model server connections, datastore. What started last stops first, so that no part ever
calls one that is gone.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from starlette.routing import Route

from aicn import defaults
from aicn.api import (
    BootstrapRoutes,
    ControlRoutes,
    Handlers,
    MetricsEndpoint,
    ModelRoutes,
    NetworkRoutes,
    NodeRoutes,
    ProjectRoutes,
    SwarmRoutes,
    routes,
)
from aicn.api.streaming import StreamSettings
from aicn.backends import BackendClient
from aicn.clock import Clock, SystemClock
from aicn.config import ConfigFile, set_models
from aicn.ids import PeerId
from aicn.node.accounts import Accounts
from aicn.node.announcer import Announcer
from aicn.node.background import Background
from aicn.node.gossip import Questions
from aicn.node.health import watch_model_servers
from aicn.node.http import HttpListeners
from aicn.node.links import Links
from aicn.node.readings import read_network, read_node, read_routing
from aicn.node.records import Records
from aicn.node.settings import configured_models, host_config, node_flags, route_settings
from aicn.p2p.host import (
    EventsLost,
    Host,
    HostConfig,
    HostEnded,
    HostEvent,
    PeerConnected,
    PeerDisconnected,
    PeerIdentified,
    PeerSubscribed,
    Stream,
)
from aicn.p2p.loopback import LoopbackStreams
from aicn.peers import Directory, HeartbeatInbox, KnownPeers
from aicn.registry import Model, ModelRegistry
from aicn.routing import CandidateSource, LegacyStreams, Reservations, RetryBudget, Router, Selector, SpokenProtocols
from aicn.serving import ChatProxyServer
from aicn.store import Store
from aicn.telemetry import metrics
from aicn.upkeep.upgrade import is_automatic, is_supervised, upgrade_settings

_log = logging.getLogger("aicn.node")

MakeHost = Callable[[HostConfig], Host]


def native_host(config: HostConfig) -> Host:
    """Build the real host. Imported late, so that a simulation of many nodes loads no native code."""
    from aicn.p2p.native import NativeHost  # noqa: PLC0415

    return NativeHost(config)


class Node:
    """One running node.

    Use as `async with Node(config_file) as node: await node.ended()`, or through `run`.

    Attributes:
        host: the peer-to-peer network.
        directory: what the other nodes serve.
        registry: what this node serves.
        api: the HTTP server.
    """

    def __init__(
        self, config_file: ConfigFile, *, make_host: MakeHost = native_host, clock: Clock | None = None
    ) -> None:
        """Build the parts that need neither files nor sockets.

        Args:
            config_file: a loaded and valid configuration.
            make_host: builds the host; tests bring the in-memory one.
            clock: for every age and wait.

        Raises:
            IdentityError, AddressError: the configuration holds a key or an address that cannot be used.
        """
        config = config_file.config
        self._config_file = config_file
        self._config = config
        self._clock = clock or SystemClock()
        self._running = AsyncExitStack()
        self._background: Background | None = None
        self._stopping = False
        self._known_peers: KnownPeers | None = None
        self._release_wanted = asyncio.Event()

        self.host = make_host(host_config(config))
        self.directory = Directory(
            self._clock, is_connected=lambda peer: peer == self.host.peer_id or self.host.connection(peer) is not None
        )
        self._inbox = HeartbeatInbox(self.directory, self._clock)
        self._links = Links(self.host, config, self.directory, self._clock)
        self._records = Records(config.aicn, self.host.peer_id, self._clock)
        self._accounts = Accounts(config.aicn.limits, self._clock)
        self._records.observer.spend = self._accounts.spend
        read_network(self._records.counted, self.host, self.directory, self._inbox)
        self.registry = ModelRegistry(configured_models(config), save=self._save_models, on_change=self._models_changed)
        self._announcer = Announcer(
            self.host.peer_id,
            self._inbox,
            self._publish,
            models=self._offered,
            in_flight=self.registry.in_flight.count,
            flags=node_flags(config),
            interval_s=config.app.peers_collect.heartbeat_interval_s,
            clock=self._clock,
        )
        self._backends = BackendClient()
        self._serving = ChatProxyServer(
            self.registry,
            self._backends,
            accepting=lambda: not self._stopping,
            observer=self._records.observer,
        )
        self._loopback = LoopbackStreams(self.host.peer_id, defaults.CHAT_PROXY_PROTOCOL, self._serving.handle)
        for protocol in defaults.INFERENCE_PROTOCOLS:
            self.host.on_stream(protocol, self._links.counting(self._serving.handle))
        self._questions = Questions(
            self.host,
            config,
            publish=self._publish,
            heartbeats=self._inbox,
            registry=self.registry,
            backends=self._backends,
            clock=self._clock,
            observer=self._records.observer,
        )
        self._questions.count_in(self._records.counted)
        self._spoken = SpokenProtocols(self.host.identity)
        self.host.on_gossip(self._questions.receive)
        self.host.on_event(self._event)
        self._http = HttpListeners(config, self._routes(), self._accounts.keyring, self._clock)
        self.api = self._http.api

    def _routes(self) -> list[Route]:
        config = self._config
        collects = config.app.peers_collect.enabled
        reservations = Reservations(self._links.using)
        candidates = CandidateSource(self.directory, self.host.connection, reservations, self.host.peer_id)
        streams = LegacyStreams(self.host, self._questions.rpc, self._open_stream, self._spoken)
        self._selector = Selector(
            self.directory,
            self.host.connection,
            reservations,
            self.host.peer_id,
            speaks=self._spoken,
            clock=self._clock,
        )
        budget = RetryBudget(self._clock, config.aicn.routing.retry_budget)
        read_routing(self._records.counted, self._selector, budget)
        router = Router(
            self._selector,
            reservations,
            streams.open,
            streams.open_named,
            settings=route_settings(config),
            budget=budget,
        )
        handlers = Handlers(
            network=NetworkRoutes(self.host, self.directory, topic=config.app.topic_name, collects=collects),
            projects=ProjectRoutes(self.directory, self.registry, candidates),
            controls=ControlRoutes(self.registry),
            swarm=SwarmRoutes(self.host),
            bootstrap=BootstrapRoutes(self.host, self._config_file, lambda: self._links.dialer),
            metrics=MetricsEndpoint(self._records.counted),
            nodes=NodeRoutes(self.host.peer_id, self._questions.facts, self._questions.rpc),
            models=ModelRoutes(self.directory, config.aicn.api.default_project),
        )
        return routes(
            handlers,
            router,
            collects=collects,
            observer=self._records.observer,
            admission=self._accounts.admission,
            streams=StreamSettings(
                config.aicn.routing.keep_alive_s,
                config.aicn.routing.continue_,
                config.aicn.routing.first_byte_timeout_s,
                config.aicn.routing.total_timeout_s,
            ),
        )

    # --- life ---------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start every part; if one cannot, stop those that were started.

        Raises:
            StoreError, ListenFailed, ConfigError: with one sentence that says what to do.
        """
        self._background = Background()
        async with AsyncExitStack() as started:
            await self._start(started, self._background)
            self._running = started.pop_all()
        _log.info("node %s listens on %s", self.host.peer_id, ", ".join(self.host.listen_addrs()))
        self._http.tell()
        if not self._config.bootstrap:
            _log.warning("no bootstrap peers are configured: this node waits for others to dial it")
        return self

    async def _start(self, started: AsyncExitStack, background: Background) -> None:
        config = self._config
        store = await Store.open(Path(config.app.datastore))
        started.push_async_callback(store.close)
        self._records.start(started, background, store)
        await self._accounts.start(background, store, self._records.counted)
        started.push_async_callback(self._accounts.close)
        self._known_peers = known_peers = await KnownPeers.load(store, self._clock)
        # Before what can fail: an address that is taken is let go of as well.
        started.push_async_callback(self._http.close)
        self._http.bind()
        started.push_async_callback(self._backends.close)
        started.push_async_callback(self._loopback.close)
        await self.host.start()
        started.push_async_callback(self.host.close)
        started.push_async_callback(self._drain)
        started.push_async_callback(background.stop)
        background.spawn("heartbeats", self._announcer.run(), self._announcer.stop)
        background.spawn("known peers", known_peers.run(), known_peers.stop)
        self._links.start(background, known_peers.to_dial())
        if config.aicn.discovery.enabled:
            from aicn.node.discovery import follow_model_servers  # noqa: PLC0415 - most nodes do without

            own_port = int(self.api.address.rpartition(":")[2])
            background.spawn("discovery", follow_model_servers(config.aicn.discovery, self.registry, own_port))
        read_node(self._records.counted, self.registry, self._links.dialer)
        if config.aicn.health.enabled:
            watch = watch_model_servers(self.registry, self._backends, config.aicn.health.interval_s, self._clock)
            background.spawn("health", watch)
        if is_supervised() and is_automatic(config):
            background.spawn("upgrades", self._upgrade())
        # Closed a second time, and first: no request may come while the parts behind it stop.
        started.push_async_callback(self._http.close)
        await self._http.start(background)

    async def __aexit__(self, *_: object) -> None:
        """Stop every part, last started first."""
        self._stopping = True
        # Nobody is to come any more, and that is said before the requests under way get their moment.
        self._announcer.poke()
        await self._running.aclose()
        _log.info("node stopped")

    async def ended(self) -> None:
        """Wait until a part fails; a healthy node never returns.

        Raises:
            AicnError: what the part failed with.
        """
        if self._background is not None:
            await self._background.ended()

    @classmethod
    async def run(cls, config_file: ConfigFile, *, stop: asyncio.Event) -> bool:
        """Run a node until `stop` is set, or until it is idle and a newer release is ready.

        Returns:
            Whether it is to be started again, in that release.

        Raises:
            AicnError: the node could not start, or a part of it failed.
        """
        async with cls(config_file) as node:
            # What the start has made stays: the collector need not look through it again while requests wait.
            gc.collect()
            gc.freeze()
            stopped = asyncio.create_task(stop.wait())
            ended = asyncio.create_task(node.ended())
            release = asyncio.create_task(node._release_wanted.wait())
            try:
                await asyncio.wait({stopped, ended, release}, return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    await ended
                return not stop.is_set()
            finally:
                for task in (stopped, ended, release):
                    task.cancel()
                await asyncio.gather(stopped, ended, release, return_exceptions=True)

    # --- what connects the parts --------------------------------------------------------------------------

    async def _upgrade(self) -> None:
        from aicn.upkeep.upgrade.upgrader import Upgrader  # noqa: PLC0415 - most nodes do without

        upgrader = Upgrader(
            upgrade_settings(self._config),
            self._config_file.path,
            in_flight=lambda: self._http.requests_under_way + self.registry.in_flight.total(),
            restart=self._release_wanted.set,
            clock=self._clock,
        )
        await upgrader.run()

    async def _drain(self) -> None:
        """Give the requests of other nodes, on streams and over gossip, the same moment to end."""
        await asyncio.gather(self._serving.drain(), self._questions.drain())

    async def _open_stream(self, peer: PeerId, protocol: str, first: bytes) -> Stream:
        if peer == self.host.peer_id:
            return await self._loopback.open(first)
        return await self.host.open_stream(peer, protocol, first=first, timeout_s=defaults.STREAM_OPEN_TIMEOUT_S)

    def _event(self, event: HostEvent) -> None:
        if isinstance(event, HostEnded) and self._background is not None:
            self._background.fail(event.error)
        if isinstance(event, PeerSubscribed):
            self._announcer.introduce()
        if isinstance(event, PeerConnected) and self._known_peers is not None:
            self._known_peers.connected(event.connection)
        if isinstance(event, PeerConnected):
            self._selector.network_changed(event.connection.peer, come=True)
        if isinstance(event, PeerDisconnected):
            self._selector.network_changed(event.peer)
        if isinstance(event, EventsLost):
            self._selector.network_changed(None)
        if isinstance(event, PeerIdentified):
            self._spoken.learn(event.identity)
        self._links.on_event(event)

    def _offered(self) -> tuple[Model, ...]:
        return () if self._stopping else self.registry.offered()

    def _models_changed(self) -> None:
        self._announcer.poke()

    async def _save_models(self, models: tuple[Model, ...]) -> None:
        await self._config_file.update(lambda raw: set_models(raw, models))

    async def _publish(self, payload: bytes) -> None:
        await self.host.publish(self._config.app.topic_name, payload)
        self._records.counted.add(metrics.PUBLISHED)
