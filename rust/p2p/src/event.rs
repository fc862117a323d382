//! What a host tells its user unasked, and the snapshots it can be asked for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use libp2p::{Multiaddr, PeerId};
use tokio::sync::mpsc;

use crate::stream::Stream;

/// Payload of the gossip that waits for the user.
const MAX_GOSSIP_BYTES: usize = 16 << 20;

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
    /// Others can reach this host, or cannot, or that is not known any more, as AutoNAT finds.
    Reachability {
        /// `None` while it is not known.
        public: Option<bool>,
    },
    /// The addresses of this host have changed.
    ListenAddrs(Vec<Multiaddr>),
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
    gossip_bytes: Arc<AtomicUsize>,
}

impl Events {
    /// Wait for the next event; `None` once the host has ended and everything was received. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Event> {
        if let Ok(event) = self.queue.try_recv() {
            return Some(self.taken(event));
        }
        // The queue is empty: what was dropped was dropped behind all that has been received.
        match self.lost.swap(0, Ordering::AcqRel) {
            0 => {
                let event = self.queue.recv().await?;
                Some(self.taken(event))
            }
            count => Some(Event::Lost { count }),
        }
    }

    fn taken(&self, event: Event) -> Event {
        if let Event::Gossip(message) = &event {
            self.gossip_bytes.fetch_sub(message.data.len(), Ordering::AcqRel);
        }
        event
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
    gossip_bytes: Arc<AtomicUsize>,
    reserve: usize,
}

impl EventSender {
    /// Queue `event`, or count it as lost. Gossip leaves the last slots to events about connections, and is bounded
    /// in bytes too.
    pub(crate) fn send(&self, event: Event) {
        let bytes = if let Event::Gossip(message) = &event { Some(message.data.len()) } else { None };
        let full = bytes.is_some_and(|bytes| {
            let queued = self.gossip_bytes.load(Ordering::Acquire);
            self.queue.capacity() <= self.reserve || queued + bytes > MAX_GOSSIP_BYTES
        });
        // Counted before it can be taken.
        let bytes = bytes.unwrap_or_default();
        self.gossip_bytes.fetch_add(bytes, Ordering::AcqRel);
        if full || self.queue.try_send(event).is_err() {
            self.gossip_bytes.fetch_sub(bytes, Ordering::AcqRel);
            self.lost.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// A bounded event queue whose last `reserve` slots gossip may not take.
pub(crate) fn event_queue(slots: usize, reserve: usize) -> (EventSender, Events) {
    let (sender, receiver) = mpsc::channel(slots);
    let (lost, gossip_bytes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
    (
        EventSender { queue: sender, lost: lost.clone(), gossip_bytes: gossip_bytes.clone(), reserve },
        Events { queue: receiver, lost, gossip_bytes },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gossip(bytes: usize) -> Event {
        let message =
            GossipMessage { topic: "t".into(), source: PeerId::random(), seqno: [0; 8], data: vec![0; bytes] };
        Event::Gossip(message)
    }

    fn next(events: &mut Events) -> Option<Event> {
        futures::FutureExt::now_or_never(events.recv()).flatten()
    }

    #[test]
    fn gossip_leaves_room_and_losses_are_told_once() {
        let (sender, mut events) = event_queue(4, 2);
        let peer = PeerId::random();
        for _ in 0..3 {
            sender.send(gossip(1));
        }
        for _ in 0..3 {
            sender.send(Event::Disconnected(peer));
        }
        let mut seen = Vec::new();
        while let Some(event) = next(&mut events) {
            seen.push(event);
        }
        assert!(matches!(seen[..2], [Event::Gossip(_), Event::Gossip(_)]));
        assert_eq!(seen[2..], [Event::Disconnected(peer), Event::Disconnected(peer), Event::Lost { count: 2 }]);
    }

    #[test]
    fn gossip_is_bounded_in_bytes_and_room_comes_back() {
        let (sender, mut events) = event_queue(1000, 2);
        for _ in 0..40 {
            sender.send(gossip(1 << 20));
        }
        for _ in 0..16 {
            assert!(matches!(next(&mut events), Some(Event::Gossip(_))));
        }
        assert_eq!(next(&mut events), Some(Event::Lost { count: 24 }));
        sender.send(gossip(1 << 20));
        assert!(matches!(next(&mut events), Some(Event::Gossip(_))));
    }
}
