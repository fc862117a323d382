//! The one task that owns the swarm.

mod listening;
mod peers;

use std::{
    collections::{HashMap, HashSet},
    ops::ControlFlow,
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId,
    autonat::v1 as autonat,
    gossipsub, identify, kad,
    swarm::{ConnectionId, Swarm, SwarmEvent},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    behaviour::{self, Behaviour, BehaviourEvent},
    command::{Command, OpenRequest, Reply, answer},
    config::{Config, RoutingMode},
    dials::Dials,
    discovery::Discovery,
    error::Error,
    event::{Event, EventSender},
    listeners::Listeners,
    port_mapping::PortMapping,
    pubsub,
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
    listeners: Listeners,
    port_mapping: Option<PortMapping>,
    resubscribe_at: Option<Instant>,
    /// When what is provided is announced anew, with other addresses.
    announce_at: Option<Instant>,
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
        let port_mapping = config.port_mapping.then(PortMapping::start);
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
            listeners: Listeners::default(),
            port_mapping,
            resubscribe_at: None,
            announce_at: None,
            merged: HashSet::new(),
        }
    }

    /// Run until closed, or until every handle is gone.
    pub(crate) async fn run(mut self) {
        let mut closing = None;
        loop {
            let due = [self.resubscribe_at, self.announce_at, self.search_tick(), self.listeners.next()]
                .into_iter()
                .flatten()
                .min();
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
                () = mapped(&mut self.port_mapping) => self.on_addrs_changed(),
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
        if let Some(port_mapping) = self.port_mapping.take() {
            port_mapping.close().await;
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
        if self.announce_at.is_some_and(|at| at <= Instant::now()) {
            self.announce_at = None;
            self.discovery.announce_again(&mut self.swarm.behaviour_mut().kad);
        }
        self.ask_relays();
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
            Command::Listen { addr, reply } => self.on_listen(addr, reply),
            Command::Unlisten { addr, reply } => self.on_unlisten(&addr, reply),
            Command::Open(request) => self.open(request),
            Command::Publish { topic, data, reply } => {
                let subscribers = self.snapshot.read().topic_peers.get(&topic).map_or(0, Vec::len);
                let gossip = &mut self.swarm.behaviour_mut().gossip;
                answer(reply, pubsub::publish(gossip, self.config.flood_publish, subscribers, &topic, data));
                self.wake_merged();
            }
            Command::Provide { key, reply } => {
                self.join_dht();
                self.discovery.provide(&mut self.swarm.behaviour_mut().kad, key, reply);
            }
            Command::FindProviders { key, limit, timeout, reply } => {
                self.join_dht();
                let kad = &mut self.swarm.behaviour_mut().kad;
                self.discovery.find_providers(kad, key, limit, timeout, reply);
            }
            Command::FindPeer { peer, timeout, reply } => {
                self.join_dht();
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
            SwarmEvent::NewListenAddr { listener_id, address } => self.on_listening(listener_id, address),
            SwarmEvent::ExpiredListenAddr { listener_id, address } => self.on_not_listening(listener_id, address),
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                self.on_listener_closed(listener_id, &addresses, reason);
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
            BehaviourEvent::HolePunching(event) => match event.result {
                Ok(_) => log::info!("{} is connected directly now, and not through a relay", event.remote_peer_id),
                Err(why) => log::info!("{} stays behind its relay: {why}", event.remote_peer_id),
            },
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
}

/// Wait for news from the router, if it is asked for anything.
async fn mapped(port_mapping: &mut Option<PortMapping>) {
    match port_mapping {
        Some(port_mapping) => port_mapping.changed().await,
        None => std::future::pending().await,
    }
}
