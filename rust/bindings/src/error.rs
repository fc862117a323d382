//! Errors of the core become Python values here and nowhere else.

use aicn_p2p::Error;
use pyo3::{create_exception, exceptions::PyException, prelude::*};

create_exception!(
    _native,
    CoreError,
    PyException,
    "A failure of the core, as (kind, message); kind is one of ERROR_KINDS."
);

/// Every kind, in the order of the enum. A Python test walks it.
pub(crate) const KINDS: [&str; 12] = [
    "address",
    "identity",
    "listen_failed",
    "dial_failed",
    "not_connected",
    "stream_refused",
    "stream_reset",
    "timeout",
    "publish_failed",
    "overloaded",
    "closed",
    "panicked",
];

/// The stable name of an error's variant.
pub(crate) fn kind(error: &Error) -> &'static str {
    // No wildcard: a new variant does not compile until it has a name here.
    let index = match error {
        Error::Address(_) => 0,
        Error::Identity(_) => 1,
        Error::ListenFailed(_) => 2,
        Error::DialFailed(_) => 3,
        Error::NotConnected(_) => 4,
        Error::StreamRefused(_) => 5,
        Error::StreamReset(_) => 6,
        Error::Timeout(_) => 7,
        Error::PublishFailed(_) => 8,
        Error::Overloaded(_) => 9,
        Error::Closed => 10,
        Error::Panicked(_) => 11,
    };
    KINDS[index]
}

/// The exception for an error that is known at once.
pub(crate) fn raise(error: &Error) -> PyErr {
    CoreError::new_err((kind(error), error.to_string()))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("CoreError", module.py().get_type::<CoreError>())?;
    module.add("ERROR_KINDS", KINDS)
}
