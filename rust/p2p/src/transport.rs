//! From an address to an authenticated connection that carries streams: TCP, DNS and relayed circuits, each
//! under the pre-shared key if there is one, then Noise, then yamux.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{AsyncRead, AsyncWrite, future::Either};
use libp2p::{
    Multiaddr, PeerId,
    core::{
        Endpoint,
        muxing::StreamMuxerBox,
        transport::{Boxed, DialOpts, ListenerId, OrTransport, PortUse, Transport, TransportError, TransportEvent},
        upgrade::Version,
    },
    dns,
    identity::Keypair,
    multiaddr::Protocol,
    noise,
    pnet::{PnetConfig, PnetOutput, PreSharedKey},
    relay, tcp,
};

use crate::{error::Error, muxer::Yamux, snapshot::Snapshot};

/// What the swarm is built on.
pub(crate) type Connector = Boxed<(PeerId, StreamMuxerBox)>;

/// Connections that wait to be accepted by this process; more are refused by the kernel.
const LISTEN_BACKLOG: u32 = 1024;

/// Build the transport of a host. `timeout` covers one dial with all its handshakes. `punching`, if holes are
/// punched, tells to whom.
pub(crate) fn build(
    key: &Keypair,
    psk: Option<[u8; 32]>,
    circuits: relay::client::Transport,
    timeout: Duration,
    punching: Option<Arc<Snapshot>>,
) -> Result<Connector, Error> {
    let psk = psk.map(PreSharedKey::new);
    let direct = secure(with_names(|| socket(punching.clone())), key, psk, timeout)?;
    let relayed = secure(circuits, key, psk, timeout)?;
    Ok(OrTransport::new(relayed, direct).map(|either, _| either.into_inner()).boxed())
}

fn socket(punching: Option<Arc<Snapshot>>) -> FreshPort {
    // Every small write must leave at once: a token is worth nothing later.
    let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true).listen_backlog(LISTEN_BACKLOG));
    FreshPort { tcp, punching }
}

/// TCP that dials from a port of its own. From the port that is listened on, two hosts that dial each other at once
/// would meet in one TCP connection that both believe to have dialled, and their handshakes fail. Hole punching
/// wants just that: it gives the two sides different roles, and dials peers that are connected through a relay, as
/// nothing else does.
struct FreshPort {
    tcp: tcp::tokio::Transport,
    punching: Option<Arc<Snapshot>>,
}

impl FreshPort {
    /// Whether a dial of `addr` is to go through the hole that a router keeps open for the port listened on.
    fn punches(&self, addr: &Multiaddr) -> bool {
        let Some(snapshot) = &self.punching else { return false };
        let Some(Protocol::P2p(peer)) = addr.iter().last() else { return false };
        snapshot.read().connections.get(&peer).is_some_and(|connections| connections.iter().any(|each| each.relayed))
    }
}

impl Transport for FreshPort {
    type Output = <tcp::tokio::Transport as Transport>::Output;
    type Error = io::Error;
    type ListenerUpgrade = <tcp::tokio::Transport as Transport>::ListenerUpgrade;
    type Dial = <tcp::tokio::Transport as Transport>::Dial;

    fn listen_on(&mut self, id: ListenerId, addr: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.tcp.listen_on(id, addr)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.tcp.remove_listener(id)
    }

    fn dial(&mut self, addr: Multiaddr, opts: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let fresh = opts.role == Endpoint::Dialer && !self.punches(&addr);
        let port_use = if fresh { PortUse::New } else { opts.port_use };
        self.tcp.dial(addr, DialOpts { port_use, ..opts })
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.get_mut().tcp).poll(cx)
    }
}

/// Resolve names with the servers of the system; a system without such a configuration can still use its hosts
/// file and addresses that are numbers.
fn with_names<T>(make: impl Fn() -> T) -> dns::tokio::Transport<T> {
    dns::tokio::Transport::system(make()).unwrap_or_else(|why| {
        log::warn!("the name servers of this system are not known ({why}): only the hosts file resolves names");
        let nobody = dns::ResolverConfig::from_parts(None, Vec::new(), Vec::new());
        dns::tokio::Transport::custom(make(), nobody, dns::ResolverOpts::default())
    })
}

fn secure<T>(transport: T, key: &Keypair, psk: Option<PreSharedKey>, timeout: Duration) -> Result<Connector, Error>
where
    T: Transport + Send + Unpin + 'static,
    T::Output: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Error: Send + Sync + 'static,
{
    let noise = noise::Config::new(key)
        .map_err(|why| Error::Identity(format!("the private key cannot sign for Noise ({why}): create another")))?;
    Ok(transport
        .and_then(move |socket, _| protect(socket, psk))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(Yamux)
        .timeout(timeout)
        .boxed())
}

async fn protect<S>(socket: S, psk: Option<PreSharedKey>) -> io::Result<Either<SameKey<S>, S>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    match psk {
        None => Ok(Either::Right(socket)),
        Some(psk) => {
            let io = PnetConfig::new(psk).handshake(socket).await.map_err(io::Error::other)?;
            Ok(Either::Left(SameKey { io, seen: 0 }))
        }
    }
}

/// What every peer says first: the header of multistream-select 1.0, with its length in front.
const GREETING: &[u8] = b"\x13/multistream/1.0.0\n";

/// Checks the greeting that comes out of the cipher. Without the same key it is noise, in which a handshake would
/// look for a message until its timeout; this way the dial fails at once and says why.
struct SameKey<S> {
    io: PnetOutput<S>,
    seen: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for SameKey<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let count = ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        if this.seen < GREETING.len() {
            let fresh = count.min(GREETING.len() - this.seen);
            if buf[..fresh] != GREETING[this.seen..this.seen + fresh] {
                return Poll::Ready(Err(io::Error::other("the other side has another pre-shared key, or none")));
            }
            this.seen += fresh;
        }
        Poll::Ready(Ok(count))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for SameKey<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_close(cx)
    }
}
