//! Who waits for which dial.

use std::collections::{HashMap, HashSet};

use libp2p::{
    Multiaddr, PeerId,
    core::transport::TransportError,
    multiaddr::Protocol,
    swarm::{
        ConnectionId, DialError, NetworkBehaviour, Swarm,
        dial_opts::{DialOpts, PeerCondition},
    },
};

use crate::{
    address_book::dialable,
    command::{OpenRequest, Reply, answer},
    error::Error,
};

#[derive(Debug, Default)]
struct Waiting {
    /// The dials that run for this peer on our behalf.
    running: HashSet<ConnectionId>,
    connects: Vec<(ConnectionId, Multiaddr, Reply<PeerId>)>,
    opens: Vec<OpenRequest>,
}

/// The dials that somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Dials {
    peers: HashMap<PeerId, Waiting>,
}

impl Dials {
    /// Dial `addr` for a caller of `connect`.
    pub(crate) fn connect<B: NetworkBehaviour>(
        &mut self,
        swarm: &mut Swarm<B>,
        peer: PeerId,
        addr: Multiaddr,
        reply: Reply<PeerId>,
    ) {
        if let Some(waiting) = self.peers.get_mut(&peer)
            && let Some(id) = waiting.connects.iter().find(|(_, dialled, _)| *dialled == addr).map(|(id, ..)| *id)
        {
            waiting.connects.retain(|(.., reply)| !reply.is_closed());
            waiting.connects.push((id, addr, reply));
            return;
        }
        // Always, even while somebody dials this peer elsewhere: the caller named the place.
        let opts = DialOpts::peer_id(peer).addresses(vec![addr.clone()]).condition(PeerCondition::Always).build();
        let id = opts.connection_id();
        match swarm.dial(opts) {
            Ok(()) => {
                let waiting = self.peers.entry(peer).or_default();
                waiting.running.insert(id);
                waiting.connects.push((id, addr, reply));
            }
            Err(why) => answer(reply, Err(describe(&peer, &why))),
        }
    }

    /// Dial the known addresses of a peer for a request that found no connection.
    pub(crate) fn open<B: NetworkBehaviour>(
        &mut self,
        swarm: &mut Swarm<B>,
        known: Vec<Multiaddr>,
        request: OpenRequest,
    ) {
        let peer = request.peer;
        if let Some(waiting) = self.peers.get_mut(&peer) {
            waiting.opens.retain(|other| !other.reply.is_closed());
            waiting.opens.push(request);
            return;
        }
        let opts = DialOpts::peer_id(peer)
            .addresses(known)
            .extend_addresses_through_behaviour()
            .condition(PeerCondition::Always)
            .build();
        let id = opts.connection_id();
        match swarm.dial(opts) {
            Ok(()) => {
                let waiting = Waiting { running: HashSet::from([id]), connects: Vec::new(), opens: vec![request] };
                self.peers.insert(peer, waiting);
            }
            Err(why) => answer(request.reply, Err(describe(&peer, &why))),
        }
    }

    /// A connection to `peer` stands: its callers are answered, and the requests that can now go out returned.
    pub(crate) fn on_connected(&mut self, peer: &PeerId) -> Vec<OpenRequest> {
        let Some(waiting) = self.peers.remove(peer) else { return Vec::new() };
        for (_, _, reply) in waiting.connects {
            answer(reply, Ok(*peer));
        }
        waiting.opens
    }

    /// A dial has failed: tell those who waited for this one, and the others once none is left.
    pub(crate) fn on_failed(&mut self, id: ConnectionId, peer: &PeerId, why: &DialError) {
        let Some(waiting) = self.peers.get_mut(peer) else { return };
        if !waiting.running.remove(&id) {
            return;
        }
        let error = describe(peer, why);
        let (failed, rest) = std::mem::take(&mut waiting.connects).into_iter().partition(|(dial, ..)| *dial == id);
        waiting.connects = rest;
        let failed: Vec<(ConnectionId, Multiaddr, Reply<PeerId>)> = failed;
        for (_, _, reply) in failed {
            answer(reply, Err(error.clone()));
        }
        if waiting.running.is_empty() {
            for request in std::mem::take(&mut waiting.opens) {
                answer(request.reply, Err(error.clone()));
            }
            self.peers.remove(peer);
        }
    }
}

/// One sentence: each address and why it failed.
fn describe(peer: &PeerId, why: &DialError) -> Error {
    let reasons = match why {
        DialError::NoAddresses => {
            return Error::NotConnected(format!(
                "{peer} is not connected and no address of it is known: connect first"
            ));
        }
        DialError::Transport(failures) => failures
            .iter()
            .map(|(addr, why)| match why {
                _ if dialable(addr.clone(), peer).is_none() => format!("{}: only TCP is spoken", place(addr)),
                TransportError::MultiaddrNotSupported(_) => format!("{}: no such transport", place(addr)),
                TransportError::Other(why) => format!("{}: {}", place(addr), root(why)),
            })
            .collect::<Vec<_>>()
            .join("; "),
        DialError::WrongPeerId { obtained, address } => format!("{}: {obtained} answered there", place(address)),
        DialError::LocalPeerId { address } => format!("{}: that is this host itself", place(address)),
        DialError::Aborted => "the dial was aborted".into(),
        DialError::Denied { cause } => root(cause),
        DialError::DialPeerConditionFalse(_) => "it is being dialled already".into(),
    };
    Error::DialFailed(format!("{peer} cannot be dialled ({reasons}): check its addresses"))
}

/// An address without the peer at its end, which the sentence names already.
fn place(addr: &Multiaddr) -> Multiaddr {
    let mut bare = addr.clone();
    if matches!(addr.iter().last(), Some(Protocol::P2p(_))) {
        bare.pop();
    }
    bare
}

/// The innermost cause of an error; the layers above only repeat it.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string().trim_end_matches('.').replace('\n', " ")
}
