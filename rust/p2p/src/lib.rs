//! libp2p core of aicn: bytes, connections, DHT, gossip. No policy and no Python.
//!
//! [`start`] builds a host and returns three ends: a [`Handle`] to ask, [`Events`] and [`Inbound`] to listen.
//! One driver task owns the swarm; everything else sends it commands that carry their reply slot, over bounded
//! queues. Streams have a task each and do not pass through the driver.

mod command;
mod config;
mod error;
mod event;
mod handle;
mod identity;
mod snapshot;
mod stream;

use std::sync::Arc;

use tokio::sync::mpsc;

pub use config::{Config, PubsubRouter, RoutingMode};
pub use error::Error;
pub use event::{Connection, Direction, Event, Events, GossipMessage, Inbound, PeerAddrs, PeerIdentity};
pub use handle::{Handle, MAX_PENDING_OPENS};
pub use identity::{decode_key, parse_multiaddr, parse_peer_id};
pub use libp2p::{Multiaddr, PeerId};
pub use stream::{STREAM_BUFFER_BYTES, Stream, TryRead};

/// Build a host, listen on the configured addresses and begin. Must be called inside a tokio runtime.
///
/// # Errors
/// [`Error::Identity`], [`Error::Address`] for a bad protocol name, [`Error::ListenFailed`]; nothing stays open.
pub async fn start(config: Config) -> Result<(Handle, Events, Inbound), Error> {
    let key = decode_key(&config.private_key)?;
    let (commands, _) = mpsc::channel(1);
    let (_, events) = event::event_queue(16, 4);
    let (_, inbound) = mpsc::channel(16);
    let snapshot = Arc::new(snapshot::Snapshot::new());
    let handle = Handle::new(key.public().to_peer_id(), commands, snapshot);
    Ok((handle, events, Inbound::new(inbound)))
}
