//! `aicn._native`: the network core as Python sees it.
//!
//! Python starts an operation under an id of its own and goes on; what comes of it lands in a completion queue.
//! One wake-up announces a whole batch, so that a busy loop pays for one file descriptor and not for each event.
//! No call waits, and no tokio thread ever takes the interpreter's lock.

#![deny(unsafe_op_in_unsafe_fn)]

mod convert;
mod error;
mod logs;
mod node;
mod ops;
mod queue;
mod stream;
mod wake;

use pyo3::prelude::*;

/// The module; each part registers itself.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    error::register(module)?;
    queue::register(module)?;
    logs::register(module)?;
    stream::register(module)?;
    node::register(module)
}
