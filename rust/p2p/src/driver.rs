//! The one task that owns the swarm.

mod peers;

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, TcpListener},
    ops::ControlFlow,
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, StreamExt};
use libp2p::{
    Multiaddr, PeerId,
    autonat::v1 as autonat,
    gossipsub, identify,
    kad::{self, Mode},
    multiaddr::Protocol,
    swarm::{ConnectionId, Swarm, SwarmEvent},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    address_book::{dialable, is_loopback},
    behaviour::{self, Behaviour, BehaviourEvent},
    command::{Command, OpenRequest, Reply},
    config::{Config, RoutingMode},
    dials::Dials,
    discovery::Discovery,
    error::Error,
    event::{Event, EventSender},
    handle::answer,
    pubsub,
    reach::Circuits,
    snapshot::{Ended, Snapshot},
    streams,
};

/// How long closing connections may take at the end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long after a merge of connections our topics are announced anew: a peer of the reference must have noticed.
const RESUBSCRIBE_AFTER: Duration = Duration::from_secs(2);
/// How often searches are looked through for callers that have gone.
const SEARCH_TICK: Duration = Duration::from_millis(500);

/// Says how the driver ended. First field of the driver, so that it speaks before any reply slot is dropped.
struct EndGuard(Arc<Snapshot>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        let ended = if std::thread::panicking() {
            log::error!("the network core panicked: the host is closed");
            Ended::Panicked
        } else {
            Ended::Closed
        };
        {
            let mut tables = self.0.write();
            tables.connections.clear();
            tables.identities.clear();
            tables.listen_addrs.clear();
            tables.topic_peers.clear();
        }
        self.0.ended.send_replace(Some(ended));
    }
}

/// Owns the swarm; takes commands, tells events, writes the snapshot.
pub(crate) struct Driver {
    ended: EndGuard,
    swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<Command>,
    snapshot: Arc<Snapshot>,
    events: EventSender,
    config: Config,
    dials: Dials,
    discovery: Discovery,
    leaving: HashMap<PeerId, Vec<Reply<()>>>,
    failed_pings: HashMap<ConnectionId, u32>,
    external: HashSet<Multiaddr>,
    circuits: Circuits,
    resubscribe_at: Option<Instant>,
    /// Peers that lost one of several connections since the last time our topics were announced.
    merged: HashSet<PeerId>,
}

impl Driver {
    pub(crate) fn new(
        swarm: Swarm<Behaviour>,
        commands: mpsc::Receiver<Command>,
        snapshot: Arc<Snapshot>,
        events: EventSender,
        config: Config,
    ) -> Self {
        let own = *swarm.local_peer_id();
        let server = config.routing_mode == RoutingMode::Server;
        snapshot.write().protocols = behaviour::protocols(&config, server);
        Self {
            ended: EndGuard(snapshot.clone()),
            swarm,
            commands,
            snapshot,
            events,
            config,
            dials: Dials::default(),
            discovery: Discovery::new(own),
            leaving: HashMap::new(),
            failed_pings: HashMap::new(),
            external: HashSet::new(),
            circuits: Circuits::default(),
            resubscribe_at: None,
            merged: HashSet::new(),
        }
    }

    /// Listen on the configured addresses and wait until each has its real address.
    pub(crate) async fn listen(&mut self, patience: Duration) -> Result<(), Error> {
        let mut silent = HashSet::new();
        // All of them before the first is taken: a probe of `::` meets our own `0.0.0.0` on the same port.
        self.config.listen_addrs.iter().try_for_each(refuse_taken)?;
        for addr in self.config.listen_addrs.clone() {
            let id = self.swarm.listen_on(addr.clone()).map_err(|why| {
                Error::ListenFailed(format!("cannot listen on {addr} ({why}): free the port or choose another address"))
            })?;
            // A relayed address comes when the relay agrees, if ever.
            if Circuits::is_circuit(&addr) {
                self.circuits.asked(id, addr);
            } else {
                silent.insert(id);
            }
        }
        let deadline = Instant::now() + patience;
        while !silent.is_empty() {
            let Ok(event) = tokio::time::timeout_at(deadline, self.swarm.select_next_some()).await else {
                return Err(Error::ListenFailed("a listen address did not come up in time: check it".into()));
            };
            match &event {
                SwarmEvent::NewListenAddr { listener_id, .. } => {
                    silent.remove(listener_id);
                }
                SwarmEvent::ListenerClosed { listener_id, reason: Err(why), addresses }
                    if silent.contains(listener_id) =>
                {
                    return Err(Error::ListenFailed(format!("cannot listen on {addresses:?} ({why}): choose another")));
                }
                _ => {}
            }
            self.on_event(event);
        }
        // The other addresses of a wildcard are there already.
        while let Some(event) = self.swarm.next().now_or_never().flatten() {
            self.on_event(event);
        }
        Ok(())
    }

    /// Run until closed, or until every handle is gone.
    pub(crate) async fn run(mut self) {
        let mut closing = None;
        loop {
            let due = [self.resubscribe_at, self.search_tick(), self.circuits.next()].into_iter().flatten().min();
            let timer = async move {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = self.commands.recv() => match command.map(|command| self.on_command(command)) {
                    None => break,
                    Some(ControlFlow::Break(reply)) => {
                        closing = Some(reply);
                        break;
                    }
                    Some(ControlFlow::Continue(())) => {}
                },
                event = self.swarm.select_next_some() => self.on_event(event),
                () = timer => self.on_timer(),
            }
        }
        self.shut_down().await;
        // The swarm and its sockets go before anybody hears of the end.
        let Self { ended, swarm, .. } = self;
        drop(swarm);
        drop(ended);
        if let Some(reply) = closing {
            answer(reply, Ok(()));
        }
    }

    async fn shut_down(&mut self) {
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            // Dropped with its reply slot: the handle reads the reason from the snapshot.
            drop(command);
        }
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            // An error only says that it is gone already.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let swarm = &mut self.swarm;
        let closed = timeout(CLOSE_TIMEOUT, async {
            while swarm.connected_peers().next().is_some() {
                swarm.select_next_some().await;
            }
        });
        if closed.await.is_err() {
            log::debug!("some connections did not close within {} s and were cut", CLOSE_TIMEOUT.as_secs());
        }
    }

    fn search_tick(&self) -> Option<Instant> {
        self.discovery.deadline().map(|deadline| deadline.min(Instant::now() + SEARCH_TICK))
    }

    fn on_timer(&mut self) {
        if self.resubscribe_at.is_some_and(|at| at <= Instant::now()) {
            self.resubscribe_at = None;
            pubsub::resubscribe(&mut self.swarm.behaviour_mut().gossip, &self.config.topics);
            self.wake_merged();
            self.merged.clear();
        }
        for addr in self.circuits.due() {
            match self.swarm.listen_on(addr.clone()) {
                Ok(id) => self.circuits.asked(id, addr),
                Err(why) => {
                    log::warn!("cannot ask for a relayed address at {addr}: {why}");
                    self.circuits.refused(addr);
                }
            }
        }
        self.discovery.on_tick(&mut self.swarm.behaviour_mut().kad, &self.snapshot.read().book);
    }

    fn on_command(&mut self, command: Command) -> ControlFlow<Reply<()>> {
        match command {
            Command::Connect { peer, addr, reply } => {
                if self.swarm.is_connected(&peer) {
                    answer(reply, Ok(peer));
                } else if !reply.is_closed() {
                    self.dials.connect(&mut self.swarm, peer, addr, reply);
                }
            }
            Command::Disconnect { peer, reply } => {
                if self.swarm.disconnect_peer_id(peer).is_ok() {
                    self.leaving.entry(peer).or_default().push(reply);
                } else {
                    answer(reply, Err(Error::NotConnected(format!("{peer} is not connected: nothing to close"))));
                }
            }
            Command::Open(request) => self.open(request),
            Command::Publish { topic, data, reply } => {
                let subscribers = self.snapshot.read().topic_peers.get(&topic).map_or(0, Vec::len);
                let gossip = &mut self.swarm.behaviour_mut().gossip;
                answer(reply, pubsub::publish(gossip, self.config.flood_publish, subscribers, &topic, data));
                self.wake_merged();
            }
            Command::Provide { key, reply } => {
                self.discovery.provide(&mut self.swarm.behaviour_mut().kad, key, reply);
            }
            Command::FindProviders { key, limit, timeout, reply } => {
                let kad = &mut self.swarm.behaviour_mut().kad;
                self.discovery.find_providers(kad, key, limit, timeout, reply);
            }
            Command::FindPeer { peer, timeout, reply } => {
                self.discovery.find_peer(&mut self.swarm.behaviour_mut().kad, peer, timeout, reply);
            }
            Command::Close { reply } => return ControlFlow::Break(reply),
            Command::Panic => panic!("asked to panic by a test"),
        }
        ControlFlow::Continue(())
    }

    /// The gossip handler of a second connection sleeps through new messages until it has sent its first one: it
    /// waits for its queue only while it has a stream, and opens one only if it finds the queue filled.
    fn wake_merged(&mut self) {
        for peer in &self.merged {
            self.swarm.behaviour_mut().streams.wake(*peer);
        }
    }

    fn open(&mut self, request: OpenRequest) {
        if request.reply.is_closed() {
            return;
        }
        if let Some(request) = self.swarm.behaviour_mut().streams.open(request) {
            let known = self.snapshot.read().book.addrs(&request.peer);
            self.dials.open(&mut self.swarm, known, request);
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, num_established, .. } => {
                self.on_connected(peer_id, connection_id, &endpoint, num_established.get() == 1);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, cause, .. } => {
                if let Some(cause) = cause {
                    log::debug!("a connection to {peer_id} was lost: {cause}");
                }
                self.on_disconnected(peer_id, connection_id, num_established == 0);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id: Some(peer), error } => {
                log::debug!("{peer} could not be dialled: {error}");
                self.dials.on_failed(connection_id, &peer, &error);
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                log::debug!("an inbound connection from {send_back_addr} failed: {error}");
            }
            SwarmEvent::Dialing { peer_id: Some(peer), .. } => {
                self.discovery.on_dialing(&mut self.swarm.behaviour_mut().kad, &peer);
            }
            SwarmEvent::NewListenAddr { .. } | SwarmEvent::ExpiredListenAddr { .. } => self.on_listeners_changed(),
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                self.circuits.closed(listener_id);
                if let Err(why) = reason {
                    log::warn!("no longer listening on {addresses:?}: {why}");
                }
                self.on_listeners_changed();
            }
            SwarmEvent::ListenerError { error, .. } => log::warn!("a listener met an error: {error}"),
            _ => {}
        }
    }

    fn on_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Streams(streams::Event::Merged(peer)) => {
                log::debug!("one of several connections to {peer} was given up");
                self.merged.insert(peer);
                self.resubscribe_at.get_or_insert_with(|| Instant::now() + RESUBSCRIBE_AFTER);
            }
            BehaviourEvent::Identify(identify::Event::Received { connection_id, peer_id, info }) => {
                self.on_identified(peer_id, connection_id, info);
            }
            BehaviourEvent::Ping(event) => self.on_ping(&event),
            BehaviourEvent::Kad(event) => self.on_kad(event),
            BehaviourEvent::Gossip(event) => self.on_gossip(event),
            BehaviourEvent::Autonat(autonat::Event::StatusChanged { new, .. }) => self.on_reachability(&new),
            BehaviourEvent::RelayClient(event) => log::debug!("relay: {event:?}"),
            BehaviourEvent::Relay(event) => log::debug!("relay service: {event:?}"),
            _ => {}
        }
    }

    fn on_kad(&mut self, event: kad::Event) {
        let kad = &mut self.swarm.behaviour_mut().kad;
        match event {
            kad::Event::OutboundQueryProgressed { id, result, stats, step } => {
                let book = &mut self.snapshot.write().book;
                self.discovery.on_query(kad, book, id, result, stats.num_successes(), step.last);
            }
            kad::Event::RoutingUpdated { is_new_peer: true, .. } => self.discovery.on_new_peer(kad),
            _ => {}
        }
    }

    fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { message, .. } => {
                if let Some(message) = pubsub::received(message) {
                    self.events.send(Event::Gossip(message));
                }
            }
            gossipsub::Event::Subscribed { peer_id, topic, .. } => {
                let topic = topic.into_string();
                let fresh = {
                    let mut tables = self.snapshot.write();
                    let peers = tables.topic_peers.entry(topic.clone()).or_default();
                    let fresh = !peers.contains(&peer_id);
                    if fresh {
                        peers.push(peer_id);
                    }
                    fresh
                };
                if fresh {
                    self.events.send(Event::Subscribed { peer: peer_id, topic });
                }
            }
            gossipsub::Event::Unsubscribed { peer_id, topic } => {
                if let Some(peers) = self.snapshot.write().topic_peers.get_mut(topic.as_str()) {
                    peers.retain(|peer| *peer != peer_id);
                }
            }
            gossipsub::Event::SlowPeer { peer_id, .. } => log::debug!("{peer_id} is slow: gossip to it was dropped"),
            gossipsub::Event::GossipsubNotSupported { peer_id } => log::debug!("{peer_id} does not speak gossip"),
        }
    }

    fn on_reachability(&mut self, status: &autonat::NatStatus) {
        log::info!("reachability is now {status:?}");
        if self.config.routing_mode == RoutingMode::Auto {
            let server = status.is_public();
            self.swarm.behaviour_mut().kad.set_mode(Some(if server { Mode::Server } else { Mode::Client }));
            self.snapshot.write().protocols = behaviour::protocols(&self.config, server);
        }
    }

    /// Keep the snapshot, and announce as external what others can dial: provider records and reservations carry
    /// external addresses only.
    fn on_listeners_changed(&mut self) {
        let own = *self.swarm.local_peer_id();
        let listening: Vec<Multiaddr> =
            self.swarm.listeners().filter_map(|addr| dialable(addr.clone(), &own)).collect();
        let outward: HashSet<Multiaddr> = listening.iter().filter(|addr| !is_loopback(addr)).cloned().collect();
        let external = if outward.is_empty() { listening.iter().cloned().collect() } else { outward };
        for gone in self.external.difference(&external) {
            self.swarm.remove_external_address(gone);
        }
        for fresh in external.difference(&self.external) {
            self.swarm.add_external_address(fresh.clone());
        }
        self.external = external;
        self.snapshot.write().listen_addrs = listening;
    }
}

/// Fail if somebody listens on `addr`. The transport shares its port with whoever shares theirs, so it would not
/// notice a second node.
fn refuse_taken(addr: &Multiaddr) -> Result<(), Error> {
    let (ip, port) = match addr.iter().collect::<Vec<_>>().as_slice() {
        [Protocol::Ip4(ip), Protocol::Tcp(port)] => (IpAddr::V4(*ip), *port),
        [Protocol::Ip6(ip), Protocol::Tcp(port)] => (IpAddr::V6(*ip), *port),
        _ => return Ok(()),
    };
    if port == 0 {
        return Ok(());
    }
    TcpListener::bind((ip, port)).map(drop).map_err(|why| {
        Error::ListenFailed(format!("cannot listen on {addr} ({why}): free the port or choose another address"))
    })
}
