//! What a host tells its user unasked, and the snapshots it can be asked for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use libp2p::{Multiaddr, PeerId};
use tokio::sync::mpsc;

use crate::stream::Stream;

/// Who dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The other side.
    Inbound,
    /// This host.
    Outbound,
}

/// One established connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The peer at the other end.
    pub peer: PeerId,
    /// Its address, without the trailing `/p2p` part.
    pub addr: Multiaddr,
    /// Who dialled.
    pub direction: Direction,
    /// Whether a relay carries it.
    pub relayed: bool,
    /// Last round trip measured by ping; `None` before the first answer.
    pub rtt: Option<Duration>,
    /// Unique among the connections of this host.
    pub conn_id: String,
}

/// What a peer said of itself through identify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The peer.
    pub peer: PeerId,
    /// Its protocol version, `aicn/0.0.1` in this network.
    pub protocol_version: String,
    /// Its agent version.
    pub agent_version: String,
    /// The protocols it speaks.
    pub protocols: Vec<String>,
    /// Where it listens.
    pub listen_addrs: Vec<Multiaddr>,
    /// libp2p protobuf encoding of its public key.
    pub public_key: Vec<u8>,
}

/// A peer and where it may be dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddrs {
    /// The peer.
    pub peer: PeerId,
    /// Addresses without the trailing `/p2p` part; may be empty.
    pub addrs: Vec<Multiaddr>,
}

/// A gossip message whose signature has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GossipMessage {
    /// The topic.
    pub topic: String,
    /// Who signed it, which is not always who sent it on.
    pub source: PeerId,
    /// With `source` the identity of the message.
    pub seqno: [u8; 8],
    /// The payload.
    pub data: Vec<u8>,
}

/// What a host tells unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The first connection to a peer is up.
    Connected(Connection),
    /// The last connection to a peer is gone.
    Disconnected(PeerId),
    /// Identify has answered.
    Identified(PeerIdentity),
    /// A connected peer listens to a topic from now on: what is published reaches it.
    Subscribed {
        /// Who.
        peer: PeerId,
        /// One of [`crate::Config::topics`], or another.
        topic: String,
    },
    /// A gossip message of somebody else arrived.
    Gossip(GossipMessage),
    /// The queue overflowed here: this many events were dropped. Read the snapshots afresh.
    Lost {
        /// How many.
        count: u64,
    },
}

/// The receiving end of a host's events. Bounded: what does not fit is counted and told as [`Event::Lost`].
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Receiver<Event>,
    lost: Arc<AtomicU64>,
}

impl Events {
    /// Wait for the next event; `None` once the host has ended and everything was received. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Event> {
        if let Ok(event) = self.queue.try_recv() {
            return Some(event);
        }
        // The queue is empty: what was dropped was dropped behind all that has been received.
        match self.lost.swap(0, Ordering::AcqRel) {
            0 => self.queue.recv().await,
            count => Some(Event::Lost { count }),
        }
    }
}

/// The receiving end of inbound streams. Bounded: a stream that does not fit is reset.
#[derive(Debug)]
pub struct Inbound {
    queue: mpsc::Receiver<Stream>,
}

impl Inbound {
    /// Wait for the next inbound stream; `None` once the host has ended. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Stream> {
        self.queue.recv().await
    }

    pub(crate) fn new(queue: mpsc::Receiver<Stream>) -> Self {
        Self { queue }
    }
}

/// The sending end of a host's events; never waits.
#[derive(Debug)]
pub(crate) struct EventSender {
    queue: mpsc::Sender<Event>,
    lost: Arc<AtomicU64>,
    reserve: usize,
}

impl EventSender {
    /// Queue `event`, or count it as lost. Gossip leaves the last slots to events about connections.
    pub(crate) fn send(&self, event: Event) {
        let gossip = matches!(event, Event::Gossip(_));
        let full = gossip && self.queue.capacity() <= self.reserve;
        if full || self.queue.try_send(event).is_err() {
            self.lost.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// A bounded event queue whose last `reserve` slots gossip may not take.
pub(crate) fn event_queue(slots: usize, reserve: usize) -> (EventSender, Events) {
    let (sender, receiver) = mpsc::channel(slots);
    let lost = Arc::new(AtomicU64::new(0));
    (EventSender { queue: sender, lost: lost.clone(), reserve }, Events { queue: receiver, lost })
}
