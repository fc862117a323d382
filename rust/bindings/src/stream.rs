//! A stream as Python holds it: tries that never wait, and operations for when there is something to wait for.

use std::sync::Arc;

use aicn_p2p::{Stream, TryRead};
use futures::FutureExt;
use pyo3::{prelude::*, types::PyBytes};

use crate::{error::raise, ops::Ops, queue::Payload};

/// One end of a stream. Losing the last reference to it without `begin_close` resets the stream.
#[pyclass(frozen, module = "aicn._native")]
pub(crate) struct NativeStream {
    stream: Stream,
    ops: Arc<Ops>,
}

impl NativeStream {
    pub(crate) fn new(stream: Stream, ops: Arc<Ops>) -> Self {
        Self { stream, ops }
    }
}

#[pymethods]
impl NativeStream {
    /// The peer at the other end.
    #[getter]
    fn peer(&self) -> String {
        self.stream.peer().to_string()
    }

    /// The protocol that was negotiated.
    #[getter]
    fn protocol(&self) -> &str {
        self.stream.protocol()
    }

    /// Whether a relay carries the stream.
    #[getter]
    fn relayed(&self) -> bool {
        self.stream.relayed()
    }

    /// What has arrived, at most `max_bytes`; `b""` at the end; None if there is nothing yet.
    fn try_read<'py>(&self, py: Python<'py>, max_bytes: usize) -> PyResult<Option<Bound<'py, PyBytes>>> {
        match self.stream.try_read(max_bytes) {
            Ok(TryRead::Data(data)) => Ok(Some(PyBytes::new(py, &data))),
            Ok(TryRead::Eof) => Ok(Some(PyBytes::new(py, b""))),
            Ok(TryRead::Empty) => Ok(None),
            Err(error) => Err(raise(&error)),
        }
    }

    /// Complete `op` when `try_read` has something to say.
    fn start_readable(&self, op: u64) {
        let ops = self.ops.clone();
        self.stream.on_readable(Box::new(move || ops.complete(op, Payload::Unit)));
    }

    /// Take `data` from `start` on, as much as there is room for; return how much that was.
    fn try_write(&self, data: &[u8], start: usize) -> PyResult<usize> {
        self.stream.try_write(data.get(start..).unwrap_or_default()).map_err(|error| raise(&error))
    }

    /// Take `data` from `start` on as `try_write` does; with its last byte taken, end both halves.
    ///
    /// In one call, so that the core sends the last bytes and the end together.
    fn write_end(&self, data: &[u8], start: usize) -> PyResult<usize> {
        let taken = self.try_write(data, start)?;
        if start + taken >= data.len() {
            self.begin_close();
        }
        Ok(taken)
    }

    /// Complete `op` when `try_write` has room.
    fn start_writable(&self, op: u64) {
        let ops = self.ops.clone();
        self.stream.on_writable(Box::new(move || ops.complete(op, Payload::Unit)));
    }

    /// Complete `op` when all that was written, and the end of this half, has been sent.
    fn start_close_write(&self, op: u64) {
        let stream = self.stream.clone();
        self.ops.start(op, async move {
            match stream.close_write().await {
                Ok(()) => Payload::Unit,
                Err(error) => Payload::Failed(error),
            }
        });
    }

    /// End both halves; what was written is sent by the core. Does not wait.
    fn begin_close(&self) {
        // Polled once, which is what starts it; sending goes on without the caller, whatever becomes of it.
        let _ = self.stream.close().now_or_never();
    }

    /// End both halves at once, in error.
    fn reset(&self) {
        self.stream.reset();
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<NativeStream>()
}
