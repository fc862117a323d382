//! What a host knows, readable at any time without waiting. Only the driver writes it.

use std::{
    collections::HashMap,
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use libp2p::{Multiaddr, PeerId};
use tokio::sync::watch;

use crate::{
    address_book::AddressBook,
    event::{Connection, PeerIdentity},
};

/// Why a host has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was closed.
    Closed,
    /// Its driver panicked.
    Panicked,
}

/// The tables.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// Listen addresses, wildcards expanded.
    pub(crate) listen_addrs: Vec<Multiaddr>,
    /// Established connections, the preferred one of each peer first.
    pub(crate) connections: HashMap<PeerId, Vec<Connection>>,
    /// What connected peers said of themselves.
    pub(crate) identities: HashMap<PeerId, PeerIdentity>,
    /// The address book.
    pub(crate) book: AddressBook,
    /// Connected peers subscribed to each of our topics.
    pub(crate) topic_peers: HashMap<String, Vec<PeerId>>,
    /// The protocols this host speaks.
    pub(crate) protocols: Vec<String>,
}

/// The tables behind a lock, and the end of the host.
#[derive(Debug)]
pub(crate) struct Snapshot {
    tables: RwLock<Tables>,
    pub(crate) ended: watch::Sender<Option<Ended>>,
}

impl Snapshot {
    pub(crate) fn new() -> Self {
        Self { tables: RwLock::default(), ended: watch::Sender::new(None) }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
