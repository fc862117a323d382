//! The completion queue: what tokio has done, for Python to fetch in batches.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use aicn_p2p::{Error, Event, PeerAddrs, Stream};
use pyo3::{IntoPyObjectExt, prelude::*, types::PyBytes};
use tokio::sync::Semaphore;

use crate::{convert, error, logs, ops::Ops, stream::NativeStream, wake::Wake};

/// Events that wait for Python; further ones wait in the core, which counts what it drops.
const EVENT_SLOTS: usize = 1024;
/// Inbound streams that wait for Python; further ones wait in the core, which resets what does not fit.
const INBOUND_SLOTS: usize = 256;

/// What an operation, or nobody in particular, has to say.
pub(crate) enum Payload {
    /// Done.
    Unit,
    /// Failed.
    Failed(Error),
    /// A stream was opened.
    Stream(Stream),
    /// A peer was reached.
    Peer(String),
    /// So many.
    Count(usize),
    /// Peers were found.
    Addrs(Vec<PeerAddrs>),
    /// A stream came in.
    Inbound(Stream),
    /// Something happened.
    Event(Event),
    /// The core has ended, and nobody asked it to.
    Ended(Error),
}

/// Names of payloads in the tuples that Python gets.
mod kind {
    pub(super) const DONE: u8 = 0;
    pub(super) const FAILED: u8 = 1;
    pub(super) const INBOUND: u8 = 2;
    pub(super) const GOSSIP: u8 = 3;
    pub(super) const CONNECTED: u8 = 4;
    pub(super) const DISCONNECTED: u8 = 5;
    pub(super) const IDENTIFIED: u8 = 6;
    pub(super) const LOST: u8 = 7;
    pub(super) const LOGS: u8 = 8;
    pub(super) const ENDED: u8 = 9;
    pub(super) const SUBSCRIBED: u8 = 10;
    pub(super) const REACHABILITY: u8 = 11;
    pub(super) const LISTEN_ADDRS: u8 = 12;
}

/// (operation or 0, kind, value) as Python gets it.
pub(crate) type Entry = (u64, u8, Py<PyAny>);

/// The queue of one node. Operations bound it from one side (Python starts them), permits from the other.
pub(crate) struct Queue {
    items: Mutex<Vec<(u64, Payload)>>,
    armed: AtomicBool,
    wake: Wake,
    event_slots: Semaphore,
    inbound_slots: Semaphore,
}

impl Queue {
    pub(crate) fn new(wake: Wake) -> Self {
        Self {
            items: Mutex::new(Vec::new()),
            armed: AtomicBool::new(false),
            wake,
            event_slots: Semaphore::new(EVENT_SLOTS),
            inbound_slots: Semaphore::new(INBOUND_SLOTS),
        }
    }

    /// The descriptor to watch, -1 if there is none.
    pub(crate) fn fd(&self) -> i32 {
        self.wake.fd()
    }

    /// Add what became of an operation.
    pub(crate) fn push(&self, op: u64, payload: Payload) {
        self.lock().push((op, payload));
        self.ring();
    }

    /// Add an event once there is room; drop it after `end`.
    pub(crate) async fn push_event(&self, event: Event) {
        if let Ok(slot) = self.event_slots.acquire().await {
            slot.forget();
            self.push(0, Payload::Event(event));
        }
    }

    /// Add an inbound stream once there is room; reset it after `end`.
    pub(crate) async fn push_inbound(&self, stream: Stream) {
        if let Ok(slot) = self.inbound_slots.acquire().await {
            slot.forget();
            self.push(0, Payload::Inbound(stream));
        }
    }

    /// Wake the loop, once for all that happens until it drains.
    pub(crate) fn ring(&self) {
        if !self.armed.swap(true, Ordering::AcqRel) {
            self.wake.wake();
        }
    }

    /// Everything since the last call, as Python values.
    pub(crate) fn drain(self: &Arc<Self>, py: Python<'_>, ops: &Arc<Ops>) -> PyResult<Vec<Entry>> {
        self.wake.clear();
        self.armed.store(false, Ordering::Release);
        let items = std::mem::take(&mut *self.lock());
        let mut entries = Vec::with_capacity(items.len() + 1);
        let (mut events, mut streams) = (0, 0);
        for (op, payload) in items {
            match payload {
                Payload::Event(_) => events += 1,
                Payload::Inbound(_) => streams += 1,
                _ => {}
            }
            let (kind, value) = self.convert(py, ops, payload)?;
            entries.push((op, kind, value));
        }
        self.event_slots.add_permits(events);
        self.inbound_slots.add_permits(streams);
        if let Some(records) = logs::take() {
            entries.push((0, kind::LOGS, records.into_pyobject(py)?.into_any().unbind()));
        }
        Ok(entries)
    }

    /// Drop whatever waits, and from now on what nobody asked for: streams in it are reset.
    pub(crate) fn end(&self) {
        // Whoever waits for room would wait for ever: nobody drains any more.
        self.event_slots.close();
        self.inbound_slots.close();
        logs::detach(self);
        // Bound first: what is dropped must find the lock free.
        let waiting = std::mem::take(&mut *self.lock());
        drop(waiting);
    }

    fn convert(self: &Arc<Self>, py: Python<'_>, ops: &Arc<Ops>, payload: Payload) -> PyResult<(u8, Py<PyAny>)> {
        let wrap = |stream| Py::new(py, NativeStream::new(stream, ops.clone()));
        Ok(match payload {
            Payload::Unit => (kind::DONE, py.None()),
            Payload::Failed(why) => (kind::FAILED, object(py, (error::kind(&why), why.to_string()))?),
            Payload::Stream(stream) => (kind::DONE, wrap(stream)?.into_any()),
            Payload::Peer(peer) => (kind::DONE, object(py, peer)?),
            Payload::Count(count) => (kind::DONE, object(py, count)?),
            Payload::Addrs(found) => {
                (kind::DONE, object(py, found.iter().map(convert::peer_addrs).collect::<Vec<_>>())?)
            }
            Payload::Inbound(stream) => (kind::INBOUND, wrap(stream)?.into_any()),
            Payload::Event(Event::Gossip(message)) => (
                kind::GOSSIP,
                object(
                    py,
                    (
                        message.topic,
                        message.source.to_string(),
                        PyBytes::new(py, &message.seqno),
                        PyBytes::new(py, &message.data),
                    ),
                )?,
            ),
            Payload::Event(Event::Connected(connection)) => {
                (kind::CONNECTED, object(py, convert::connection(&connection))?)
            }
            Payload::Event(Event::Disconnected(peer)) => (kind::DISCONNECTED, object(py, peer.to_string())?),
            Payload::Event(Event::Identified(identity)) => {
                (kind::IDENTIFIED, object(py, convert::identity(py, &identity))?)
            }
            Payload::Event(Event::Subscribed { peer, topic }) => {
                (kind::SUBSCRIBED, object(py, (peer.to_string(), topic))?)
            }
            Payload::Event(Event::Reachability { public }) => (kind::REACHABILITY, object(py, public)?),
            Payload::Event(Event::ListenAddrs(addrs)) => (kind::LISTEN_ADDRS, object(py, convert::addrs(&addrs))?),
            Payload::Event(Event::Lost { count }) => (kind::LOST, object(py, count)?),
            Payload::Ended(why) => (kind::ENDED, object(py, (error::kind(&why), why.to_string()))?),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(u64, Payload)>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn object<'py, T: IntoPyObjectExt<'py>>(py: Python<'py>, value: T) -> PyResult<Py<PyAny>> {
    value.into_py_any(py)
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("DONE", kind::DONE)?;
    module.add("FAILED", kind::FAILED)?;
    module.add("INBOUND", kind::INBOUND)?;
    module.add("GOSSIP", kind::GOSSIP)?;
    module.add("CONNECTED", kind::CONNECTED)?;
    module.add("DISCONNECTED", kind::DISCONNECTED)?;
    module.add("IDENTIFIED", kind::IDENTIFIED)?;
    module.add("LOST", kind::LOST)?;
    module.add("LOGS", kind::LOGS)?;
    module.add("SUBSCRIBED", kind::SUBSCRIBED)?;
    module.add("REACHABILITY", kind::REACHABILITY)?;
    module.add("LISTEN_ADDRS", kind::LISTEN_ADDRS)?;
    module.add("ENDED", kind::ENDED)
}
