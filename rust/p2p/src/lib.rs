//! libp2p core of aicn: bytes, connections, DHT, gossip. No policy and no Python.
//!
//! [`start`] builds a host and returns three ends: a [`Handle`] to ask, [`Events`] and [`Inbound`] to listen.
//! One driver task owns the swarm; everything else sends it commands that carry their reply slot, over bounded
//! queues. Streams have a task each and do not pass through the driver.

mod address_book;
mod behaviour;
mod command;
mod config;
mod connections;
mod dials;
mod discovery;
mod driver;
mod error;
mod event;
mod frames;
mod handle;
mod identity;
mod listeners;
mod muxer;
mod narrow;
mod port_mapping;
mod provider_store;
mod pubsub;
mod reach;
mod seldom;
mod snapshot;
mod stream;
mod stream_task;
mod streams;
mod streams_handler;
mod transport;

use std::{sync::Arc, time::Duration};

use libp2p::{Swarm, relay, swarm};
use tokio::sync::mpsc;

pub use config::{Config, PubsubRouter, RoutingMode};
pub use error::Error;
pub use event::{Connection, Direction, Event, Events, GossipMessage, Inbound, PeerAddrs, PeerIdentity};
pub use handle::{Handle, MAX_PENDING_OPENS};
pub use identity::{decode_key, parse_multiaddr, parse_peer_id};
pub use libp2p::{Multiaddr, PeerId};
pub use stream::{STREAM_BUFFER_BYTES, Stream, TryRead};

/// Commands that wait for the driver. Above [`MAX_PENDING_OPENS`], so that those are refused by their own name.
const COMMAND_QUEUE: usize = 2048;
/// Events that wait for the user.
const EVENT_QUEUE: usize = 4096;
/// Slots of the event queue that gossip leaves to events about connections.
const EVENT_RESERVE: usize = 1024;
/// Inbound streams that wait for the user: a burst from a full set of callers.
const INBOUND_QUEUE: usize = 1024;
/// Connections are trimmed by policy, not by idleness: practically never.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1 << 30);
/// Inbound streams of one connection whose protocol is being agreed on.
const MAX_NEGOTIATING_STREAMS: usize = 1024;

/// Build a host, listen on the configured addresses and begin. Must be called inside a tokio runtime.
///
/// # Errors
/// [`Error::Identity`], [`Error::Address`] for a bad protocol name, [`Error::ListenFailed`]; nothing stays open.
pub async fn start(config: Config) -> Result<(Handle, Events, Inbound), Error> {
    let key = decode_key(&config.private_key)?;
    let own = key.public().to_peer_id();
    let (inbound_sender, inbound) = mpsc::channel(INBOUND_QUEUE);
    let (circuits, relay_client) = relay::client::new(own);
    let snapshot = Arc::new(snapshot::Snapshot::new());
    let punching = config.hole_punching.then(|| snapshot.clone());
    let transport = transport::build(&key, config.psk, circuits, config.dial_timeout, punching)?;
    let behaviour = behaviour::build(&key, &config, relay_client, inbound_sender)?;
    let settings = swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(IDLE_TIMEOUT)
        .with_max_negotiating_inbound_streams(MAX_NEGOTIATING_STREAMS);
    let swarm = Swarm::new(transport, behaviour, own, settings);

    let (commands, command_queue) = mpsc::channel(COMMAND_QUEUE);
    let (event_sender, events) = event::event_queue(EVENT_QUEUE, EVENT_RESERVE);
    let mut driver = driver::Driver::new(swarm, command_queue, snapshot.clone(), event_sender, config);
    driver.listen(handle::LISTEN_TIMEOUT).await?;
    tokio::spawn(driver.run());
    Ok((Handle::new(own, commands, snapshot), events, Inbound::new(inbound)))
}
