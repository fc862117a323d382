//! What a handle asks of the driver. Each command carries the slot for its reply; a caller that gave up has
//! dropped the other end of that slot, and the driver then drops what it did for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use libp2p::{Multiaddr, PeerId};
use tokio::sync::oneshot;

use crate::{error::Error, event::PeerAddrs, stream::Stream};

/// The slot for a reply.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// Answer a caller that may have gone.
pub(crate) fn answer<T>(reply: Reply<T>, result: Result<T, Error>) {
    // A caller that no longer waits has dropped its end; there is nobody to tell.
    let _ = reply.send(result);
}

/// Counts one unanswered request for an outbound stream; dropping it counts it out.
#[derive(Debug)]
pub(crate) struct Pending(Arc<AtomicUsize>);

impl Pending {
    /// Count a request in, unless `limit` are unanswered already.
    pub(crate) fn enter(count: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        count
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| (now < limit).then_some(now + 1))
            .ok()
            .map(|_| Self(count.clone()))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A request for an outbound stream, on its way from the caller to the connection that will carry it.
#[derive(Debug)]
pub(crate) struct OpenRequest {
    /// To whom.
    pub(crate) peer: PeerId,
    /// For which protocol.
    pub(crate) protocol: libp2p::StreamProtocol,
    /// How long the negotiation may take.
    pub(crate) timeout: Duration,
    /// Where the stream goes. Dropped unanswered if the connection is lost: the caller then asks again.
    pub(crate) reply: Reply<Stream>,
    /// Keeps the number of unanswered requests bounded.
    pub(crate) _pending: Pending,
}

/// What a handle asks of the driver.
#[derive(Debug)]
pub(crate) enum Command {
    /// Dial an address that ends in `/p2p/ID`.
    Connect {
        /// Who.
        peer: PeerId,
        /// Where, without the trailing `/p2p`.
        addr: Multiaddr,
        /// Answered once connected.
        reply: Reply<PeerId>,
    },
    /// Close every connection to a peer.
    Disconnect {
        /// Who.
        peer: PeerId,
        /// Answered once the last connection is gone.
        reply: Reply<()>,
    },
    /// Listen on one more address.
    Listen {
        /// Where, or through which relay.
        addr: Multiaddr,
        /// Answered once it is up.
        reply: Reply<()>,
    },
    /// Listen on an address no more.
    Unlisten {
        /// As it was asked for, or as it was told.
        addr: Multiaddr,
        /// Answered once it is down.
        reply: Reply<()>,
    },
    /// Open a stream.
    Open(OpenRequest),
    /// Send gossip.
    Publish {
        /// The topic.
        topic: String,
        /// The payload.
        data: Vec<u8>,
        /// Answered with the number of peers it was queued for.
        reply: Reply<usize>,
    },
    /// Announce a key in the DHT, and keep announcing it.
    Provide {
        /// A multihash.
        key: Vec<u8>,
        /// Answered once the announcement was sent for the first time.
        reply: Reply<()>,
    },
    /// Ask the DHT who provides a key.
    FindProviders {
        /// A multihash.
        key: Vec<u8>,
        /// How many are enough.
        limit: usize,
        /// When to be content with what was found.
        timeout: Duration,
        /// Answered with what was found.
        reply: Reply<Vec<PeerAddrs>>,
    },
    /// Ask the DHT where a peer is.
    FindPeer {
        /// Who.
        peer: PeerId,
        /// When to give up.
        timeout: Duration,
        /// Answered with its addresses.
        reply: Reply<PeerAddrs>,
    },
    /// End the host.
    Close {
        /// Answered once nothing is open.
        reply: Reply<()>,
    },
    /// Panic, to test that nobody is left waiting.
    Panic,
}
