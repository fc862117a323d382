//! Asks the router to let others in: one lease for each port listened on, renewed while it is wanted, returned at
//! the end.
//!
//! NAT-PMP is asked first, which a router answers at once or never; then UPnP, which has to search. One task does it
//! all and owns the leases; it ends when its [`PortMapping`] is dropped, after it has returned them.

mod nat_pmp;
mod upnp;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use libp2p::{Multiaddr, multiaddr::Protocol};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

/// For how long a port is asked for. Short enough that a router soon forgets a host that was cut off.
const LEASE: Duration = Duration::from_secs(60 * 60);
/// Least time between two renewals, whatever a router grants.
const MIN_RENEWAL: Duration = Duration::from_secs(1);
/// How long after a router has refused, or was not there, it is asked again: soon at first, for the search is one packet
/// that may be lost, then twice as long each time.
const FIRST_RETRY: Duration = Duration::from_secs(10);
/// The longest of these times. A router that is replaced is found within it.
const LAST_RETRY: Duration = Duration::from_secs(5 * 60);
/// How long the leases may take to be returned at the end.
const RETURN_TIMEOUT: Duration = Duration::from_secs(2);
/// Ports that are asked for.
const MAX_PORTS: usize = 16;
/// Where routers that speak UPnP listen: the multicast group of SSDP.
const SSDP: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), 1900));

/// Whom to ask, and for how long.
#[derive(Debug, Clone)]
struct Settings {
    /// The router, if it is not the one that the system names.
    router: Option<Ipv4Addr>,
    ssdp: SocketAddr,
    lease: Duration,
    first_retry: Duration,
}

/// A port that was refused.
#[derive(Debug, Clone, Copy)]
struct Refused {
    /// When to ask again.
    again_at: Instant,
    /// How long that was after the last time.
    pause: Duration,
}

/// How a port was lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    NatPmp,
    Upnp,
}

/// A port of the router that leads to one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lease {
    by: By,
    external: SocketAddrV4,
    renew_at: Instant,
    expires_at: Instant,
}

impl Lease {
    fn new(by: By, external: SocketAddrV4, granted: Duration) -> Self {
        let now = Instant::now();
        Self { by, external, renew_at: now + (granted / 2).max(MIN_RENEWAL), expires_at: now + granted }
    }
}

/// The task that holds the leases.
#[derive(Debug)]
pub(crate) struct PortMapping {
    wanted: watch::Sender<BTreeSet<u16>>,
    mapped: watch::Receiver<Vec<SocketAddrV4>>,
    task: JoinHandle<()>,
}

impl PortMapping {
    /// Begin; nothing is asked for yet.
    pub(crate) fn start() -> Self {
        Self::with(Settings { router: None, ssdp: SSDP, lease: LEASE, first_retry: FIRST_RETRY })
    }

    fn with(settings: Settings) -> Self {
        let (wanted, wanted_ports) = watch::channel(BTreeSet::new());
        let (mapped_addrs, mapped) = watch::channel(Vec::new());
        let mapper = Mapper {
            settings,
            wanted: wanted_ports,
            mapped: mapped_addrs,
            leases: BTreeMap::new(),
            refused: BTreeMap::new(),
            upnp: None,
        };
        Self { wanted, mapped, task: tokio::spawn(mapper.run()) }
    }

    /// Ask for the ports of `listening`, and for no others any more.
    pub(crate) fn want(&self, listening: &[Multiaddr]) {
        let ports: BTreeSet<u16> = listening.iter().filter_map(port).take(MAX_PORTS).collect();
        self.wanted.send_if_modified(|wanted| {
            let changed = *wanted != ports;
            *wanted = ports;
            changed
        });
    }

    /// Where this host can be reached from outside.
    pub(crate) fn addrs(&mut self) -> Vec<Multiaddr> {
        let addr = |at: &SocketAddrV4| Multiaddr::empty().with(Protocol::Ip4(*at.ip())).with(Protocol::Tcp(at.port()));
        self.mapped.borrow_and_update().iter().map(addr).collect()
    }

    /// Wait until `addrs` returns something else. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        if self.mapped.changed().await.is_err() {
            // The task has ended, by a bug of its own: nothing will change any more.
            std::future::pending::<()>().await;
        }
    }

    /// Return all leases; a router that does not answer forgets them in time.
    pub(crate) async fn close(self) {
        let Self { wanted, mut task, .. } = self;
        drop(wanted);
        if timeout(RETURN_TIMEOUT, &mut task).await.is_err() {
            log::debug!("the router was not told in time that its ports are not needed: it will forget them");
            task.abort();
        }
    }
}

/// The TCP port that an address is listened on, if others could be led to it.
fn port(addr: &Multiaddr) -> Option<u16> {
    match addr.iter().collect::<Vec<_>>().as_slice() {
        [Protocol::Ip4(ip), Protocol::Tcp(port)] if !ip.is_loopback() => Some(*port),
        _ => None,
    }
}

struct Mapper {
    settings: Settings,
    wanted: watch::Receiver<BTreeSet<u16>>,
    mapped: watch::Sender<Vec<SocketAddrV4>>,
    leases: BTreeMap<u16, Lease>,
    refused: BTreeMap<u16, Refused>,
    /// The router that was found last.
    upnp: Option<upnp::Router>,
}

impl Mapper {
    async fn run(mut self) {
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            self.refused.retain(|port, _| wanted.contains(port));
            let gone: Vec<u16> = self.leases.keys().filter(|port| !wanted.contains(port)).copied().collect();
            for port in gone {
                self.give_back(port).await;
            }
            for port in wanted {
                self.see_to(port).await;
            }
            self.tell();
            let retries = self.refused.values().map(|refused| refused.again_at);
            let next = self.leases.values().map(|lease| lease.renew_at).chain(retries).min();
            let timer = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.wanted.changed() => if changed.is_err() { break },
                () = timer => {}
            }
        }
        for port in self.leases.keys().copied().collect::<Vec<_>>() {
            self.give_back(port).await;
        }
    }

    /// Lease or renew a port if it is time.
    async fn see_to(&mut self, port: u16) {
        let now = Instant::now();
        let held = self.leases.get(&port).cloned();
        let refused = self.refused.get(&port).copied();
        let due = held.as_ref().map(|lease| lease.renew_at).or(refused.map(|refused| refused.again_at));
        if due.is_some_and(|at| at > now) {
            return;
        }
        let fresh = tokio::select! {
            fresh = ask(&self.settings, &mut self.upnp, port, held.as_ref()) => fresh,
            // Nobody wants anything any more. What the router lends at this very moment it forgets in time.
            () = closed(&self.wanted) => return,
        };
        match (fresh, held) {
            (Some(fresh), held) => {
                if held.is_none_or(|held| held.external != fresh.external) {
                    log::info!("the router lets others in at {}, by {:?}", fresh.external, fresh.by);
                }
                self.refused.remove(&port);
                self.leases.insert(port, fresh);
            }
            (None, Some(held)) if held.expires_at > now + MIN_RENEWAL => {
                let again = now + ((held.expires_at - now) / 2).max(MIN_RENEWAL);
                self.leases.insert(port, Lease { renew_at: again, ..held });
            }
            (None, held) => {
                match held {
                    Some(held) => log::warn!("the router does not let others in at {} any more", held.external),
                    None if refused.is_none() => log::info!("no router lets others in at port {port} so far"),
                    None => log::debug!("still no router lets others in at port {port}"),
                }
                self.leases.remove(&port);
                let pause = refused.map_or(self.settings.first_retry, |refused| (refused.pause * 2).min(LAST_RETRY));
                self.refused.insert(port, Refused { again_at: now + pause, pause });
            }
        }
    }

    async fn give_back(&mut self, port: u16) {
        let Some(lease) = self.leases.remove(&port) else { return };
        give_back(&self.settings, self.upnp.as_ref(), port, lease.external.port(), lease.by).await;
    }

    fn tell(&self) {
        let addrs: Vec<SocketAddrV4> = self.leases.values().map(|lease| lease.external).collect();
        self.mapped.send_if_modified(|mapped| {
            let changed = *mapped != addrs;
            *mapped = addrs;
            changed
        });
    }
}

/// Wait until the other end of `wanted` is gone.
async fn closed(wanted: &watch::Receiver<BTreeSet<u16>>) {
    let mut wanted = wanted.clone();
    while wanted.changed().await.is_ok() {}
}

/// Ask for a port, first in the way that it is held by.
async fn ask(settings: &Settings, router: &mut Option<upnp::Router>, port: u16, held: Option<&Lease>) -> Option<Lease> {
    let external = held.map_or(port, |lease| lease.external.port());
    let order =
        if held.is_some_and(|lease| lease.by == By::Upnp) { [By::Upnp, By::NatPmp] } else { [By::NatPmp, By::Upnp] };
    for by in order {
        let lent = match by {
            By::NatPmp => nat_pmp::lend(settings.router, port, external, settings.lease).await,
            By::Upnp => upnp::lend(router, settings.ssdp, port, external, settings.lease).await,
        };
        match lent {
            Ok((at, granted)) if is_public(*at.ip()) => return Some(Lease::new(by, at, granted)),
            Ok((at, _)) => {
                log::info!("the router is behind another one, at {at}: the port it lends leads nowhere");
                give_back(settings, router.as_ref(), port, at.port(), by).await;
            }
            Err(why) => log::debug!("{by:?} lends no port {port}: {why}"),
        }
    }
    None
}

/// Give a lease back to the router that lent it.
async fn give_back(settings: &Settings, router: Option<&upnp::Router>, port: u16, external: u16, by: By) {
    let done = match (by, router) {
        (By::NatPmp, _) => nat_pmp::give_back(settings.router, port).await,
        (By::Upnp, Some(router)) => router.give_back(external).await,
        (By::Upnp, None) => Err("it is not known any more".into()),
    };
    if let Err(why) = done {
        log::debug!("the router keeps port {external} open until it forgets it: {why}");
    }
}

/// Whether others can be somewhere beyond: not an address of a home or of a provider's own network.
fn is_public(ip: Ipv4Addr) -> bool {
    let carrier = ip.octets()[0] == 100 && ip.octets()[1] & 0b1100_0000 == 64;
    !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_broadcast() || carrier)
}
