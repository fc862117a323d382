//! What makes a host reachable: AutoNAT tells whether it is, relays carry what cannot come directly.
//!
//! Hole punching and port mapping belong here too, each as one more `Toggle` in the behaviour.

use std::{collections::HashMap, time::Duration};

use libp2p::{
    Multiaddr, PeerId, autonat::v1 as autonat, core::transport::ListenerId, multiaddr::Protocol, relay,
    swarm::behaviour::toggle::Toggle,
};
use tokio::time::Instant;

use crate::config::Config;

/// Circuits that this host carries for others at once.
const MAX_CIRCUITS: usize = 256;
/// Circuits of one peer at once.
const MAX_CIRCUITS_PER_PEER: usize = 16;
/// Peers that may be called through this host.
const MAX_RESERVATIONS: usize = 1024;
/// How long a circuit may live: a long answer must fit.
const MAX_CIRCUIT_DURATION: Duration = Duration::from_secs(60 * 60);
/// Bytes a circuit may carry in each direction: images must fit.
const MAX_CIRCUIT_BYTES: u64 = 64 << 20;

/// AutoNAT version 1, as the reference speaks it. Without the service every request to dial back is refused.
pub(crate) fn autonat(own: PeerId, config: &Config) -> autonat::Behaviour {
    let defaults = autonat::Config::default();
    let served = if config.autonat_service { defaults.throttle_clients_global_max } else { 0 };
    autonat::Behaviour::new(own, autonat::Config { throttle_clients_global_max: served, ..defaults })
}

/// The service that carries circuits for others, if it is on.
pub(crate) fn relay(own: PeerId, config: &Config) -> Toggle<relay::Behaviour> {
    let limits = relay::Config {
        max_circuits: MAX_CIRCUITS,
        max_circuits_per_peer: MAX_CIRCUITS_PER_PEER,
        max_reservations: MAX_RESERVATIONS,
        max_circuit_duration: MAX_CIRCUIT_DURATION,
        max_circuit_bytes: MAX_CIRCUIT_BYTES,
        ..relay::Config::default()
    };
    config.relay_service.then(|| relay::Behaviour::new(own, limits)).into()
}

/// How long after a relay was lost, or refused, it is asked again.
const ASK_RELAY_AFTER: Duration = Duration::from_secs(5);

/// The relays through which this host can be called, and those to be asked again.
#[derive(Debug, Default)]
pub(crate) struct Circuits {
    held: HashMap<ListenerId, Multiaddr>,
    lost: Vec<(Instant, Multiaddr)>,
}

impl Circuits {
    /// Whether a listen address leads through a relay.
    pub(crate) fn is_circuit(addr: &Multiaddr) -> bool {
        addr.iter().any(|part| part == Protocol::P2pCircuit)
    }

    /// A relay was asked.
    pub(crate) fn asked(&mut self, id: ListenerId, addr: Multiaddr) {
        self.held.insert(id, addr);
    }

    /// A listener is closed; if it was a relay's, ask again later.
    pub(crate) fn closed(&mut self, id: ListenerId) {
        if let Some(addr) = self.held.remove(&id) {
            self.refused(addr);
        }
    }

    /// A relay could not even be asked.
    pub(crate) fn refused(&mut self, addr: Multiaddr) {
        self.lost.push((Instant::now() + ASK_RELAY_AFTER, addr));
    }

    /// When `due` has something.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.lost.iter().map(|(at, _)| *at).min()
    }

    /// The relays to ask now.
    pub(crate) fn due(&mut self) -> Vec<Multiaddr> {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.lost).into_iter().partition(|(at, _)| *at <= now);
        self.lost = later;
        let due: Vec<(Instant, Multiaddr)> = due;
        due.into_iter().map(|(_, addr)| addr).collect()
    }
}
