//! What the driver does when a peer comes, goes, names itself or answers a ping.

use libp2p::{Multiaddr, PeerId, core::ConnectedPoint, identify, ping, swarm::ConnectionId};

use super::Driver;
use crate::{
    address_book::{dialable, is_loopback},
    command::answer,
    config::RoutingMode,
    event::{Connection, Direction, Event, PeerIdentity},
    streams::dialled,
};

/// Pings in a row that may fail before the connection counts as dead.
const MAX_FAILED_PINGS: u32 = 2;

/// Addresses that are taken from what one peer says of itself.
const MAX_TOLD_ADDRS: usize = 64;

impl Driver {
    pub(super) fn on_connected(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint, first: bool) {
        let remote = endpoint.get_remote_address().clone();
        let addr = dialable(remote.clone(), &peer).unwrap_or(remote);
        let direction = if dialled(endpoint) { Direction::Outbound } else { Direction::Inbound };
        let connection = Connection {
            peer,
            addr: addr.clone(),
            direction,
            relayed: endpoint.is_relayed(),
            rtt: None,
            conn_id: id.to_string(),
        };
        {
            let mut tables = self.snapshot.write();
            tables.connections.entry(peer).or_default().push(connection.clone());
            if endpoint.is_dialer() {
                tables.book.add(peer, [addr]);
            }
        }
        self.order_connections(&peer);
        if first {
            self.events.send(Event::Connected(connection));
        }
        for request in self.dials.on_connected(&peer) {
            self.open(request);
        }
    }

    pub(super) fn on_disconnected(&mut self, peer: PeerId, id: ConnectionId, last: bool) {
        self.failed_pings.remove(&id);
        {
            let name = id.to_string();
            let mut tables = self.snapshot.write();
            if let Some(connections) = tables.connections.get_mut(&peer) {
                connections.retain(|connection| connection.conn_id != name);
            }
            if last {
                tables.connections.remove(&peer);
                tables.identities.remove(&peer);
                for peers in tables.topic_peers.values_mut() {
                    peers.retain(|other| *other != peer);
                }
            }
        }
        if last {
            self.events.send(Event::Disconnected(peer));
            for reply in self.leaving.remove(&peer).into_iter().flatten() {
                answer(reply, Ok(()));
            }
        } else {
            self.order_connections(&peer);
        }
    }

    /// Put the connection that new streams use first.
    fn order_connections(&self, peer: &PeerId) {
        if let Some(best) = self.swarm.behaviour().streams.preferred(peer).map(|id| id.to_string())
            && let Some(connections) = self.snapshot.write().connections.get_mut(peer)
        {
            connections.sort_by_key(|connection| connection.conn_id != best);
        }
    }

    pub(super) fn on_identified(&mut self, peer: PeerId, id: ConnectionId, info: identify::Info) {
        let name = id.to_string();
        let mut tables = self.snapshot.write();
        let Some(connections) = tables.connections.get(&peer) else { return };
        // Loopback addresses of a peer on another machine would lead to this one.
        let near = connections.iter().any(|c| c.conn_id == name && is_loopback(&c.addr));
        let addrs: Vec<Multiaddr> = info
            .listen_addrs
            .into_iter()
            .filter(|addr| near || !is_loopback(addr))
            .filter_map(|addr| dialable(addr, &peer))
            .take(MAX_TOLD_ADDRS)
            .collect();
        let protocols: Vec<String> = info.protocols.iter().map(ToString::to_string).collect();
        let identity = PeerIdentity {
            peer,
            protocol_version: info.protocol_version,
            agent_version: info.agent_version,
            protocols,
            listen_addrs: addrs.clone(),
            public_key: info.public_key.encode_protobuf(),
        };
        tables.book.add(peer, addrs.iter().rev().cloned());
        let news = tables.identities.insert(peer, identity.clone()).as_ref() != Some(&identity);
        drop(tables);
        if self.config.routing_mode != RoutingMode::None && identity.protocols.contains(&self.config.kad_protocol) {
            for addr in addrs {
                self.swarm.behaviour_mut().kad.add_address(&peer, addr);
            }
        }
        if news {
            self.events.send(Event::Identified(identity));
        }
    }

    /// Let the DHT know of the connected peers that serve it, if it has not been told when they came.
    pub(super) fn join_dht(&mut self) {
        if self.config.routing_mode != RoutingMode::None {
            return;
        }
        let tables = self.snapshot.read();
        let servers = tables.identities.values().filter(|who| who.protocols.contains(&self.config.kad_protocol));
        for (who, addr) in servers.flat_map(|who| who.listen_addrs.iter().map(move |addr| (who, addr))) {
            self.swarm.behaviour_mut().kad.add_address(&who.peer, addr.clone());
        }
    }

    pub(super) fn on_ping(&mut self, event: &ping::Event) {
        match &event.result {
            Ok(rtt) => {
                self.failed_pings.remove(&event.connection);
                let name = event.connection.to_string();
                let mut tables = self.snapshot.write();
                let connections = tables.connections.get_mut(&event.peer);
                if let Some(connection) = connections.into_iter().flatten().find(|c| c.conn_id == name) {
                    connection.rtt = Some(*rtt);
                }
            }
            Err(ping::Failure::Unsupported) => {}
            Err(why) => {
                let failed = self.failed_pings.entry(event.connection).or_default();
                *failed += 1;
                if *failed >= MAX_FAILED_PINGS {
                    log::info!("{} does not answer pings ({why}): its connection is closed", event.peer);
                    self.failed_pings.remove(&event.connection);
                    self.swarm.close_connection(event.connection);
                }
            }
        }
    }
}
