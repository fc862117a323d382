//! The behaviour that carries the streams of applications, and keeps the table of connections.
//!
//! Inbound streams of the configured protocols go to one bounded queue; a stream that finds it full is reset.
//! Outbound requests go to the best connection of the peer; any number of them are negotiated at once.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm,
        behaviour::{ConnectionClosed, ConnectionEstablished},
    },
};
use tokio::sync::mpsc;

use crate::{
    command::OpenRequest,
    connections::{Connections, Entry},
    stream::{LiveStreams, Stream},
    streams_handler::{Handler, Instruction},
};

/// How long a connection that gives way stays open: long enough for what was begun on it at both ends.
const YIELD_GRACE: Duration = Duration::from_secs(1);

/// What the behaviour tells the driver.
#[derive(Debug)]
pub(crate) enum Event {
    /// One of several connections to this peer was refused or closed; gossip may have lost its way.
    Merged(PeerId),
}

/// A connection was refused because a better one stands.
#[derive(Debug, thiserror::Error)]
#[error("already connected to this peer")]
pub(crate) struct AlreadyConnected;

/// The behaviour.
pub(crate) struct Behaviour {
    connections: Connections,
    protocols: Arc<[StreamProtocol]>,
    inbound: mpsc::Sender<Stream>,
    actions: VecDeque<ToSwarm<Event, Instruction>>,
    /// Of connections that are being established.
    fresh: HashMap<ConnectionId, Arc<LiveStreams>>,
    /// Whether connections give way.
    yielding: bool,
    /// Runs while they are too young to be closed.
    grace: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Behaviour {
    pub(crate) fn new(own: PeerId, protocols: Vec<StreamProtocol>, inbound: mpsc::Sender<Stream>) -> Self {
        Self {
            connections: Connections::new(own),
            protocols: protocols.into(),
            inbound,
            actions: VecDeque::new(),
            fresh: HashMap::new(),
            yielding: false,
            grace: None,
        }
    }

    /// Pass a request to the best connection of its peer; give it back if there is none.
    pub(crate) fn open(&mut self, request: OpenRequest) -> Option<OpenRequest> {
        let Some(entry) = self.connections.best(&request.peer) else {
            return Some(request);
        };
        self.actions.push_back(ToSwarm::NotifyHandler {
            peer_id: request.peer,
            handler: NotifyHandler::One(entry.id),
            event: Instruction::Open(request),
        });
        None
    }

    /// Let every handler of the best connection of `peer` have a look at its queues.
    pub(crate) fn wake(&mut self, peer: PeerId) {
        if let Some(entry) = self.connections.best(&peer) {
            self.actions.push_back(ToSwarm::NotifyHandler {
                peer_id: peer,
                handler: NotifyHandler::One(entry.id),
                event: Instruction::Wake,
            });
        }
    }

    /// The connection of `peer` that new streams use.
    pub(crate) fn preferred(&self, peer: &PeerId) -> Option<ConnectionId> {
        self.connections.best(peer).map(|entry| entry.id)
    }

    fn handler(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        relayed: bool,
        dialled: bool,
    ) -> Result<Handler, ConnectionDenied> {
        if self.connections.superfluous(&peer, relayed, dialled, Instant::now()) {
            self.actions.push_back(ToSwarm::GenerateEvent(Event::Merged(peer)));
            return Err(ConnectionDenied::new(AlreadyConnected));
        }
        Ok(self.accept(id, peer, relayed))
    }

    fn accept(&mut self, id: ConnectionId, peer: PeerId, relayed: bool) -> Handler {
        let live = Arc::new(LiveStreams::default());
        self.fresh.insert(id, live.clone());
        Handler::new(peer, relayed, self.protocols.clone(), self.inbound.clone(), live)
    }

    fn on_established(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        let live = self.fresh.remove(&id).unwrap_or_default();
        self.connections.add(
            peer,
            Entry {
                id,
                relayed: endpoint.is_relayed(),
                dialled: dialled(endpoint),
                since: Instant::now(),
                yielding: None,
                closing: false,
                live,
            },
        );
        self.yielding |= self.connections.several(&peer);
    }

    /// Close the connections that give way and carry nothing, once their grace is over.
    fn poll_yielding(&mut self, cx: &mut Context<'_>) {
        if !self.yielding {
            return;
        }
        if let Some(grace) = &mut self.grace
            && grace.as_mut().poll(cx).is_pending()
        {
            return;
        }
        self.grace = None;
        let mut young = false;
        self.yielding = false;
        for (peer, entry) in self.connections.yielding() {
            if entry.yielding.is_some_and(|since| since.elapsed() < YIELD_GRACE) {
                young = true;
                self.yielding = true;
                continue;
            }
            entry.live.idle.register(cx.waker());
            if entry.live.count() > 0 {
                self.yielding = true;
            } else {
                entry.closing = true;
                self.actions
                    .push_back(ToSwarm::CloseConnection { peer_id: peer, connection: CloseConnection::One(entry.id) });
            }
        }
        if young {
            let mut grace = Box::pin(tokio::time::sleep(YIELD_GRACE));
            // Registers the waker; it cannot be over yet.
            let _ = grace.as_mut().poll(cx);
            self.grace = Some(grace);
        }
    }
}

/// Whether this side counts as the one that dialled. Of two that punch a hole towards each other one plays the other
/// part, so that both sides say the same of their connection.
pub(crate) fn dialled(endpoint: &ConnectedPoint) -> bool {
    matches!(endpoint, ConnectedPoint::Dialer { role_override: Endpoint::Dialer, .. })
}

fn relayed(addr: &Multiaddr) -> bool {
    addr.iter().any(|part| part == Protocol::P2pCircuit)
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local_addr: &Multiaddr,
        remote_addr: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handler(id, peer, relayed(local_addr) || relayed(remote_addr), false)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        addr: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        // Only AutoNAT asks for a port of its own, to find out whether a peer can be dialled. It can: a connection that
        // is refused here would say the contrary. If it is superfluous it gives way instead.
        if port_use == PortUse::New {
            return Ok(self.accept(id, peer, relayed(addr)));
        }
        self.handler(id, peer, relayed(addr), role == Endpoint::Dialer)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, connection_id, endpoint, .. }) => {
                self.on_established(peer_id, connection_id, endpoint);
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, remaining_established, .. }) => {
                self.connections.remove(&peer_id, connection_id);
                if remaining_established > 0 {
                    self.actions.push_back(ToSwarm::GenerateEvent(Event::Merged(peer_id)));
                }
            }
            FromSwarm::DialFailure(failure) => {
                self.fresh.remove(&failure.connection_id);
            }
            FromSwarm::ListenFailure(failure) => {
                self.fresh.remove(&failure.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.poll_yielding(cx);
        match self.actions.pop_front() {
            Some(action) => Poll::Ready(action),
            None => Poll::Pending,
        }
    }
}
