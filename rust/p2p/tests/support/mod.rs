//! Hosts on loopback, and waiting for what they tell.
#![allow(dead_code, reason = "each test file uses its part of this module")]

use std::{future::Future, time::Duration};

use aicn_p2p::{
    Config, Error, Event, Events, GossipMessage, Handle, Inbound, Multiaddr, PeerAddrs, PeerId, Stream, TryRead,
};
use libp2p::identity::{Keypair, secp256k1};

/// The protocol of the tests.
pub const ECHO: &str = "/echo/1.0.0";
/// The topic of the tests.
pub const TOPIC: &str = "topic";
/// No test waits longer for one thing.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A key with the given 32 bytes, all alike, so that the order of peer ids is known to a test.
pub fn key() -> Vec<u8> {
    Keypair::from(secp256k1::Keypair::generate()).to_protobuf_encoding().expect("encodes")
}

/// A configuration that listens on a free loopback port.
pub fn config() -> Config {
    let mut config = Config::new(key());
    config.listen_addrs = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")];
    config.stream_protocols = vec![ECHO.into()];
    config.topics = vec![TOPIC.into()];
    config.dial_timeout = Duration::from_secs(10);
    // So seldom that no test is saved by what a ping wakes.
    config.ping_interval = Duration::from_secs(600);
    config
}

/// A running host with its queues.
pub struct Host {
    pub handle: Handle,
    pub events: Events,
    pub inbound: Inbound,
}

impl Host {
    pub async fn start() -> Self {
        Self::with(config()).await
    }

    pub async fn with(config: Config) -> Self {
        let (handle, events, inbound) = aicn_p2p::start(config).await.expect("the host starts");
        Self { handle, events, inbound }
    }

    pub fn id(&self) -> PeerId {
        self.handle.peer_id()
    }

    /// Where the host listens, with its id.
    pub fn addr(&self) -> Multiaddr {
        let addr = self.handle.listen_addrs().first().expect("listens").clone();
        addr.with_p2p(self.id()).expect("has no id yet")
    }

    pub async fn connect(&self, other: &Self) -> PeerId {
        self.handle.connect(other.addr(), PATIENCE).await.expect("connects")
    }

    pub async fn open(&self, other: PeerId) -> Result<Stream, Error> {
        self.handle.open_stream(other, ECHO.into(), PATIENCE).await
    }

    /// The next event that `wanted` makes something of.
    pub async fn event<T>(&mut self, wanted: impl Fn(Event) -> Option<T>) -> T {
        within(async {
            loop {
                if let Some(found) = wanted(self.events.recv().await.expect("the host lives")) {
                    return found;
                }
            }
        })
        .await
    }

    pub async fn gossip(&mut self) -> GossipMessage {
        self.event(|event| match event {
            Event::Gossip(message) => Some(message),
            _ => None,
        })
        .await
    }

    pub async fn identified(&mut self, peer: PeerId) {
        if self.handle.identity(&peer).is_none() {
            self.event(|event| matches!(event, Event::Identified(identity) if identity.peer == peer).then_some(()))
                .await;
        }
    }

    /// Answer every inbound stream with what it sends.
    pub fn serve_echo(mut self) -> (Handle, tokio::task::JoinHandle<()>) {
        let handle = self.handle.clone();
        let task = tokio::spawn(async move {
            while let Some(stream) = self.inbound.recv().await {
                tokio::spawn(async move {
                    let bytes = read_all(&stream).await.expect("reads");
                    write_all(&stream, &bytes).await.expect("writes");
                    stream.close().await.expect("closes");
                });
            }
        });
        (handle, task)
    }
}

/// Wait for `future`, not for ever.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// Search until `enough` providers are found: an announcement is not acknowledged, so another connection can be
/// faster with a question than the one that brought the answer.
pub async fn found(host: &Host, key: [u8; 34], limit: usize, enough: impl Fn(&[PeerAddrs]) -> bool) -> Vec<PeerAddrs> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let found = within(host.handle.find_providers(key.to_vec(), limit, PATIENCE)).await.expect("searches");
        if enough(&found) {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "not enough was ever found: {found:?}");
    }
}

/// Wait until `check` holds; for state that no event tells of.
pub async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !check() {
        assert!(tokio::time::Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Read until the other side has ended its half.
pub async fn read_all(stream: &Stream) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    loop {
        match stream.try_read(usize::MAX)? {
            TryRead::Data(data) => all.extend_from_slice(&data),
            TryRead::Eof => return Ok(all),
            TryRead::Empty => within(stream.readable()).await,
        }
    }
}

/// Read exactly `count` bytes.
pub async fn read_some(stream: &Stream, count: usize) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    while all.len() < count {
        match stream.try_read(count - all.len())? {
            TryRead::Data(data) => all.extend_from_slice(&data),
            TryRead::Eof => panic!("ended after {} of {count} bytes", all.len()),
            TryRead::Empty => within(stream.readable()).await,
        }
    }
    Ok(all)
}

/// Write everything.
pub async fn write_all(stream: &Stream, mut data: &[u8]) -> Result<(), Error> {
    while !data.is_empty() {
        match stream.try_write(data)? {
            0 => within(stream.writable()).await,
            count => data = &data[count..],
        }
    }
    Ok(())
}

/// Wait until two hosts that dialled each other hold the same one connection.
pub async fn one_connection(one: &Handle, two: &Handle) {
    eventually("both sides hold the same one connection", || {
        let (at_one, at_two) = (one.connections(), two.connections());
        at_one.len() == 1 && at_two.len() == 1 && at_one[0].direction != at_two[0].direction
    })
    .await;
}
