//! One bidirectional stream: two bounded buffers between the caller and one task that drives both halves.
//!
//! The task owns the libp2p stream. It stops reading when the read buffer is full, which lets the window of
//! the muxer run dry and so holds the other side back, and it writes whatever is queued at once, in one go.
//! The caller never waits inside a lock for the network: it tries, and waits for the buffer to change.

use std::{
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use futures::task::AtomicWaker;
use libp2p::PeerId;
use tokio::sync::Notify;

use crate::error::Error;

/// Size of the read buffer and of the write buffer of a stream: one initial yamux window.
pub const STREAM_BUFFER_BYTES: usize = 256 * 1024;

/// What [`Stream::try_read`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TryRead {
    /// Bytes that have arrived, at least one.
    Data(Bytes),
    /// The other side has ended its half, and everything before that was read.
    Eof,
    /// Nothing has arrived yet.
    Empty,
}

/// A stream to a peer. Clones share it; dropping the last one without `close` resets it.
#[derive(Clone)]
pub struct Stream {
    owner: Arc<Owner>,
}

/// Held by handles only, so that its drop means that no handle is left.
struct Owner {
    shared: Arc<Shared>,
}

/// What the handles and the task of one stream share.
pub(crate) struct Shared {
    peer: PeerId,
    protocol: String,
    relayed: bool,
    state: Mutex<State>,
    /// Wakes the task when a handle wants something.
    pub(crate) task: AtomicWaker,
    readable: Notify,
    writable: Notify,
}

/// How far the writing half has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    /// Open.
    Open,
    /// An end was asked for and is not yet sent.
    Closing,
    /// The end was sent.
    Closed,
}

/// Why a stream ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// By the other side or by the loss of its connection.
    Remote,
    /// By `reset` here, or because the last handle was dropped.
    Local,
}

/// The buffers and the flags; behind one lock that is never held across an await.
pub(crate) struct State {
    pub(crate) read: BytesMut,
    pub(crate) read_ended: bool,
    /// Set by `close`: what still arrives is dropped.
    pub(crate) discard: bool,
    pub(crate) write: BytesMut,
    /// Bytes that the task has taken from `write` and not yet handed to the muxer.
    pub(crate) taken: usize,
    pub(crate) write_half: Half,
    /// The connection is lost; what arrived before can still be read.
    pub(crate) write_lost: bool,
    pub(crate) broken: Option<Broken>,
    /// The task is over.
    pub(crate) done: bool,
    /// Called once, when there is something to read or an end.
    on_readable: Option<Hook>,
    /// Called once, when there is room to write or an end.
    on_writable: Option<Hook>,
}

/// What a caller without a runtime leaves behind instead of waiting.
type Hook = Box<dyn FnOnce() + Send>;

impl State {
    /// Whether a reader has anything to find.
    fn is_readable(&self) -> bool {
        !self.read.is_empty() || self.read_ended || self.broken.is_some() || self.discard
    }

    /// Whether a writer has room, or an error to find.
    fn is_writable(&self) -> bool {
        let room = self.write.len() + self.taken < STREAM_BUFFER_BYTES;
        room || !self.accepts()
    }

    /// Whether more can be written.
    fn accepts(&self) -> bool {
        self.broken.is_none() && !self.write_lost && self.write_half == Half::Open
    }
}

impl Stream {
    /// The peer at the other end.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.owner.shared.peer
    }

    /// The protocol that was negotiated.
    #[must_use]
    pub fn protocol(&self) -> &str {
        &self.owner.shared.protocol
    }

    /// Whether a relay carries the stream.
    #[must_use]
    pub fn relayed(&self) -> bool {
        self.owner.shared.relayed
    }

    /// Take what has arrived, at most `max` bytes, without waiting.
    ///
    /// # Errors
    /// [`Error::StreamReset`] once the stream is broken and everything that arrived before was taken.
    pub fn try_read(&self, max: usize) -> Result<TryRead, Error> {
        let shared = &self.owner.shared;
        let mut state = shared.lock();
        if state.broken == Some(Broken::Local) || state.discard {
            return Err(shared.gone(&state));
        }
        if !state.read.is_empty() {
            let was_full = state.read.len() >= STREAM_BUFFER_BYTES;
            let data = if state.read.len() <= max {
                mem::take(&mut state.read)
            } else {
                let at = max.max(1);
                state.read.split_to(at)
            };
            drop(state);
            if was_full {
                shared.task.wake();
            }
            return Ok(TryRead::Data(data.freeze()));
        }
        if state.read_ended {
            return Ok(TryRead::Eof);
        }
        if state.broken.is_some() {
            return Err(shared.gone(&state));
        }
        Ok(TryRead::Empty)
    }

    /// Wait until `try_read` has something else to say than `Empty`. Cancel-safe.
    pub async fn readable(&self) {
        let shared = &self.owner.shared;
        loop {
            let changed = shared.readable.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                if shared.lock().is_readable() {
                    return;
                }
            }
            changed.await;
        }
    }

    /// Call `hook` once, as soon as `try_read` has something else to say than `Empty`; at once if it has already.
    ///
    /// Costs no task and no wake-up of the runtime, unlike `readable`. A hook replaces the one before it. It is
    /// called from any thread and must neither wait nor touch the stream.
    pub fn on_readable(&self, hook: Box<dyn FnOnce() + Send>) {
        let mut state = self.owner.shared.lock();
        if state.is_readable() {
            drop(state);
            hook();
        } else {
            state.on_readable = Some(hook);
        }
    }

    /// Call `hook` once, as soon as `try_write` takes at least one byte or fails; as `on_readable` does.
    pub fn on_writable(&self, hook: Box<dyn FnOnce() + Send>) {
        let mut state = self.owner.shared.lock();
        if state.is_writable() {
            drop(state);
            hook();
        } else {
            state.on_writable = Some(hook);
        }
    }

    /// Queue a prefix of `data` for sending and return its length; 0 if the buffer is full.
    ///
    /// # Errors
    /// [`Error::StreamReset`] if the stream is broken, or its writing half was ended here.
    pub fn try_write(&self, data: &[u8]) -> Result<usize, Error> {
        let shared = &self.owner.shared;
        let mut state = shared.lock();
        if !state.accepts() {
            return Err(shared.gone(&state));
        }
        let room = STREAM_BUFFER_BYTES.saturating_sub(state.write.len() + state.taken);
        let count = room.min(data.len());
        if count > 0 {
            state.write.extend_from_slice(&data[..count]);
            drop(state);
            shared.task.wake();
        }
        Ok(count)
    }

    /// Wait until `try_write` takes at least one byte or fails. Cancel-safe.
    pub async fn writable(&self) {
        let shared = &self.owner.shared;
        loop {
            let changed = shared.writable.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                if shared.lock().is_writable() {
                    return;
                }
            }
            changed.await;
        }
    }

    /// Send all that was written, then end this half; the other half stays readable. Idempotent.
    ///
    /// If cancelled the half is still ended, once all that was written is sent.
    ///
    /// # Errors
    /// [`Error::StreamReset`] if the stream broke before its end was sent.
    pub async fn close_write(&self) -> Result<(), Error> {
        self.finish(false).await
    }

    /// Send all that was written, end both halves and release the stream. Idempotent.
    ///
    /// What still arrives is dropped. If cancelled, sending goes on without the caller.
    ///
    /// # Errors
    /// [`Error::StreamReset`] if the stream broke before its end was sent.
    pub async fn close(&self) -> Result<(), Error> {
        self.finish(true).await
    }

    /// End both halves at once, in error; drop what was not sent. Idempotent.
    pub fn reset(&self) {
        self.owner.shared.give_up(false);
    }

    async fn finish(&self, both: bool) -> Result<(), Error> {
        let shared = &self.owner.shared;
        {
            let mut state = shared.lock();
            if both {
                state.discard = true;
                state.read = BytesMut::new();
            }
            if state.write_half == Half::Open {
                state.write_half = Half::Closing;
            }
        }
        shared.task.wake();
        shared.notify_readable();
        loop {
            let changed = shared.writable.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = shared.lock();
                if state.write_half == Half::Closed {
                    return Ok(());
                }
                if state.broken.is_some() || state.write_lost {
                    return Err(shared.gone(&state));
                }
            }
            changed.await;
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.give_up(true);
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("peer", &self.peer())
            .field("protocol", &self.protocol())
            .field("relayed", &self.relayed())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Lock the state. A panic while it is held can only be a bug here; the flags stay meaningful.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Tell whoever waits for bytes, or for an end.
    pub(crate) fn notify_readable(&self) {
        self.readable.notify_waiters();
        // Bound first: the lock must be free before a hook runs.
        let hook = self.lock().on_readable.take();
        if let Some(hook) = hook {
            hook();
        }
    }

    /// Tell whoever waits for room, or for an end.
    pub(crate) fn notify_writable(&self) {
        self.writable.notify_waiters();
        let hook = self.lock().on_writable.take();
        if let Some(hook) = hook {
            hook();
        }
    }

    /// Mark the stream broken and tell everybody.
    pub(crate) fn break_off(&self, why: Broken) {
        {
            let mut state = self.lock();
            if state.broken.is_none() {
                state.broken = Some(why);
            }
            state.write = BytesMut::new();
            state.taken = 0;
        }
        self.notify_readable();
        self.notify_writable();
    }

    /// Reset from here. A stream that is being closed survives the loss of its handles, not a `reset`.
    fn give_up(&self, by_drop: bool) {
        {
            let mut state = self.lock();
            if state.done || state.broken.is_some() || (by_drop && state.discard) {
                return;
            }
            state.broken = Some(Broken::Local);
            state.read = BytesMut::new();
            state.write = BytesMut::new();
        }
        self.task.wake();
        self.notify_readable();
        self.notify_writable();
    }

    fn gone(&self, state: &State) -> Error {
        let what = match state.broken {
            Some(Broken::Local) => "was reset here",
            Some(Broken::Remote) => "was reset by the other side or lost its connection; retry on a new one",
            None if state.write_lost => "lost its connection; retry on a new one",
            None => "was already closed here",
        };
        Error::StreamReset(format!("stream {} to {} {what}", self.protocol, self.peer))
    }
}

/// Make a handle and the state that its task drives.
pub(crate) fn pair(peer: PeerId, protocol: String, relayed: bool) -> (Stream, Arc<Shared>) {
    let shared = Arc::new(Shared {
        peer,
        protocol,
        relayed,
        state: Mutex::new(State {
            read: BytesMut::new(),
            read_ended: false,
            discard: false,
            write: BytesMut::new(),
            taken: 0,
            write_half: Half::Open,
            write_lost: false,
            broken: None,
            done: false,
            on_readable: None,
            on_writable: None,
        }),
        task: AtomicWaker::new(),
        readable: Notify::new(),
        writable: Notify::new(),
    });
    let stream = Stream { owner: Arc::new(Owner { shared: shared.clone() }) };
    (stream, shared)
}

/// Counts the live streams of a connection; told when the last one has gone.
#[derive(Debug, Default)]
pub(crate) struct LiveStreams {
    count: AtomicUsize,
    pub(crate) idle: AtomicWaker,
}

impl LiveStreams {
    /// How many streams are live.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }
}

/// One live stream of a connection; dropping it counts it out.
#[derive(Debug)]
pub(crate) struct LiveStream(Arc<LiveStreams>);

impl LiveStream {
    /// Count a stream in, unless `limit` are live already.
    pub(crate) fn enter(live: &Arc<LiveStreams>, limit: usize) -> Option<Self> {
        live.count
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| (count < limit).then_some(count + 1))
            .ok()
            .map(|_| Self(live.clone()))
    }
}

impl Drop for LiveStream {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.wake();
        }
    }
}
