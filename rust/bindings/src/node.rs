//! A host as Python holds it.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use aicn_p2p::{
    Config, Error, Events, Handle, Inbound, PeerId, PubsubRouter, RoutingMode, parse_multiaddr, parse_peer_id,
};
use pyo3::{exceptions::PyValueError, prelude::*};

use crate::{
    convert::{self, AddrsTuple, ConnectionTuple, IdentityTuple},
    error::raise,
    logs,
    ops::{Ops, runtime},
    queue::{Entry, Payload, Queue},
    wake::Wake,
};

/// Longest time that a caller may ask for, so that no sum of times overflows.
const MAX_SECONDS: f64 = 1e9;

/// A host: built stopped, started once, closed once.
#[pyclass(frozen, module = "aicn._native")]
pub(crate) struct Node {
    queue: Arc<Queue>,
    ops: Arc<Ops>,
    config: Mutex<Option<Config>>,
    handle: Arc<OnceLock<Handle>>,
}

#[pymethods]
impl Node {
    /// Build a host. `notify` is called, from a thread of its own, where no descriptor can be watched.
    #[new]
    #[pyo3(signature = (
        *, private_key, listen_addrs, psk, protocol_version, agent_version, stream_protocols, topics, gossipsub,
        flood_publish, kad_protocol, routing_mode, relay_service, autonat_service, hole_punching, port_mapping,
        dial_timeout_s, ping_interval_s, notify=None
    ))]
    #[allow(clippy::too_many_arguments, reason = "keyword-only: this is HostConfig, field for field")]
    fn new(
        private_key: Vec<u8>,
        listen_addrs: Vec<String>,
        psk: Option<Vec<u8>>,
        protocol_version: String,
        agent_version: String,
        stream_protocols: Vec<String>,
        topics: Vec<String>,
        gossipsub: bool,
        flood_publish: bool,
        kad_protocol: String,
        routing_mode: &str,
        relay_service: bool,
        autonat_service: bool,
        hole_punching: bool,
        port_mapping: bool,
        dial_timeout_s: f64,
        ping_interval_s: f64,
        notify: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let listen_addrs = listen_addrs.iter().map(|addr| parse_multiaddr(addr)).collect::<Result<Vec<_>, _>>();
        let psk = psk.map(<[u8; 32]>::try_from).transpose();
        let config = Config {
            private_key,
            listen_addrs: listen_addrs.map_err(|error| raise(&error))?,
            psk: psk.map_err(|_| PyValueError::new_err("a pre-shared key has 32 bytes"))?,
            protocol_version,
            agent_version,
            stream_protocols,
            topics,
            pubsub_router: if gossipsub { PubsubRouter::Gossipsub } else { PubsubRouter::Floodsub },
            flood_publish,
            kad_protocol,
            routing_mode: match routing_mode {
                "client" => RoutingMode::Client,
                "server" => RoutingMode::Server,
                "auto" => RoutingMode::Auto,
                "none" => RoutingMode::None,
                other => return Err(PyValueError::new_err(format!("routing mode {other:?} is unknown"))),
            },
            relay_service,
            autonat_service,
            hole_punching,
            port_mapping,
            dial_timeout: seconds(dial_timeout_s),
            ping_interval: seconds(ping_interval_s),
        };
        let wake = match notify {
            Some(callback) => Wake::callback(callback)?,
            None => Wake::descriptor()?,
        };
        let queue = Arc::new(Queue::new(wake));
        logs::attach(&queue);
        let ops = Arc::new(Ops::new(queue.clone()));
        Ok(Self { queue, ops, config: Mutex::new(Some(config)), handle: Arc::default() })
    }

    /// The descriptor to watch, -1 if `notify` is called instead.
    fn fd(&self) -> i32 {
        self.queue.fd()
    }

    /// Everything since the last call: (operation or 0, kind, value).
    fn drain(&self, py: Python<'_>) -> PyResult<Vec<Entry>> {
        self.queue.drain(py, &self.ops)
    }

    /// Operations under way.
    fn pending(&self) -> usize {
        self.ops.count()
    }

    /// Drop an operation.
    fn cancel(&self, op: u64) {
        self.ops.cancel(op);
    }

    /// Listen and begin.
    fn start(&self, op: u64) {
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (queue, slot) = (self.queue.clone(), self.handle.clone());
        self.ops.start(op, async move {
            let Some(config) = config else {
                return Payload::Failed(Error::Closed);
            };
            match aicn_p2p::start(config).await {
                Ok((handle, events, inbound)) => {
                    // Starting took the configuration, so nobody else can have set it.
                    let handle = slot.get_or_init(|| handle).clone();
                    tokio::spawn(pump_events(events, queue.clone(), handle));
                    tokio::spawn(pump_inbound(inbound, queue));
                    Payload::Unit
                }
                Err(error) => Payload::Failed(error),
            }
        });
    }

    /// End everything. What waited in the queue is dropped.
    fn close(&self, op: u64) {
        let (queue, handle) = (self.queue.clone(), self.handle.get().cloned());
        self.ops.start(op, async move {
            let result = match handle {
                Some(handle) => handle.close().await,
                None => Ok(()),
            };
            queue.end();
            match result {
                Ok(()) => Payload::Unit,
                Err(error) => Payload::Failed(error),
            }
        });
    }

    /// Dial an address that ends in /p2p/ID; gives the peer id.
    fn connect(&self, op: u64, addr: &str, timeout_s: f64) {
        let addr = parse_multiaddr(addr);
        self.run(op, move |handle: Handle| async move {
            let peer = handle.connect(addr?, seconds(timeout_s)).await?;
            Ok(Payload::Peer(peer.to_string()))
        });
    }

    /// Close every connection to a peer.
    fn disconnect(&self, op: u64, peer: &str) {
        let peer = parse_peer_id(peer);
        self.run(op, move |handle: Handle| async move { handle.disconnect(peer?).await.map(|()| Payload::Unit) });
    }

    /// Listen on one more address.
    fn listen(&self, op: u64, addr: &str, timeout_s: f64) {
        let addr = parse_multiaddr(addr);
        self.run(op, move |handle: Handle| async move {
            handle.listen(addr?, seconds(timeout_s)).await.map(|()| Payload::Unit)
        });
    }

    /// Listen on an address no more.
    fn unlisten(&self, op: u64, addr: &str) {
        let addr = parse_multiaddr(addr);
        self.run(op, move |handle: Handle| async move { handle.unlisten(addr?).await.map(|()| Payload::Unit) });
    }

    /// Open a stream.
    ///
    /// As much of `first` as a send buffer holds is sent with the request for the stream, in one packet where that
    /// fits: the other side then has both at once, and Python is not asked in between.
    fn open_stream(&self, op: u64, peer: &str, protocol: String, timeout_s: f64, first: Vec<u8>) {
        let peer = parse_peer_id(peer);
        self.run(op, move |handle: Handle| async move {
            let stream = handle.open_stream(peer?, protocol, seconds(timeout_s)).await?;
            // A stream that broke already says so when it is read.
            let _ = stream.try_write(&first);
            Ok(Payload::Stream(stream))
        });
    }

    /// Send a gossip message; gives to how many peers it went.
    fn publish(&self, op: u64, topic: String, data: Vec<u8>) {
        self.run(op, move |handle: Handle| async move { handle.publish(topic, data).await.map(Payload::Count) });
    }

    /// Announce a key in the DHT.
    fn provide(&self, op: u64, key: Vec<u8>) {
        self.run(op, move |handle: Handle| async move { handle.provide(key).await.map(|()| Payload::Unit) });
    }

    /// Find who provides a key.
    fn find_providers(&self, op: u64, key: Vec<u8>, limit: usize, timeout_s: f64) {
        self.run(op, move |handle: Handle| async move {
            handle.find_providers(key, limit, seconds(timeout_s)).await.map(Payload::Addrs)
        });
    }

    /// Find where a peer is.
    fn find_peer(&self, op: u64, peer: &str, timeout_s: f64) {
        let peer = parse_peer_id(peer);
        self.run(op, move |handle: Handle| async move {
            let found = handle.find_peer(peer?, seconds(timeout_s)).await?;
            Ok(Payload::Addrs(vec![found]))
        });
    }

    /// The addresses listened on.
    fn listen_addrs(&self) -> Vec<String> {
        self.handle.get().map(|handle| convert::addrs(&handle.listen_addrs())).unwrap_or_default()
    }

    /// The protocols spoken.
    fn protocols(&self) -> Vec<String> {
        self.handle.get().map(Handle::protocols).unwrap_or_default()
    }

    /// The established connections.
    fn connections(&self) -> Vec<ConnectionTuple> {
        let connections = self.handle.get().map(Handle::connections).unwrap_or_default();
        connections.iter().map(convert::connection).collect()
    }

    /// The connection to a peer.
    fn connection(&self, peer: &str) -> Option<ConnectionTuple> {
        let connection = self.handle.get()?.connection(&known(peer)?)?;
        Some(convert::connection(&connection))
    }

    /// What a peer said of itself.
    fn identity<'py>(&self, py: Python<'py>, peer: &str) -> Option<IdentityTuple<'py>> {
        let identity = self.handle.get()?.identity(&known(peer)?)?;
        Some(convert::identity(py, &identity))
    }

    /// The address book.
    fn known_addrs(&self) -> Vec<AddrsTuple> {
        let known = self.handle.get().map(Handle::known_addrs).unwrap_or_default();
        known.iter().map(convert::peer_addrs).collect()
    }

    /// The connected subscribers of a topic.
    fn topic_peers(&self, topic: &str) -> Vec<String> {
        let peers = self.handle.get().map(|handle| handle.topic_peers(topic)).unwrap_or_default();
        peers.iter().map(ToString::to_string).collect()
    }

    /// Make the core, or the operation itself, panic: to test that nobody is left waiting.
    fn panic_for_test(&self, op: u64) {
        if op == 0 {
            if let Some(handle) = self.handle.get() {
                handle.panic_for_test();
            }
            return;
        }
        self.ops.start(op, async { panic!("asked for by a test") });
    }
}

impl Node {
    fn run<F, W>(&self, op: u64, work: F)
    where
        F: FnOnce(Handle) -> W,
        W: Future<Output = Result<Payload, Error>> + Send + 'static,
    {
        match self.handle.get() {
            Some(handle) => {
                let work = work(handle.clone());
                self.ops.start(op, async move { work.await.unwrap_or_else(Payload::Failed) });
            }
            None => self.ops.complete(op, Payload::Failed(Error::Closed)),
        }
    }
}

impl Drop for Node {
    /// A node that is forgotten is closed, in the background.
    fn drop(&mut self) {
        self.queue.end();
        if let Some(handle) = self.handle.get().cloned() {
            runtime().spawn(async move {
                // Nobody is left to be told of a panic that ended the core before.
                let _ = handle.close().await;
            });
        }
    }
}

/// Carry events to Python; when the core has ended by itself, say so.
async fn pump_events(mut events: Events, queue: Arc<Queue>, handle: Handle) {
    while let Some(event) = events.recv().await {
        queue.push_event(event).await;
    }
    // Asking a host that has ended why is how it tells.
    if let Err(why) = handle.close().await {
        queue.push(0, Payload::Ended(why));
    }
}

async fn pump_inbound(mut inbound: Inbound, queue: Arc<Queue>) {
    while let Some(stream) = inbound.recv().await {
        queue.push_inbound(stream).await;
    }
}

/// The peer id, None if it is none: such a peer is certainly not known.
fn known(peer: &str) -> Option<PeerId> {
    parse_peer_id(peer).ok()
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(if seconds.is_finite() { seconds.clamp(0.0, MAX_SECONDS) } else { MAX_SECONDS })
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Node>()
}
