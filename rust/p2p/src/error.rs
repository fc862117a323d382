//! What can go wrong, one variant for each thing a caller may want to do about it.

use thiserror::Error;

/// Every failure of this crate. Each message is one sentence that says what, where and what to do.
///
/// The variants mirror the `NetworkError` branch of the Python exception tree; the bindings map them one to one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// A multiaddr, peer id or protocol name that cannot be used.
    #[error("{0}")]
    Address(String),
    /// A key that cannot be used. Never carries the secret.
    #[error("{0}")]
    Identity(String),
    /// An address cannot be listened on.
    #[error("{0}")]
    ListenFailed(String),
    /// No address of a peer answered, or the peer proved to be another one.
    #[error("{0}")]
    DialFailed(String),
    /// The peer is not connected and no address of it is known.
    #[error("{0}")]
    NotConnected(String),
    /// The peer does not speak the protocol.
    #[error("{0}")]
    StreamRefused(String),
    /// The other side, or a lost connection, ended the stream.
    #[error("{0}")]
    StreamReset(String),
    /// The peer did not answer in time.
    #[error("{0}")]
    Timeout(String),
    /// A gossip message could not be sent.
    #[error("{0}")]
    PublishFailed(String),
    /// A bounded queue is full.
    #[error("{0}")]
    Overloaded(String),
    /// The host was used after it was closed.
    #[error("the host is closed: start a new one")]
    Closed,
    /// The core met a bug of its own; the host is closed after it.
    #[error("{0}")]
    Panicked(String),
}
