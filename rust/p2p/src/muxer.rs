//! yamux with streams that know how they ended.
//!
//! Two conventions between [`MuxedStream`] and the task of a stream pass through the type-erased streams of the
//! swarm: a read into an empty buffer waits for a reset by the other side, and a write of nothing sends a reset.
//! No other reader or writer in the swarm uses empty buffers.

use std::{
    collections::VecDeque,
    future::{self, Ready},
    io, iter,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::{
    muxing::{StreamMuxer, StreamMuxerEvent},
    upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
};

use crate::{
    frames::{Ending, Registry, Tap},
    seldom::Seldom,
};

/// Streams of one connection, both directions and all protocols. yamux guarantees each a window of 256 KiB.
const MAX_STREAMS: usize = 4096;

/// By how much the windows of one connection may grow beyond that, all together. A stream whose reader keeps up over
/// a long way needs bandwidth times delay, 8 MiB at 80 MB/s and 100 ms; what a stalled reader holds is bounded by it.
const EXTRA_WINDOW_BYTES: usize = 8 << 20;

/// Streams above which new inbound ones are reset: the rest is for what is opened from here.
const MAX_STREAMS_INBOUND: usize = 3072;

/// Streams above which nothing is opened from here: yamux ends the whole connection at its own limit.
const MAX_STREAMS_OUTBOUND: usize = 3584;

/// Inbound streams that wait for the swarm to take them. The other side opens at most 256 without an answer.
const MAX_WAITING_INBOUND: usize = 256;

static OVERFLOW: Seldom = Seldom::new();

/// The upgrade of a secured connection to one that carries streams.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Yamux;

impl UpgradeInfo for Yamux {
    type Info = &'static str;
    type InfoIter = iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> InboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<Result<Muxer<C>, io::Error>>;

    fn upgrade_inbound(self, io: C, _: &'static str) -> Self::Future {
        future::ready(Ok(Muxer::new(io, yamux::Mode::Server)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> OutboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<Result<Muxer<C>, io::Error>>;

    fn upgrade_outbound(self, io: C, _: &'static str) -> Self::Future {
        future::ready(Ok(Muxer::new(io, yamux::Mode::Client)))
    }
}

/// A connection that carries streams.
pub(crate) struct Muxer<C> {
    connection: yamux::Connection<Tap<C>>,
    registry: Arc<Registry>,
    waiting: VecDeque<MuxedStream>,
    inbound: Option<Waker>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn new(io: C, mode: yamux::Mode) -> Self {
        let registry = Arc::new(Registry::default());
        let mut config = yamux::Config::default();
        // In this order: yamux checks each setting against the other.
        config.set_max_num_streams(MAX_STREAMS);
        let guaranteed = MAX_STREAMS * yamux::DEFAULT_CREDIT as usize;
        config.set_max_connection_receive_window(Some(guaranteed + EXTRA_WINDOW_BYTES));
        Self {
            connection: yamux::Connection::new(Tap::new(io, registry.clone()), config, mode),
            registry,
            waiting: VecDeque::new(),
            inbound: None,
        }
    }

    /// Drive the connection until it has an inbound stream that may stay.
    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<MuxedStream>> {
        loop {
            let stream = match ready!(self.connection.poll_next_inbound(cx)) {
                Some(Ok(stream)) => MuxedStream::new(stream, &self.registry),
                Some(Err(error)) => {
                    self.registry.lose();
                    return Poll::Ready(Err(io_error(error)));
                }
                None => {
                    self.registry.lose();
                    return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                }
            };
            if self.registry.len() <= MAX_STREAMS_INBOUND {
                return Poll::Ready(Ok(stream));
            }
            if OVERFLOW.is_due() {
                log::warn!("a peer holds more than {MAX_STREAMS_INBOUND} streams open: a new one was reset");
            }
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = MuxedStream;
    type Error = io::Error;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<MuxedStream>> {
        let this = self.get_mut();
        if let Some(stream) = this.waiting.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let polled = this.poll_stream(cx);
        if polled.is_pending() {
            this.inbound = Some(cx.waker().clone());
        }
        polled
    }

    fn poll_outbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<MuxedStream>> {
        let this = self.get_mut();
        if this.registry.len() >= MAX_STREAMS_OUTBOUND {
            this.registry.room.register(cx.waker());
            if this.registry.len() >= MAX_STREAMS_OUTBOUND {
                return Poll::Pending;
            }
        }
        let stream = ready!(this.connection.poll_new_outbound(cx)).map_err(io_error)?;
        Poll::Ready(Ok(MuxedStream::new(stream, &this.registry)))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.registry.lose();
        this.connection.poll_close(cx).map_err(io_error)
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        let this = self.get_mut();
        let stream = ready!(this.poll_stream(cx))?;
        if this.waiting.len() < MAX_WAITING_INBOUND {
            this.waiting.push_back(stream);
        } else if OVERFLOW.is_due() {
            log::warn!("more than {MAX_WAITING_INBOUND} new streams wait on one connection: one was reset");
        }
        if let Some(waker) = this.inbound.take() {
            waker.wake();
        }
        // One stream a turn, so that a peer that opens many leaves room for others.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<C> Drop for Muxer<C> {
    fn drop(&mut self) {
        self.registry.lose();
    }
}

fn io_error(error: yamux::ConnectionError) -> io::Error {
    match error {
        yamux::ConnectionError::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// A stream of a [`Muxer`].
#[derive(Debug)]
pub(crate) struct MuxedStream {
    inner: yamux::Stream,
    id: u32,
    ending: Arc<Ending>,
    registry: Arc<Registry>,
}

impl MuxedStream {
    fn new(inner: yamux::Stream, registry: &Arc<Registry>) -> Self {
        let id = inner.id().val();
        Self { inner, id, ending: registry.ending(id), registry: registry.clone() }
    }
}

impl AsyncRead for MuxedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if buf.is_empty() {
            return this.ending.poll_broken(cx);
        }
        match Pin::new(&mut this.inner).poll_read(cx, buf) {
            Poll::Ready(Ok(0)) => Poll::Ready(this.ending.at_end()),
            Poll::Ready(other) => Poll::Ready(other),
            // yamux wakes nobody when the connection is closed from here.
            Poll::Pending => this.ending.poll_broken(cx),
        }
    }
}

impl AsyncWrite for MuxedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if buf.is_empty() {
            this.registry.reset(this.id, &this.ending);
            return Poll::Ready(Ok(0));
        }
        Pin::new(&mut this.inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_close(cx)
    }
}

impl Drop for MuxedStream {
    fn drop(&mut self) {
        self.registry.forget(self.id);
    }
}
