//! A look at yamux frames as they pass, for what yamux itself does not tell.
//!
//! yamux 0.14 reports the end of a stream, its reset and the loss of its connection all as "no more bytes",
//! and it sends no reset for a stream whose half was ended before. Both matter here: a reset is how a request
//! is cancelled and how a broken answer differs from a whole one. So the socket below yamux is wrapped: the
//! headers of incoming frames are read in passing, and a reset frame is put between two outgoing frames.
//!
//! Frame header, 12 bytes: version, type, flags (2), stream id (4), length (4), big endian; only frames of type
//! 0 carry `length` bytes of body. Source: the yamux specification of hashicorp.

use std::{
    collections::{HashMap, VecDeque},
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite, task::AtomicWaker};

const HEADER_BYTES: usize = 12;
const TYPE_DATA: u8 = 0;
const TYPE_WINDOW: u8 = 1;
const FLAG_SYN: u16 = 1;
const FLAG_FIN: u16 = 4;
const FLAG_RST: u16 = 8;

/// The other side has ended its half.
const FINISHED: u8 = 1;
/// The other side has reset the stream.
const RESET: u8 = 2;
/// The connection is gone.
const LOST: u8 = 4;
/// A reset was asked for here.
const RESETTING: u8 = 8;

/// How one stream ended, as seen on the wire.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    flags: AtomicU8,
    waker: AtomicWaker,
}

impl Ending {
    fn set(&self, flag: u8) {
        self.flags.fetch_or(flag, Ordering::AcqRel);
        self.waker.wake();
    }

    /// What "no more bytes" means on this stream: a clean end, or an error.
    pub(crate) fn at_end(&self) -> io::Result<usize> {
        let flags = self.flags.load(Ordering::Acquire);
        if flags & RESET != 0 {
            Err(io::Error::new(io::ErrorKind::ConnectionReset, "the other side reset the stream"))
        } else if flags & FINISHED != 0 {
            Ok(0)
        } else {
            Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was lost"))
        }
    }

    /// Wait until the stream is reset by the other side or its connection is lost; never anything but an error.
    pub(crate) fn poll_broken(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.waker.register(cx.waker());
        let flags = self.flags.load(Ordering::Acquire);
        if flags & RESET != 0 {
            Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, "the other side reset the stream")))
        } else if flags & LOST != 0 {
            Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was lost")))
        } else {
            Poll::Pending
        }
    }
}

#[derive(Debug, Default)]
struct Known {
    streams: HashMap<u32, Arc<Ending>>,
    resets: VecDeque<u32>,
    lost: bool,
}

/// The streams of one connection, and the resets to be sent on it.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    known: Mutex<Known>,
    /// Wakes the connection: a reset is waiting.
    writer: AtomicWaker,
    /// Wakes the connection: a stream has gone, there is room for another.
    pub(crate) room: AtomicWaker,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The ending of stream `id`, from its first mention until `forget`.
    pub(crate) fn ending(&self, id: u32) -> Arc<Ending> {
        let mut known = self.lock();
        let lost = known.lost;
        let ending = known.streams.entry(id).or_default().clone();
        drop(known);
        if lost {
            ending.set(LOST);
        }
        ending
    }

    /// The stream is dropped.
    pub(crate) fn forget(&self, id: u32) {
        self.lock().streams.remove(&id);
        self.room.wake();
    }

    /// How many streams there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().streams.len()
    }

    /// Send a reset for stream `id`, once.
    pub(crate) fn reset(&self, id: u32, ending: &Ending) {
        if ending.flags.fetch_or(RESETTING, Ordering::AcqRel) & RESETTING == 0 {
            self.lock().resets.push_back(id);
            self.writer.wake();
        }
    }

    /// The connection is gone: wake whoever waits on a stream of it.
    pub(crate) fn lose(&self) {
        let streams: Vec<_> = {
            let mut known = self.lock();
            known.lost = true;
            known.resets.clear();
            known.streams.values().cloned().collect()
        };
        for ending in streams {
            ending.set(LOST);
        }
    }

    fn on_frame(&self, kind: u8, flags: u16, id: u32) {
        if kind > TYPE_WINDOW || flags & (FLAG_SYN | FLAG_FIN | FLAG_RST) == 0 {
            return;
        }
        let ending = {
            let mut known = self.lock();
            if flags & FLAG_SYN != 0 {
                known.streams.entry(id).or_default().clone()
            } else if let Some(ending) = known.streams.get(&id) {
                ending.clone()
            } else {
                return;
            }
        };
        if flags & FLAG_RST != 0 {
            ending.set(RESET);
        } else if flags & FLAG_FIN != 0 {
            ending.set(FINISHED);
        }
    }
}

/// Follows the frames in a sequence of bytes.
#[derive(Debug, Default)]
struct Scan {
    header: [u8; HEADER_BYTES],
    filled: usize,
    body: usize,
}

impl Scan {
    fn feed(&mut self, mut bytes: &[u8], mut on_frame: impl FnMut(u8, u16, u32)) {
        while !bytes.is_empty() {
            if self.body > 0 {
                let skip = self.body.min(bytes.len());
                self.body -= skip;
                bytes = &bytes[skip..];
                continue;
            }
            let take = (HEADER_BYTES - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + take].copy_from_slice(&bytes[..take]);
            self.filled += take;
            bytes = &bytes[take..];
            if self.filled == HEADER_BYTES {
                self.filled = 0;
                let [_, kind, f0, f1, i0, i1, i2, i3, l0, l1, l2, l3] = self.header;
                if kind == TYPE_DATA {
                    self.body = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
                }
                on_frame(kind, u16::from_be_bytes([f0, f1]), u32::from_be_bytes([i0, i1, i2, i3]));
            }
        }
    }

    fn between_frames(&self) -> bool {
        self.filled == 0 && self.body == 0
    }
}

/// The socket below yamux.
#[derive(Debug)]
pub(crate) struct Tap<C> {
    io: C,
    registry: Arc<Registry>,
    incoming: Scan,
    outgoing: Scan,
    injected: Option<([u8; HEADER_BYTES], usize)>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Tap<C> {
    pub(crate) fn new(io: C, registry: Arc<Registry>) -> Self {
        Self { io, registry, incoming: Scan::default(), outgoing: Scan::default(), injected: None }
    }

    /// Write the resets that wait, if no frame of yamux is half written.
    fn poll_inject(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.outgoing.between_frames() {
            return Poll::Ready(Ok(()));
        }
        loop {
            if let Some((frame, sent)) = &mut self.injected {
                let count = ready!(Pin::new(&mut self.io).poll_write(cx, &frame[*sent..]))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                *sent += count;
                if *sent == HEADER_BYTES {
                    self.injected = None;
                }
                continue;
            }
            self.registry.writer.register(cx.waker());
            let Some(id) = self.registry.lock().resets.pop_front() else {
                return Poll::Ready(Ok(()));
            };
            let mut frame = [0; HEADER_BYTES];
            frame[2..4].copy_from_slice(&FLAG_RST.to_be_bytes());
            frame[4..8].copy_from_slice(&id.to_be_bytes());
            self.injected = Some((frame, 0));
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tap<C> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let count = ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        let registry = &this.registry;
        this.incoming.feed(&buf[..count], |kind, flags, id| registry.on_frame(kind, flags, id));
        Poll::Ready(Ok(count))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tap<C> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_inject(cx))?;
        let count = ready!(Pin::new(&mut this.io).poll_write(cx, buf))?;
        this.outgoing.feed(&buf[..count], |_, _, _| ());
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_inject(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_inject(cx))?;
        Pin::new(&mut this.io).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u16, id: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, kind];
        bytes.extend(flags.to_be_bytes());
        bytes.extend(id.to_be_bytes());
        bytes.extend(u32::try_from(body.len()).expect("short").to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let mut wire = frame(0, FLAG_SYN, 1, b"hello");
        wire.extend(frame(1, 2, 1, b""));
        wire.extend(frame(0, FLAG_FIN, 1, b"bye"));
        wire.extend(frame(0, FLAG_RST, 3, b""));
        for cut in 1..wire.len() {
            let mut scan = Scan::default();
            let mut seen = Vec::new();
            for piece in wire.chunks(cut) {
                scan.feed(piece, |kind, flags, id| seen.push((kind, flags, id)));
            }
            assert_eq!(seen, [(0, FLAG_SYN, 1), (1, 2, 1), (0, FLAG_FIN, 1), (0, FLAG_RST, 3)], "cut at {cut}");
            assert!(scan.between_frames());
        }
    }

    #[test]
    fn the_three_ends_of_a_stream_are_told_apart() {
        let registry = Registry::default();
        let (finished, reset, lost) = (registry.ending(1), registry.ending(3), registry.ending(5));
        registry.on_frame(TYPE_DATA, FLAG_FIN, 1);
        registry.on_frame(TYPE_WINDOW, FLAG_RST, 3);
        registry.lose();
        assert_eq!(finished.at_end().expect("a clean end"), 0);
        assert_eq!(reset.at_end().expect_err("a reset").kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(lost.at_end().expect_err("a loss").kind(), io::ErrorKind::ConnectionAborted);
    }

    #[test]
    fn nothing_is_kept_of_streams_that_are_gone() {
        let registry = Registry::default();
        drop(registry.ending(1));
        registry.forget(1);
        registry.on_frame(TYPE_DATA, FLAG_FIN, 1);
        assert_eq!(registry.len(), 0);
    }
}
