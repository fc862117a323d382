//! Values of the core as tuples: the least that Python has to build objects of its own.

use aicn_p2p::{Connection, Direction, Multiaddr, PeerAddrs, PeerIdentity};
use pyo3::{prelude::*, types::PyBytes};

/// (peer, addresses)
pub(crate) type AddrsTuple = (String, Vec<String>);

/// (peer, address, inbound, relayed, round trip in microseconds or None, id)
pub(crate) type ConnectionTuple = (String, String, bool, bool, Option<u64>, String);

/// (peer, protocol version, agent version, protocols, listen addresses, public key)
pub(crate) type IdentityTuple<'py> = (String, String, String, Vec<String>, Vec<String>, Bound<'py, PyBytes>);

pub(crate) fn peer_addrs(found: &PeerAddrs) -> AddrsTuple {
    (found.peer.to_string(), addrs(&found.addrs))
}

pub(crate) fn connection(connection: &Connection) -> ConnectionTuple {
    (
        connection.peer.to_string(),
        connection.addr.to_string(),
        connection.direction == Direction::Inbound,
        connection.relayed,
        connection.rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
        connection.conn_id.clone(),
    )
}

pub(crate) fn identity<'py>(py: Python<'py>, identity: &PeerIdentity) -> IdentityTuple<'py> {
    (
        identity.peer.to_string(),
        identity.protocol_version.clone(),
        identity.agent_version.clone(),
        identity.protocols.clone(),
        addrs(&identity.listen_addrs),
        PyBytes::new(py, &identity.public_key),
    )
}

pub(crate) fn addrs(addrs: &[Multiaddr]) -> Vec<String> {
    addrs.iter().map(ToString::to_string).collect()
}
