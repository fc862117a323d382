//! How a tokio thread wakes the Python loop: a file descriptor it watches, or a callback where loops cannot.

use std::{
    io,
    sync::mpsc::{SyncSender, sync_channel},
    thread,
};

use pyo3::prelude::*;

#[cfg(unix)]
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// One way to wake one loop.
pub(crate) enum Wake {
    /// A descriptor that becomes readable: an eventfd on Linux, the reading end of a pipe on other Unix systems.
    #[cfg(unix)]
    Descriptor {
        /// Watched by the loop.
        read: OwnedFd,
        /// Written to; the same as `read` for an eventfd, which is then `None`.
        write: Option<OwnedFd>,
    },
    /// Tells a thread of its own to call Python. Whoever wakes must not wait for the interpreter: it may hold a lock
    /// that the thread which has the interpreter is waiting for.
    Callback(SyncSender<()>),
}

impl Wake {
    /// Have `notify` called by a thread that lives as long as this.
    pub(crate) fn callback(notify: Py<PyAny>) -> io::Result<Self> {
        // One place is enough: a wake-up that finds it taken is covered by the call that is still to come.
        let (sender, receiver) = sync_channel(1);
        thread::Builder::new().name("aicn-wake".into()).spawn(move || {
            while receiver.recv().is_ok() {
                let called = Python::try_attach(|py| {
                    if let Err(error) = notify.call0(py) {
                        // The loop is closed: nobody is left to be woken.
                        log::debug!("the loop could not be woken: {error}");
                    }
                });
                if called.is_none() {
                    break; // the interpreter is ending
                }
            }
        })?;
        Ok(Self::Callback(sender))
    }

    /// Make a descriptor.
    #[cfg(target_os = "linux")]
    pub(crate) fn descriptor() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers; its result is checked before it is owned.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was made just now and belongs to nobody else.
        Ok(Self::Descriptor { read: unsafe { OwnedFd::from_raw_fd(fd) }, write: None })
    }

    /// Make a descriptor.
    #[cfg(all(unix, not(target_os = "linux")))]
    pub(crate) fn descriptor() -> io::Result<Self> {
        let mut ends = [0; 2];
        // SAFETY: `ends` has room for the two descriptors that pipe writes.
        if unsafe { libc::pipe(ends.as_mut_ptr()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: both descriptors were made just now and belong to nobody else.
        let (read, write) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
        for end in [&read, &write] {
            // SAFETY: the descriptor is open; fcntl with these commands takes no pointers.
            unsafe {
                libc::fcntl(end.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK);
                libc::fcntl(end.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
        Ok(Self::Descriptor { read, write: Some(write) })
    }

    /// Make a descriptor: not on this system, whose loops watch none.
    #[cfg(not(unix))]
    pub(crate) fn descriptor() -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this system needs a callback to wake the loop"))
    }

    /// The descriptor to watch, -1 if there is none.
    pub(crate) fn fd(&self) -> i32 {
        match self {
            #[cfg(unix)]
            Self::Descriptor { read, .. } => read.as_raw_fd(),
            Self::Callback(_) => -1,
        }
    }

    /// Wake the loop.
    pub(crate) fn wake(&self) {
        match self {
            #[cfg(unix)]
            Self::Descriptor { read, write } => {
                let one = 1_u64.to_ne_bytes();
                let fd = write.as_ref().unwrap_or(read).as_raw_fd();
                // A full pipe or counter is readable already: there is nothing to do about a failure.
                // SAFETY: the descriptor is open and `one` has eight bytes.
                let _ = unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
            }
            Self::Callback(sender) => {
                // Full: a call is still to come. Gone: the interpreter is ending.
                let _ = sender.try_send(());
            }
        }
    }

    /// Forget wake-ups so far; called by the loop before it drains.
    pub(crate) fn clear(&self) {
        match self {
            #[cfg(unix)]
            Self::Descriptor { read, .. } => {
                let mut sink = [0_u8; 64];
                // SAFETY: the descriptor is open and non-blocking, and `sink` has the room that is told.
                let _ = unsafe { libc::read(read.as_raw_fd(), sink.as_mut_ptr().cast(), sink.len()) };
            }
            Self::Callback(_) => {}
        }
    }
}
