//! What a host listens on: asked for at the start or later, given up, and, where a relay lends it, asked for again.

use std::{collections::HashMap, time::Duration};

use libp2p::{Multiaddr, core::transport::ListenerId, multiaddr::Protocol};
use tokio::time::Instant;

use crate::{
    command::{Reply, answer},
    error::Error,
};

/// Addresses that a host listens on, those asked for included.
pub(crate) const MAX_LISTENERS: usize = 64;

/// How long after a relay was lost, or refused, it is asked again.
const ASK_RELAY_AFTER: Duration = Duration::from_secs(5);

/// Whether a listen address leads through a relay.
pub(crate) fn is_circuit(addr: &Multiaddr) -> bool {
    addr.iter().any(|part| part == Protocol::P2pCircuit)
}

fn any_port(addr: &Multiaddr) -> bool {
    addr.iter().any(|part| part == Protocol::Tcp(0))
}

#[derive(Debug)]
struct Listener {
    /// What was asked for.
    asked: Multiaddr,
    /// What came of it: ports resolved, wildcards expanded.
    told: Vec<Multiaddr>,
    /// Whether it stays: it was configured, or a caller was told that it is up.
    wanted: bool,
    /// Who waits for it to come up.
    waiting: Vec<Reply<()>>,
}

/// The listeners of a host.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    held: HashMap<ListenerId, Listener>,
    /// Circuits that a relay does not lend any more, or not yet, and when to ask for them again.
    lost: Vec<(Instant, Multiaddr)>,
    /// Who waits for a listener to be gone.
    leaving: HashMap<ListenerId, Vec<Reply<()>>>,
}

/// What becomes of a request to listen.
pub(crate) enum Listening {
    /// It stands, or somebody else waits for it already.
    Dealt,
    /// The swarm is to be asked; the slot comes back for `asked`.
    Ask(Reply<()>),
}

impl Listeners {
    /// A caller wants `addr`.
    pub(crate) fn want(&mut self, addr: &Multiaddr, reply: Reply<()>) -> Listening {
        self.lost.retain(|(_, lost)| lost != addr);
        // Any port means one more each time.
        if let Some(listener) = self.held.values_mut().find(|listener| listener.asked == *addr && !any_port(addr)) {
            if listener.told.is_empty() {
                listener.waiting.push(reply);
            } else {
                listener.wanted = true;
                answer(reply, Ok(()));
            }
            return Listening::Dealt;
        }
        if self.held.len() + self.lost.len() >= MAX_LISTENERS {
            answer(reply, Err(Error::Overloaded(format!("{MAX_LISTENERS} addresses are listened on: give one up"))));
            return Listening::Dealt;
        }
        Listening::Ask(reply)
    }

    /// The swarm was asked for `addr`, by the configuration or for a caller.
    pub(crate) fn asked(&mut self, id: ListenerId, addr: Multiaddr, reply: Option<Reply<()>>) {
        let listener =
            Listener { asked: addr, told: Vec::new(), wanted: reply.is_none(), waiting: reply.into_iter().collect() };
        self.held.insert(id, listener);
    }

    /// A listener has an address. Whether it is of use: all who waited for it may have gone.
    #[must_use]
    pub(crate) fn up(&mut self, id: ListenerId, addr: Multiaddr) -> bool {
        let Some(listener) = self.held.get_mut(&id) else { return true };
        listener.told.push(addr);
        for reply in listener.waiting.drain(..) {
            listener.wanted |= reply.send(Ok(())).is_ok();
        }
        listener.wanted
    }

    /// A listener has lost an address.
    pub(crate) fn down(&mut self, id: ListenerId, addr: &Multiaddr) {
        if let Some(listener) = self.held.get_mut(&id) {
            listener.told.retain(|told| told != addr);
        }
    }

    /// A listener is closed. A circuit that is still wanted is asked for again later.
    pub(crate) fn closed(&mut self, id: ListenerId, why: &str) {
        if let Some(listener) = self.held.remove(&id) {
            let addr = listener.asked;
            for reply in listener.waiting {
                answer(reply, Err(Error::ListenFailed(format!("{addr} is not to be had ({why}): try another one"))));
            }
            if listener.wanted && is_circuit(&addr) {
                self.refused(addr);
            }
        }
        for reply in self.leaving.remove(&id).into_iter().flatten() {
            answer(reply, Ok(()));
        }
    }

    /// A relay could not even be asked.
    pub(crate) fn refused(&mut self, addr: Multiaddr) {
        self.lost.push((Instant::now() + ASK_RELAY_AFTER, addr));
    }

    /// `addr`, as it was asked for or as it was told, is not wanted any more. Gives the listener to be removed from
    /// the swarm; `closed` then answers.
    pub(crate) fn give_up(&mut self, addr: &Multiaddr, reply: Reply<()>) -> Option<ListenerId> {
        self.lost.retain(|(_, lost)| lost != addr);
        let found = self
            .held
            .iter()
            .find(|(_, listener)| listener.asked == *addr || listener.told.contains(addr))
            .map(|(id, _)| *id);
        match found {
            Some(id) => {
                if let Some(listener) = self.held.get_mut(&id) {
                    listener.wanted = false;
                }
                self.leaving.entry(id).or_default().push(reply);
            }
            None => answer(reply, Ok(())),
        }
        found
    }

    /// When `due` has something.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.lost.iter().map(|(at, _)| *at).min()
    }

    /// The circuits to ask for now.
    pub(crate) fn due(&mut self) -> Vec<Multiaddr> {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.lost).into_iter().partition(|(at, _)| *at <= now);
        self.lost = later;
        let due: Vec<(Instant, Multiaddr)> = due;
        due.into_iter().map(|(_, addr)| addr).collect()
    }
}
