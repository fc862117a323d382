//! The table of established connections and the rule that leaves one per peer.
//!
//! Two peers that dial each other at once get two connections. Both must drop the same one, without asking: the
//! one dialled by the peer with the smaller id. Of two that the same side dialled only that side drops one, the
//! younger. Nobody dials a peer that is connected, so a connection that comes long after another one means that
//! the older is dead on the other side: then the older gives way. A relayed connection gives way to any direct
//! one. What gives way carries nothing new, and is closed once the streams on it have ended.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::{PeerId, swarm::ConnectionId};

use crate::stream::LiveStreams;

/// How far apart two connections can be and still come from one simultaneous dial.
const SIMULTANEOUS: Duration = Duration::from_secs(5);

/// One established connection.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its name in the swarm.
    pub(crate) id: ConnectionId,
    /// Whether a relay carries it.
    pub(crate) relayed: bool,
    /// Whether this side dialled.
    pub(crate) dialled: bool,
    /// When it was established.
    pub(crate) since: Instant,
    /// Since when it gives way to another, if it does.
    pub(crate) yielding: Option<Instant>,
    /// Whether it is being closed for that.
    pub(crate) closing: bool,
    /// The streams it carries.
    pub(crate) live: Arc<LiveStreams>,
}

/// The connections of a host, oldest first for each peer.
#[derive(Debug)]
pub(crate) struct Connections {
    own: PeerId,
    peers: HashMap<PeerId, Vec<Entry>>,
}

impl Connections {
    pub(crate) fn new(own: PeerId) -> Self {
        Self { own, peers: HashMap::new() }
    }

    /// Whether a new connection would give way at once to one that stands.
    pub(crate) fn superfluous(&self, peer: &PeerId, relayed: bool, dialled: bool, now: Instant) -> bool {
        self.peers.get(peer).is_some_and(|entries| {
            entries
                .iter()
                .filter(|entry| entry.yielding.is_none())
                .any(|entry| self.keeps(peer, entry, relayed, dialled, now) == Some(true))
        })
    }

    /// Add a connection and mark what gives way, itself or others.
    pub(crate) fn add(&mut self, peer: PeerId, entry: Entry) {
        let mut entries = self.peers.remove(&peer).unwrap_or_default();
        let mut yielding = None;
        for older in entries.iter_mut().filter(|older| older.yielding.is_none()) {
            match self.keeps(&peer, older, entry.relayed, entry.dialled, entry.since) {
                Some(true) => yielding = Some(entry.since),
                Some(false) => older.yielding = Some(entry.since),
                None => {}
            }
        }
        entries.push(Entry { yielding, ..entry });
        self.peers.insert(peer, entries);
    }

    /// Remove a connection.
    pub(crate) fn remove(&mut self, peer: &PeerId, id: ConnectionId) {
        if let Some(entries) = self.peers.get_mut(peer) {
            entries.retain(|entry| entry.id != id);
            // The last one left is the one to use, whatever it gave way to.
            if let [only] = entries.as_mut_slice() {
                only.yielding = None;
            }
            if entries.is_empty() {
                self.peers.remove(peer);
            }
        }
    }

    /// The connection to use for a new stream: one that does not give way, direct before relayed, oldest first.
    pub(crate) fn best(&self, peer: &PeerId) -> Option<&Entry> {
        self.peers.get(peer)?.iter().min_by_key(|entry| (entry.yielding.is_some(), entry.relayed))
    }

    /// Whether `peer` has more than one connection.
    pub(crate) fn several(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|entries| entries.len() > 1)
    }

    /// The connections that give way and are not being closed yet.
    pub(crate) fn yielding(&mut self) -> impl Iterator<Item = (PeerId, &mut Entry)> {
        self.peers
            .iter_mut()
            .flat_map(|(peer, entries)| entries.iter_mut().map(move |entry| (*peer, entry)))
            .filter(|(_, entry)| entry.yielding.is_some() && !entry.closing)
    }

    /// Of two connections: whether the older stays and the younger gives way (`Some(true)`), the reverse
    /// (`Some(false)`), or the other side decides (`None`).
    fn keeps(&self, peer: &PeerId, older: &Entry, relayed: bool, dialled: bool, now: Instant) -> Option<bool> {
        if older.relayed != relayed {
            return Some(relayed);
        }
        if now.saturating_duration_since(older.since) > SIMULTANEOUS {
            return Some(false);
        }
        if older.dialled == dialled {
            return dialled.then_some(true);
        }
        Some(older.dialled == (self.own.to_bytes() > peer.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers() -> (PeerId, PeerId) {
        let (one, two) = (PeerId::random(), PeerId::random());
        if one.to_bytes() < two.to_bytes() { (one, two) } else { (two, one) }
    }

    fn entry(id: usize, relayed: bool, dialled: bool) -> Entry {
        Entry {
            id: ConnectionId::new_unchecked(id),
            relayed,
            dialled,
            since: Instant::now(),
            yielding: None,
            closing: false,
            live: Arc::default(),
        }
    }

    fn kept(own: PeerId, other: PeerId, order: &[(usize, bool, bool)]) -> Vec<usize> {
        let mut table = Connections::new(own);
        for &(id, relayed, dialled) in order {
            table.add(other, entry(id, relayed, dialled));
        }
        let entries = &table.peers[&other];
        (0..8)
            .filter(|id| entries.iter().any(|e| e.id == ConnectionId::new_unchecked(*id) && e.yielding.is_none()))
            .collect()
    }

    #[test]
    fn both_sides_keep_the_one_that_the_larger_dialled_in_whatever_order() {
        let (small, large) = peers();
        // Connection 1 was dialled by the smaller, 2 by the larger.
        for order in [[1, 2], [2, 1]] {
            let at_small: Vec<_> = order.iter().map(|&id| (id, false, id == 1)).collect();
            let at_large: Vec<_> = order.iter().map(|&id| (id, false, id == 2)).collect();
            assert_eq!(kept(small, large, &at_small), [2]);
            assert_eq!(kept(large, small, &at_large), [2]);
        }
    }

    #[test]
    fn only_the_dialler_drops_one_of_two_that_it_dialled() {
        let (small, large) = peers();
        assert_eq!(kept(small, large, &[(1, false, true), (2, false, true)]), [1]);
        assert_eq!(kept(large, small, &[(1, false, false), (2, false, false)]), [1, 2]);
    }

    #[test]
    fn a_relayed_one_gives_way_to_a_direct_one_on_both_sides() {
        let (small, large) = peers();
        for (own, other) in [(small, large), (large, small)] {
            assert_eq!(kept(own, other, &[(1, true, true), (2, false, false)]), [2]);
            assert_eq!(kept(own, other, &[(1, false, false), (2, true, true)]), [1]);
        }
    }

    #[test]
    fn one_that_comes_much_later_replaces_a_dead_one() {
        let (small, large) = peers();
        for (own, other) in [(small, large), (large, small)] {
            for (first, second) in [(true, true), (true, false), (false, true), (false, false)] {
                let mut table = Connections::new(own);
                let old = entry(1, false, first);
                let later = old.since + SIMULTANEOUS + Duration::from_secs(1);
                table.add(other, old);
                assert!(!table.superfluous(&other, false, second, later));
                table.add(other, Entry { since: later, ..entry(2, false, second) });
                assert_eq!(table.best(&other).map(|e| e.id), Some(ConnectionId::new_unchecked(2)));
            }
        }
    }

    #[test]
    fn the_last_one_left_is_used_even_if_it_gave_way() {
        let (small, large) = peers();
        let mut table = Connections::new(small);
        table.add(large, entry(1, false, true));
        table.add(large, entry(2, false, false));
        assert_eq!(table.yielding().count(), 1);
        table.remove(&large, ConnectionId::new_unchecked(2));
        assert_eq!(table.yielding().count(), 0);
        assert_eq!(table.best(&large).map(|e| e.id), Some(ConnectionId::new_unchecked(1)));
        table.remove(&large, ConnectionId::new_unchecked(1));
        assert!(table.best(&large).is_none());
        assert!(table.peers.is_empty());
    }
}
