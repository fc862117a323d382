//! What the user of a host holds: cheap to clone, usable from any thread.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use libp2p::{Multiaddr, PeerId, StreamProtocol, multiaddr::Protocol};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout_at},
};

use crate::{
    command::{Command, OpenRequest, Pending},
    error::Error,
    event::{Connection, PeerAddrs, PeerIdentity},
    listeners::is_circuit,
    snapshot::{Ended, Snapshot},
    stream::Stream,
};

/// Unanswered requests for outbound streams that a host keeps; more are refused.
pub const MAX_PENDING_OPENS: usize = 1024;

/// What is waited before each attempt of an `open_stream` whose connection is lost under it. Of two that dial each other
/// at once, one may hear of its peer's connection late, and until then every connection of its own is refused there.
const OPEN_PAUSES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(10),
    Duration::from_millis(40),
    Duration::from_millis(160),
    Duration::from_millis(640),
];

/// How long a lost reply may stay unexplained before it counts as a bug.
const END_GRACE: Duration = Duration::from_secs(1);

/// Longest time that a call takes as its own; an hour of waiting is a mistake, and clocks do not add up for ever.
const MAX_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// How long a listen address may take to come up or go.
pub(crate) const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long closing the connections to a peer may take.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The last part of a search's time, kept for carrying its result back.
const SEARCH_GRACE: Duration = Duration::from_secs(1);

/// A handle to a running host.
///
/// Snapshots do not wait. Every async method may be dropped at any await: what was begun for it is undone.
#[derive(Debug, Clone)]
pub struct Handle {
    peer_id: PeerId,
    commands: mpsc::Sender<Command>,
    snapshot: Arc<Snapshot>,
    pending_opens: Arc<AtomicUsize>,
}

impl Handle {
    pub(crate) fn new(peer_id: PeerId, commands: mpsc::Sender<Command>, snapshot: Arc<Snapshot>) -> Self {
        Self { peer_id, commands, snapshot, pending_opens: Arc::default() }
    }

    /// The identity of this host.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// The addresses listened on, without `/p2p`; ports resolved, wildcards expanded.
    #[must_use]
    pub fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.snapshot.read().listen_addrs.clone()
    }

    /// The established connections, the preferred one of each peer first.
    #[must_use]
    pub fn connections(&self) -> Vec<Connection> {
        self.snapshot.read().connections.values().flatten().cloned().collect()
    }

    /// The preferred connection to `peer`: a direct one before a relayed one.
    #[must_use]
    pub fn connection(&self, peer: &PeerId) -> Option<Connection> {
        self.snapshot.read().connections.get(peer)?.first().cloned()
    }

    /// What a connected peer said of itself; `None` before identify has answered.
    #[must_use]
    pub fn identity(&self, peer: &PeerId) -> Option<PeerIdentity> {
        self.snapshot.read().identities.get(peer).cloned()
    }

    /// The address book: every peer with an address known here, this host included. Bounded.
    #[must_use]
    pub fn known_addrs(&self) -> Vec<PeerAddrs> {
        let tables = self.snapshot.read();
        let own = tables.listen_addrs.clone();
        let own = (!own.is_empty()).then_some(PeerAddrs { peer: self.peer_id, addrs: own });
        own.into_iter().chain(tables.book.all()).collect()
    }

    /// The connected peers subscribed to `topic`, one of [`crate::Config::topics`].
    #[must_use]
    pub fn topic_peers(&self, topic: &str) -> Vec<PeerId> {
        self.snapshot.read().topic_peers.get(topic).cloned().unwrap_or_default()
    }

    /// The protocols this host speaks, as identify tells them.
    #[must_use]
    pub fn protocols(&self) -> Vec<String> {
        self.snapshot.read().protocols.clone()
    }

    /// Dial `addr`, which must end in `/p2p/ID`; return at once if that peer is connected.
    ///
    /// # Errors
    /// [`Error::Address`], [`Error::DialFailed`], [`Error::Timeout`], [`Error::Closed`].
    pub async fn connect(&self, addr: Multiaddr, timeout: Duration) -> Result<PeerId, Error> {
        let timeout = timeout.min(MAX_TIMEOUT);
        let mut bare = addr.clone();
        let Some(Protocol::P2p(peer)) = bare.pop() else {
            return Err(Error::Address(format!("address {addr} does not end in /p2p/ID: add the peer id")));
        };
        if bare.is_empty() {
            return Err(Error::Address(format!("address {addr} names a peer but no place: put one before /p2p")));
        }
        if peer == self.peer_id {
            return Err(Error::DialFailed(format!("address {addr} is that of this host itself: dial another peer")));
        }
        if self.snapshot.read().connections.contains_key(&peer) && self.snapshot.ended.borrow().is_none() {
            return Ok(peer);
        }
        let (reply, answer) = oneshot::channel();
        let late = || {
            let ms = timeout.as_millis();
            Error::Timeout(format!("{addr} did not answer within {ms} ms: check the address or allow more time"))
        };
        self.ask(Command::Connect { peer, addr: bare, reply }, answer, Instant::now() + timeout, late).await
    }

    /// Close every connection to `peer`.
    ///
    /// # Errors
    /// [`Error::NotConnected`], [`Error::Timeout`], [`Error::Closed`].
    pub async fn disconnect(&self, peer: PeerId) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + DISCONNECT_TIMEOUT;
        let late = || {
            let s = DISCONNECT_TIMEOUT.as_secs();
            Error::Timeout(format!("the connections to {peer} did not close within {s} s: they are being cut"))
        };
        self.ask(Command::Disconnect { peer, reply }, answer, deadline, late).await
    }

    /// Listen on one more address, or be called through one more relay, and return once that works. `timeout` is
    /// for relays; an address of this machine has 5 s.
    ///
    /// A relay that is lost later is asked again until `unlisten`.
    ///
    /// # Errors
    /// [`Error::ListenFailed`], [`Error::Timeout`], [`Error::Overloaded`], [`Error::Closed`]; nothing is kept then.
    pub async fn listen(&self, addr: Multiaddr, timeout: Duration) -> Result<(), Error> {
        let timeout = if is_circuit(&addr) { timeout.min(MAX_TIMEOUT) } else { LISTEN_TIMEOUT };
        let (reply, answer) = oneshot::channel();
        let late = || {
            let ms = timeout.as_millis();
            Error::Timeout(format!("{addr} did not come up within {ms} ms: try another one"))
        };
        let command = Command::Listen { addr: addr.clone(), reply };
        self.ask(command, answer, Instant::now() + timeout, late).await
    }

    /// Listen on an address no more, named as it was asked for or as it was told; nothing if it is not listened on.
    /// Connections stay.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Closed`].
    pub async fn unlisten(&self, addr: Multiaddr) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let late = || {
            let s = LISTEN_TIMEOUT.as_secs();
            Error::Timeout(format!("{addr} was not given up within {s} s: it soon will be"))
        };
        let command = Command::Unlisten { addr: addr.clone(), reply };
        self.ask(command, answer, Instant::now() + LISTEN_TIMEOUT, late).await
    }

    /// Open a stream over the existing connection, a direct one first; dial a known address if there is none.
    ///
    /// # Errors
    /// [`Error::NotConnected`], [`Error::DialFailed`], [`Error::StreamRefused`], [`Error::StreamReset`],
    /// [`Error::Timeout`], [`Error::Overloaded`], [`Error::Closed`].
    pub async fn open_stream(&self, peer: PeerId, protocol: String, timeout: Duration) -> Result<Stream, Error> {
        let name = StreamProtocol::try_from_owned(protocol.clone())
            .map_err(|_| Error::Address(format!("protocol {protocol:?} does not begin with /: correct the name")))?;
        let timeout = timeout.min(MAX_TIMEOUT);
        let deadline = Instant::now() + timeout;
        let late = || {
            let ms = timeout.as_millis();
            Error::Timeout(format!("{peer} did not open a stream for {protocol} within {ms} ms: try another peer"))
        };
        for pause in OPEN_PAUSES {
            if !pause.is_zero() {
                timeout_at(deadline, sleep(pause)).await.map_err(|_| late())?;
            }
            let Some(pending) = Pending::enter(&self.pending_opens, MAX_PENDING_OPENS) else {
                return Err(Error::Overloaded(format!(
                    "{MAX_PENDING_OPENS} streams are being opened already: retry when some are open"
                )));
            };
            let (reply, answer) = oneshot::channel();
            self.send(Command::Open(OpenRequest {
                peer,
                protocol: name.clone(),
                timeout: deadline.saturating_duration_since(Instant::now()),
                reply,
                _pending: pending,
            }))?;
            match timeout_at(deadline, answer).await {
                Ok(Ok(result)) => return result,
                Err(_) => return Err(late()),
                // The connection went away under the request; another one may stand already.
                Ok(Err(_)) => {
                    if self.snapshot.ended.borrow().is_some() {
                        return Err(self.why_ended().await);
                    }
                }
            }
        }
        Err(Error::StreamReset(format!(
            "the connection to {peer} was lost {} times while opening a stream: retry later",
            OPEN_PAUSES.len()
        )))
    }

    /// Sign and send `data` to the subscribers of `topic`; return to how many peers it went, 0 when alone.
    ///
    /// # Errors
    /// [`Error::PublishFailed`] if it is too large, [`Error::Closed`].
    pub async fn publish(&self, topic: String, data: Vec<u8>) -> Result<usize, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Publish { topic, data, reply })?;
        self.answer(answer).await
    }

    /// Announce in the DHT that this host provides `key`, a multihash, and keep announcing it.
    ///
    /// Returns once the first announcement was sent, or at once if there is nobody to send it to yet.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if too many keys are provided, [`Error::Closed`].
    pub async fn provide(&self, key: Vec<u8>) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Provide { key, reply })?;
        self.answer(answer).await
    }

    /// Ask the DHT who provides `key`, with addresses where known; what was found when time ran out.
    ///
    /// # Errors
    /// [`Error::Overloaded`], [`Error::Closed`].
    pub async fn find_providers(&self, key: Vec<u8>, limit: usize, timeout: Duration) -> Result<Vec<PeerAddrs>, Error> {
        let timeout = timeout.min(MAX_TIMEOUT);
        let (reply, answer) = oneshot::channel();
        let command = Command::FindProviders { key, limit, timeout, reply };
        let late = || Error::Timeout("the search for providers did not end in time: retry later".into());
        self.ask(command, answer, Instant::now() + timeout + SEARCH_GRACE, late).await
    }

    /// Ask the DHT where `peer` is.
    ///
    /// # Errors
    /// [`Error::NotConnected`] if nobody knows, [`Error::Overloaded`], [`Error::Closed`].
    pub async fn find_peer(&self, peer: PeerId, timeout: Duration) -> Result<PeerAddrs, Error> {
        let timeout = timeout.min(MAX_TIMEOUT);
        let (reply, answer) = oneshot::channel();
        let late = || Error::Timeout(format!("the search for {peer} did not end in time: retry later"));
        let deadline = Instant::now() + timeout + SEARCH_GRACE;
        self.ask(Command::FindPeer { peer, timeout, reply }, answer, deadline, late).await
    }

    /// Stop listening, end pending calls with [`Error::Closed`], close every connection. Idempotent.
    ///
    /// # Errors
    /// [`Error::Panicked`] if the host had ended by a bug of its own.
    pub async fn close(&self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        // Waits for a slot: a full queue must not keep a host open.
        if self.commands.send(Command::Close { reply }).await.is_ok() {
            // Whether answered or dropped, the driver has ended or is ending.
            let _ = answer.await;
        }
        match self.why_ended().await {
            Error::Closed => Ok(()),
            other => Err(other),
        }
    }

    /// Make the driver panic, to test that nobody is left waiting.
    #[doc(hidden)]
    pub fn panic_for_test(&self) {
        let _ = self.commands.try_send(Command::Panic);
    }

    fn send(&self, command: Command) -> Result<(), Error> {
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Error::Overloaded("the command queue of the host is full: retry in a moment".into())
            }
            mpsc::error::TrySendError::Closed(_) => self.ended_now(),
        })
    }

    async fn ask<T>(
        &self,
        command: Command,
        answer: oneshot::Receiver<Result<T, Error>>,
        deadline: Instant,
        late: impl Fn() -> Error,
    ) -> Result<T, Error> {
        self.send(command)?;
        timeout_at(deadline, self.answer(answer)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn answer<T>(&self, answer: oneshot::Receiver<Result<T, Error>>) -> Result<T, Error> {
        match answer.await {
            Ok(result) => result,
            Err(_) => Err(self.why_ended().await),
        }
    }

    fn ended_now(&self) -> Error {
        match *self.snapshot.ended.borrow() {
            Some(Ended::Panicked) => panicked(),
            _ => Error::Closed,
        }
    }

    async fn why_ended(&self) -> Error {
        let mut ended = self.snapshot.ended.subscribe();
        match tokio::time::timeout(END_GRACE, ended.wait_for(Option::is_some)).await {
            Ok(_) => self.ended_now(),
            Err(_) => Error::Panicked("the core dropped a request unanswered: report this bug".into()),
        }
    }
}

fn panicked() -> Error {
    Error::Panicked("the network core panicked and is closed: report this bug and start a new host".into())
}
