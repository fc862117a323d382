//! What the driver does about the addresses of this host: those it listens on and whether others reach them.

use std::{
    collections::HashSet,
    net::{IpAddr, TcpListener},
    time::Duration,
};

use futures::{FutureExt, StreamExt};
use libp2p::{
    Multiaddr, autonat::v1::NatStatus, core::transport::ListenerId, kad::Mode, multiaddr::Protocol, swarm::SwarmEvent,
};
use tokio::time::{Instant, timeout_at};

use super::Driver;
use crate::{
    address_book::{dialable, is_loopback},
    behaviour,
    command::{Reply, answer},
    config::RoutingMode,
    error::Error,
    event::Event,
    listeners::{Listening, is_circuit},
};

/// How long after a change of addresses they are announced: changes come in groups.
const ANNOUNCE_AFTER: Duration = Duration::from_secs(1);

impl Driver {
    /// Listen on the configured addresses and wait until each has its real address.
    pub(crate) async fn listen(&mut self, patience: Duration) -> Result<(), Error> {
        let mut silent = HashSet::new();
        // All of them before the first is taken: a probe of `::` meets our own `0.0.0.0` on the same port.
        self.config.listen_addrs.iter().try_for_each(refuse_taken)?;
        for addr in self.config.listen_addrs.clone() {
            let id = self.listen_on(&addr)?;
            // A relayed address comes when the relay agrees, if ever.
            if !is_circuit(&addr) {
                silent.insert(id);
            }
            self.listeners.asked(id, addr, None);
        }
        let deadline = Instant::now() + patience;
        while !silent.is_empty() {
            let Ok(event) = timeout_at(deadline, self.swarm.select_next_some()).await else {
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

    fn listen_on(&mut self, addr: &Multiaddr) -> Result<ListenerId, Error> {
        self.swarm.listen_on(addr.clone()).map_err(|why| {
            Error::ListenFailed(format!("cannot listen on {addr} ({why}): free the port or choose another address"))
        })
    }

    pub(super) fn on_listen(&mut self, addr: Multiaddr, reply: Reply<()>) {
        if let Listening::Ask(reply) = self.listeners.want(&addr, reply) {
            match refuse_taken(&addr).and_then(|()| self.listen_on(&addr)) {
                Ok(id) => self.listeners.asked(id, addr, Some(reply)),
                Err(why) => answer(reply, Err(why)),
            }
        }
    }

    pub(super) fn on_unlisten(&mut self, addr: &Multiaddr, reply: Reply<()>) {
        if let Some(id) = self.listeners.give_up(addr, reply) {
            self.swarm.remove_listener(id);
        }
    }

    /// Ask again for the circuits whose time has come.
    pub(super) fn ask_relays(&mut self) {
        for addr in self.listeners.due() {
            match self.listen_on(&addr) {
                Ok(id) => self.listeners.asked(id, addr, None),
                Err(why) => {
                    log::warn!("cannot ask for a relayed address: {why}");
                    self.listeners.refused(addr);
                }
            }
        }
    }

    pub(super) fn on_listening(&mut self, id: ListenerId, addr: Multiaddr) {
        let own = *self.swarm.local_peer_id();
        if !self.listeners.up(id, dialable(addr.clone(), &own).unwrap_or(addr)) {
            self.swarm.remove_listener(id);
        }
        self.on_addrs_changed();
    }

    pub(super) fn on_not_listening(&mut self, id: ListenerId, addr: Multiaddr) {
        let own = *self.swarm.local_peer_id();
        self.listeners.down(id, &dialable(addr.clone(), &own).unwrap_or(addr));
        self.on_addrs_changed();
    }

    pub(super) fn on_listener_closed(&mut self, id: ListenerId, addrs: &[Multiaddr], end: std::io::Result<()>) {
        if let Err(why) = &end {
            log::warn!("no longer listening on {addrs:?}: {why}");
        }
        self.on_addrs_changed();
        self.listeners.closed(id, &end.map_or_else(|why| why.to_string(), |()| "it was given up".into()));
    }

    pub(super) fn on_reachability(&mut self, status: &NatStatus) {
        log::info!("reachability is now {status:?}");
        let public = match status {
            NatStatus::Public(_) => Some(true),
            NatStatus::Private => Some(false),
            NatStatus::Unknown => None,
        };
        if self.config.routing_mode == RoutingMode::Auto {
            let server = public == Some(true);
            self.swarm.behaviour_mut().kad.set_mode(Some(if server { Mode::Server } else { Mode::Client }));
            self.snapshot.write().protocols = behaviour::protocols(&self.config, server);
        }
        self.events.send(Event::Reachability { public });
    }

    /// Keep the snapshot, and announce as external what others can dial: provider records and reservations carry
    /// external addresses only.
    pub(super) fn on_addrs_changed(&mut self) {
        let own = *self.swarm.local_peer_id();
        let mut listening: Vec<Multiaddr> =
            self.swarm.listeners().filter_map(|addr| dialable(addr.clone(), &own)).collect();
        if let Some(port_mapping) = &mut self.port_mapping {
            port_mapping.want(&listening);
            listening.extend(port_mapping.addrs());
        }
        let outward: HashSet<Multiaddr> = listening.iter().filter(|addr| !is_loopback(addr)).cloned().collect();
        let external = if outward.is_empty() { listening.iter().cloned().collect() } else { outward };
        for gone in self.external.difference(&external) {
            self.swarm.remove_external_address(gone);
        }
        for fresh in external.difference(&self.external) {
            self.swarm.add_external_address(fresh.clone());
        }
        if self.external != external {
            self.announce_at.get_or_insert_with(|| Instant::now() + ANNOUNCE_AFTER);
        }
        self.external = external;
        let mut tables = self.snapshot.write();
        if tables.listen_addrs != listening {
            tables.listen_addrs.clone_from(&listening);
            drop(tables);
            self.events.send(Event::ListenAddrs(listening));
        }
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
