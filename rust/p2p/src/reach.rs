//! What makes a host reachable: AutoNAT tells whether it is, relays carry what cannot come directly.
//!
//! Hole punching makes a direct connection out of a relayed one.

use std::time::Duration;

use libp2p::{PeerId, autonat::v1 as autonat, dcutr, relay, swarm::behaviour::toggle::Toggle};

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

/// Hole punching (DCUtR), if it is on.
pub(crate) fn hole_punching(own: PeerId, config: &Config) -> Toggle<dcutr::Behaviour> {
    config.hole_punching.then(|| dcutr::Behaviour::new(own)).into()
}
