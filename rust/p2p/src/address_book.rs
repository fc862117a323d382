//! Where peers may be dialled, as far as this host has heard. Bounded: the peer heard of longest ago goes first.

use std::collections::HashMap;

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use crate::event::PeerAddrs;

/// Peers in the book.
const MAX_PEERS: usize = 4096;
/// Addresses of one peer.
const MAX_ADDRS: usize = 16;

#[derive(Debug, Default)]
struct Page {
    heard: u64,
    addrs: Vec<Multiaddr>,
}

/// The book.
#[derive(Debug, Default)]
pub(crate) struct AddressBook {
    clock: u64,
    pages: HashMap<PeerId, Page>,
}

impl AddressBook {
    /// Note addresses of `peer`, the best last; addresses that nobody can dial are left out.
    pub(crate) fn add(&mut self, peer: PeerId, addrs: impl IntoIterator<Item = Multiaddr>) {
        let addrs: Vec<_> = addrs.into_iter().filter_map(|addr| dialable(addr, &peer)).collect();
        if addrs.is_empty() {
            return;
        }
        self.clock += 1;
        if self.pages.len() >= MAX_PEERS
            && !self.pages.contains_key(&peer)
            && let Some(oldest) = self.pages.iter().min_by_key(|(_, page)| page.heard).map(|(peer, _)| *peer)
        {
            self.pages.remove(&oldest);
        }
        let page = self.pages.entry(peer).or_default();
        page.heard = self.clock;
        for addr in addrs {
            page.addrs.retain(|known| *known != addr);
            page.addrs.insert(0, addr);
        }
        page.addrs.truncate(MAX_ADDRS);
    }

    /// The addresses of `peer`, the best first.
    pub(crate) fn addrs(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.pages.get(peer).map(|page| page.addrs.clone()).unwrap_or_default()
    }

    /// The whole book.
    pub(crate) fn all(&self) -> impl Iterator<Item = PeerAddrs> {
        self.pages.iter().map(|(peer, page)| PeerAddrs { peer: *peer, addrs: page.addrs.clone() })
    }
}

/// `addr` without a trailing `/p2p` of `peer`, if it can be dialled at all.
pub(crate) fn dialable(mut addr: Multiaddr, peer: &PeerId) -> Option<Multiaddr> {
    if let Some(Protocol::P2p(named)) = addr.iter().last() {
        if named != *peer {
            return None;
        }
        addr.pop();
    }
    let mut place = false;
    for part in &addr {
        match part {
            Protocol::Ip4(ip) if ip.is_unspecified() || ip.is_multicast() => return None,
            Protocol::Ip6(ip) if ip.is_unspecified() || ip.is_multicast() => return None,
            Protocol::Tcp(0) => return None,
            Protocol::Tcp(_) => place = true,
            // Only TCP is spoken here.
            Protocol::Udp(_) | Protocol::Ws(_) | Protocol::Wss(_) | Protocol::Tls => return None,
            _ => {}
        }
    }
    place.then_some(addr)
}

/// Whether `addr` means the machine it is dialled from.
pub(crate) fn is_loopback(addr: &Multiaddr) -> bool {
    addr.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_loopback(),
        Protocol::Ip6(ip) => ip.is_loopback(),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> Multiaddr {
        text.parse().expect("an address")
    }

    #[test]
    fn only_what_can_be_dialled_is_kept() {
        let (peer, other) = (PeerId::random(), PeerId::random());
        let mut book = AddressBook::default();
        book.add(peer, [addr("/ip4/0.0.0.0/tcp/1"), addr("/ip4/1.2.3.4/tcp/0"), addr("/ip4/1.2.3.4/udp/1/quic-v1")]);
        book.add(peer, [addr(&format!("/ip4/1.2.3.4/tcp/1/p2p/{other}"))]);
        assert_eq!(book.all().count(), 0);
        book.add(peer, [addr(&format!("/ip4/1.2.3.4/tcp/1/p2p/{peer}")), addr("/dns4/x.example/tcp/2")]);
        assert_eq!(book.addrs(&peer), [addr("/dns4/x.example/tcp/2"), addr("/ip4/1.2.3.4/tcp/1")]);
    }

    #[test]
    fn the_book_is_bounded_both_ways() {
        let first = PeerId::random();
        let mut book = AddressBook::default();
        book.add(first, (1..100).map(|port| addr(&format!("/ip4/1.2.3.4/tcp/{port}"))));
        assert_eq!(book.addrs(&first).len(), MAX_ADDRS);
        assert_eq!(book.addrs(&first)[0], addr("/ip4/1.2.3.4/tcp/99"));
        for _ in 0..MAX_PEERS {
            book.add(PeerId::random(), [addr("/ip4/1.2.3.4/tcp/1")]);
        }
        assert_eq!(book.all().count(), MAX_PEERS);
        assert!(book.addrs(&first).is_empty());
    }
}
