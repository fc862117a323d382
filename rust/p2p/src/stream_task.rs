//! The task that drives both halves of one stream.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use futures::{AsyncRead, AsyncWrite};
use libp2p::PeerId;
use tokio::time::{Sleep, sleep};

use crate::stream::{Broken, Half, LiveStream, STREAM_BUFFER_BYTES, Shared, Stream, pair};

/// Bytes asked of the muxer in one read: one data frame of it.
const READ_BYTES: usize = 16 * 1024;

/// Frames moved in one turn before other tasks get theirs.
const TURNS: usize = 32;

/// How long a closed stream may make no progress in delivering what was written, and may then wait for the other
/// side to end; after that it is reset.
const LINGER: Duration = Duration::from_secs(30);

/// Give `io` to a task of its own and return the handle to it. Must be called inside a tokio runtime.
pub(crate) fn spawn(io: libp2p::Stream, peer: PeerId, protocol: String, relayed: bool, live: LiveStream) -> Stream {
    let (stream, shared) = pair(peer, protocol, relayed);
    let mut task = Task {
        io,
        shared,
        out: BytesMut::new(),
        unflushed: false,
        fin_sent: false,
        reading: Reading::Open,
        linger: None,
        _live: live,
    };
    tokio::spawn(async move {
        let _over = Over(task.shared.clone());
        let end = poll_fn(|cx| task.poll(cx)).await;
        if end == End::Reset {
            // A write of nothing asks the muxer for a reset; see `muxer`.
            poll_fn(|cx| Pin::new(&mut task.io).poll_write(cx, &[]).map(|_| ())).await;
        }
    });
    stream
}

/// Marks the stream as over however its task ends, a panic included.
struct Over(Arc<Shared>);

impl Drop for Over {
    fn drop(&mut self) {
        let clean = {
            let mut state = self.0.lock();
            state.done = true;
            state.write_half == Half::Closed && (state.read_ended || state.discard)
        };
        if clean {
            self.0.notify_readable();
            self.0.notify_writable();
        } else {
            self.0.break_off(Broken::Remote);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Both halves ended, or the other side broke off.
    Over,
    /// To be reset from here.
    Reset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Open,
    Ended,
}

struct Task {
    io: libp2p::Stream,
    shared: Arc<Shared>,
    /// Taken from the write buffer, not yet taken by the muxer.
    out: BytesMut,
    unflushed: bool,
    fin_sent: bool,
    reading: Reading,
    /// Runs from `close` on.
    linger: Option<Pin<Box<Sleep>>>,
    _live: LiveStream,
}

impl Task {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.shared.task.register(cx.waker());
        for _ in 0..TURNS {
            let (asked_reset, discard, closing) = {
                let state = self.shared.lock();
                (state.broken == Some(Broken::Local), state.discard, state.write_half == Half::Closing)
            };
            if asked_reset {
                return Poll::Ready(End::Reset);
            }
            if discard && self.poll_linger(cx).is_ready() {
                log::debug!("a closed stream was not taken within {} s: it was reset", LINGER.as_secs());
                return Poll::Ready(End::Reset);
            }
            let wrote = match self.poll_write(cx, closing) {
                Ok(moved) => moved,
                Err(error) => return self.broken(&error),
            };
            if wrote {
                // A slow reader is no reason to cut what is still being taken.
                self.linger = None;
            }
            let read = match self.poll_read(cx, discard) {
                Ok(moved) => moved,
                Err(error) => return self.broken(&error),
            };
            if self.fin_sent && self.reading == Reading::Ended {
                return Poll::Ready(End::Over);
            }
            if !wrote && !read {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Write what is queued; flush once nothing is left; end the half if that was asked. Whether anything moved.
    fn poll_write(&mut self, cx: &mut Context<'_>, closing: bool) -> io::Result<bool> {
        if self.fin_sent {
            return Ok(false);
        }
        let mut moved = false;
        loop {
            if self.out.is_empty() {
                let mut state = self.shared.lock();
                if state.write.is_empty() {
                    break;
                }
                self.out = std::mem::take(&mut state.write);
                state.taken = self.out.len();
            }
            match Pin::new(&mut self.io).poll_write(cx, &self.out) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    self.out.advance(count);
                    self.shared.lock().taken = self.out.len();
                    self.shared.notify_writable();
                    self.unflushed = true;
                    moved = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(moved),
            }
        }
        if closing {
            // Flushes first.
            if let Poll::Ready(result) = Pin::new(&mut self.io).poll_close(cx) {
                result?;
                self.unflushed = false;
                self.fin_sent = true;
                self.shared.lock().write_half = Half::Closed;
                self.shared.notify_writable();
                moved = true;
            }
        } else if self.unflushed
            && let Poll::Ready(result) = Pin::new(&mut self.io).poll_flush(cx)
        {
            result?;
            self.unflushed = false;
        }
        Ok(moved)
    }

    /// Read while there is room; without room, or after the end, watch for a reset. Whether anything moved.
    fn poll_read(&mut self, cx: &mut Context<'_>, discard: bool) -> io::Result<bool> {
        let full = !discard && self.shared.lock().read.len() >= STREAM_BUFFER_BYTES;
        if self.reading == Reading::Ended || full {
            // A read into nothing waits for a reset; see `muxer`.
            return match Pin::new(&mut self.io).poll_read(cx, &mut []) {
                // What has arrived before the loss of the connection can still be read, once there is room.
                Poll::Ready(Err(error)) if full && error.kind() == io::ErrorKind::ConnectionAborted => {
                    self.shared.lock().write_lost = true;
                    self.shared.notify_writable();
                    Ok(false)
                }
                Poll::Ready(Err(error)) => Err(error),
                Poll::Ready(Ok(_)) | Poll::Pending => Ok(false),
            };
        }
        let mut buffer = [0; READ_BYTES];
        match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
            Poll::Pending => Ok(false),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(0)) => {
                self.reading = Reading::Ended;
                self.shared.lock().read_ended = true;
                self.shared.notify_readable();
                Ok(true)
            }
            Poll::Ready(Ok(count)) => {
                if !discard {
                    let mut state = self.shared.lock();
                    if !state.discard {
                        state.read.extend_from_slice(&buffer[..count]);
                    }
                    drop(state);
                    self.shared.notify_readable();
                }
                Ok(true)
            }
        }
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let linger = self.linger.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        pin!(linger).poll(cx)
    }

    fn broken(&self, error: &io::Error) -> Poll<End> {
        log::debug!("a stream broke off: {error}");
        self.shared.break_off(Broken::Remote);
        Poll::Ready(End::Over)
    }
}
