//! All protocols of a host in one behaviour.

use std::time::Duration;

use libp2p::{
    StreamProtocol,
    autonat::v1 as autonat,
    connection_limits::{self, ConnectionLimits},
    dcutr, identify,
    identity::Keypair,
    ping, relay,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
};
use tokio::sync::mpsc;

use crate::{
    config::{Config, PubsubRouter},
    discovery,
    error::Error,
    pubsub, reach,
    stream::Stream,
    streams,
};

/// Connections of a host in all.
const MAX_ESTABLISHED: u32 = 4096;
/// Connections of one peer: two of a simultaneous dial, a relayed one, one that replaces a dead one.
const MAX_ESTABLISHED_PER_PEER: u32 = 4;
/// Inbound connections in their handshakes.
const MAX_PENDING_INCOMING: u32 = 512;
/// Outbound connections in their handshakes.
const MAX_PENDING_OUTGOING: u32 = 512;
/// How long a ping may take.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// The behaviour. Limits and streams come first: what they refuse, the others never hear of.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) streams: streams::Behaviour,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) kad: discovery::Behaviour,
    pub(crate) gossip: pubsub::Behaviour,
    pub(crate) autonat: autonat::Behaviour,
    pub(crate) relay_client: relay::client::Behaviour,
    pub(crate) relay: Toggle<relay::Behaviour>,
    pub(crate) hole_punching: Toggle<dcutr::Behaviour>,
}

/// Build it.
pub(crate) fn build(
    key: &Keypair,
    config: &Config,
    relay_client: relay::client::Behaviour,
    inbound: mpsc::Sender<Stream>,
) -> Result<Behaviour, Error> {
    let own = key.public().to_peer_id();
    let limits = ConnectionLimits::default()
        .with_max_pending_incoming(Some(MAX_PENDING_INCOMING))
        .with_max_pending_outgoing(Some(MAX_PENDING_OUTGOING))
        .with_max_established(Some(MAX_ESTABLISHED))
        .with_max_established_per_peer(Some(MAX_ESTABLISHED_PER_PEER));
    let identify = identify::Config::new(config.protocol_version.clone(), key.public())
        .with_agent_version(config.agent_version.clone())
        .with_push_listen_addr_updates(true);
    let ping = ping::Config::new().with_interval(config.ping_interval).with_timeout(PING_TIMEOUT);
    Ok(Behaviour {
        limits: connection_limits::Behaviour::new(limits),
        streams: streams::Behaviour::new(own, stream_protocols(config)?, inbound),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping),
        kad: discovery::build(own, discovery::protocol(config)?, config.routing_mode),
        gossip: pubsub::build(key, config)?,
        autonat: reach::autonat(own, config),
        relay_client,
        relay: reach::relay(own, config),
        hole_punching: reach::hole_punching(own, config),
    })
}

fn stream_protocols(config: &Config) -> Result<Vec<StreamProtocol>, Error> {
    let parse = |name: &String| {
        StreamProtocol::try_from_owned(name.clone())
            .map_err(|_| Error::Address(format!("protocol {name:?} does not begin with /: correct the name")))
    };
    config.stream_protocols.iter().map(parse).collect()
}

/// The protocols that identify tells, sorted.
pub(crate) fn protocols(config: &Config, dht_server: bool) -> Vec<String> {
    let mut names: Vec<String> = vec![
        identify::PROTOCOL_NAME.to_string(),
        identify::PUSH_PROTOCOL_NAME.to_string(),
        ping::PROTOCOL_NAME.to_string(),
        relay::STOP_PROTOCOL_NAME.to_string(),
        autonat::DEFAULT_PROTOCOL_NAME.to_string(),
        pubsub::FLOODSUB_PROTOCOL.into(),
    ];
    if config.pubsub_router == PubsubRouter::Gossipsub {
        names.extend(["1.0.0", "1.1.0", "1.2.0", "1.3.0"].map(|version| format!("/meshsub/{version}")));
    }
    if dht_server {
        names.push(config.kad_protocol.clone());
    }
    if config.relay_service {
        names.push(relay::HOP_PROTOCOL_NAME.to_string());
    }
    names.extend(config.stream_protocols.iter().cloned());
    names.sort();
    names.dedup();
    names
}
