//! What a host is built from, and the limits it keeps.

use std::{fmt, time::Duration};

use libp2p::Multiaddr;

/// The part a host plays in the DHT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoutingMode {
    /// Asks, never answers.
    Client,
    /// Answers others and keeps their records.
    Server,
    /// Server while AutoNAT says that this host is public, else client.
    Auto,
    /// Client that does not join by itself: it asks nobody before its user asks for something.
    None,
}

/// The gossip protocol spoken with peers of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PubsubRouter {
    /// Only `/floodsub/1.0.0` is offered: every message goes to every subscriber.
    Floodsub,
    /// `/meshsub/1.x` is offered first, `/floodsub/1.0.0` after it.
    Gossipsub,
}

/// All that a host is built from. `Debug` hides both keys.
#[derive(Clone)]
pub struct Config {
    /// libp2p protobuf encoding of a secp256k1 private key, 36 bytes.
    pub private_key: Vec<u8>,
    /// Where to listen; port 0 picks a free one. Empty: dial only.
    pub listen_addrs: Vec<Multiaddr>,
    /// Pre-shared key of a private network; `None` for a public one.
    pub psk: Option<[u8; 32]>,
    /// Protocol version told by identify.
    pub protocol_version: String,
    /// Agent version told by identify.
    pub agent_version: String,
    /// Protocols that inbound streams are accepted for.
    pub stream_protocols: Vec<String>,
    /// Gossip topics subscribed to from the start.
    pub topics: Vec<String>,
    /// The gossip protocol.
    pub pubsub_router: PubsubRouter,
    /// Send own gossip to every subscriber rather than to the mesh only.
    pub flood_publish: bool,
    /// Protocol name of the DHT, `<prefix>/kad/1.0.0`.
    pub kad_protocol: String,
    /// The part played in the DHT.
    pub routing_mode: RoutingMode,
    /// Carry circuits for others.
    pub relay_service: bool,
    /// Dial back for others who ask whether they are public.
    pub autonat_service: bool,
    /// Try to make a direct connection out of each relayed one.
    pub hole_punching: bool,
    /// Ask the router, by UPnP and NAT-PMP, to let others in.
    pub port_mapping: bool,
    /// How long one dial may take, handshakes included.
    pub dial_timeout: Duration,
    /// Time between two pings on a connection.
    pub ping_interval: Duration,
}

impl Config {
    /// The defaults of the network, with an identity and nothing to listen on.
    #[must_use]
    pub fn new(private_key: Vec<u8>) -> Self {
        Self {
            private_key,
            listen_addrs: Vec::new(),
            psk: None,
            protocol_version: "aicn/0.0.1".into(),
            agent_version: "AIComputingNode@aicn".into(),
            stream_protocols: Vec::new(),
            topics: Vec::new(),
            pubsub_router: PubsubRouter::Floodsub,
            flood_publish: true,
            kad_protocol: "/dbc/kad/1.0.0".into(),
            routing_mode: RoutingMode::Client,
            relay_service: false,
            autonat_service: true,
            hole_punching: false,
            port_mapping: false,
            dial_timeout: Duration::from_secs(15),
            ping_interval: Duration::from_secs(15),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("private_key", &"<hidden>")
            .field("listen_addrs", &self.listen_addrs)
            .field("psk", &self.psk.map(|_| "<hidden>"))
            .field("protocol_version", &self.protocol_version)
            .field("agent_version", &self.agent_version)
            .field("stream_protocols", &self.stream_protocols)
            .field("topics", &self.topics)
            .field("pubsub_router", &self.pubsub_router)
            .field("flood_publish", &self.flood_publish)
            .field("kad_protocol", &self.kad_protocol)
            .field("routing_mode", &self.routing_mode)
            .field("relay_service", &self.relay_service)
            .field("autonat_service", &self.autonat_service)
            .field("hole_punching", &self.hole_punching)
            .field("port_mapping", &self.port_mapping)
            .field("dial_timeout", &self.dial_timeout)
            .field("ping_interval", &self.ping_interval)
            .finish()
    }
}
