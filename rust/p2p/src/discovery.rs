//! The DHT: announcing keys, finding who announced them, finding where a peer is.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroUsize,
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::Endpoint,
    kad::{
        self, AddProviderError, GetClosestPeersError, GetClosestPeersOk, GetProvidersOk, Mode, QueryId, QueryResult,
        RecordKey,
        store::{MemoryStoreConfig, RecordStore},
    },
    swarm::{ConnectionId, NetworkBehaviour},
};
use tokio::time::Instant;

use crate::{
    address_book::AddressBook,
    command::{Reply, answer},
    config::{Config, RoutingMode},
    error::Error,
    event::PeerAddrs,
    provider_store::{PROVIDERS_PER_ANSWER, ProviderStore},
};

/// The behaviour.
pub(crate) type Behaviour = kad::Behaviour<ProviderStore>;

/// Largest message: a list of a thousand providers with their addresses must fit.
const MAX_PACKET_BYTES: usize = 4 << 20;
/// Providers kept for one key; the crate's 20 would hide the 21st worker of a network.
const MAX_PROVIDERS_PER_KEY: usize = 1000;
/// Keys with providers that this host keeps, its own among them.
const MAX_PROVIDED_KEYS: usize = 16_384;
/// How often provided keys are announced again. The reference forgets an advertisement after 3 h.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(60 * 60);
/// How long an announcement of another peer is believed: a few of those that are due may be missed.
const BELIEVED_FOR: Duration = Duration::from_secs(4 * 60 * 60);
/// How often the routing table is refreshed while there are peers.
const BOOTSTRAP_EVERY: Duration = Duration::from_secs(5 * 60);
/// How long one query may take; searches have their own, shorter time.
const QUERY_TIMEOUT: Duration = Duration::from_secs(60);
/// Searches that run at once.
const MAX_SEARCHES: usize = 256;
/// Providers of one search whose addresses are asked for one by one.
const MAX_LOOKUPS: usize = 32;

/// Build the behaviour.
pub(crate) fn build(own: PeerId, name: StreamProtocol, mode: RoutingMode) -> Behaviour {
    let mut config = kad::Config::new(name);
    config
        .set_max_packet_size(MAX_PACKET_BYTES)
        .set_query_timeout(QUERY_TIMEOUT)
        .set_provider_publication_interval(Some(ANNOUNCE_EVERY))
        .set_provider_record_ttl(Some(BELIEVED_FOR))
        .set_periodic_bootstrap_interval((mode != RoutingMode::None).then_some(BOOTSTRAP_EVERY));
    if mode == RoutingMode::None {
        // A peer in the table begins a bootstrap: there is none until somebody asks for something.
        config.set_kbucket_inserts(kad::BucketInserts::Manual);
    }
    let store = MemoryStoreConfig {
        max_providers_per_key: MAX_PROVIDERS_PER_KEY,
        max_provided_keys: MAX_PROVIDED_KEYS,
        // Values are not used in this network; nobody needs to store any here.
        max_records: 0,
        ..MemoryStoreConfig::default()
    };
    let mut behaviour = Behaviour::with_config(own, ProviderStore::new(own, store), config);
    // Set, not left to the crate: it would make a server of whoever has an external address.
    behaviour.set_mode(Some(if mode == RoutingMode::Server { Mode::Server } else { Mode::Client }));
    behaviour
}

/// Parse the protocol name of the configuration.
pub(crate) fn protocol(config: &Config) -> Result<StreamProtocol, Error> {
    let name = &config.kad_protocol;
    StreamProtocol::try_from_owned(name.clone())
        .map_err(|_| Error::Address(format!("DHT protocol {name:?} does not begin with /: correct the prefix")))
}

/// What a search looks for, and what it has found.
#[derive(Debug)]
enum Goal {
    Providers {
        key: RecordKey,
        limit: usize,
        found: HashMap<PeerId, Vec<Multiaddr>>,
        /// How many had been found when the running query began.
        before: usize,
        reply: Reply<Vec<PeerAddrs>>,
    },
    Peer {
        peer: PeerId,
        found: Vec<Multiaddr>,
        reply: Reply<PeerAddrs>,
    },
}

#[derive(Debug)]
struct Search {
    goal: Goal,
    deadline: Instant,
    queries: HashSet<QueryId>,
    /// Whether missing addresses were asked for.
    looked_up: bool,
}

/// The searches and announcements that run.
#[derive(Debug)]
pub(crate) struct Discovery {
    own: PeerId,
    searches: HashMap<u64, Search>,
    next: u64,
    queries: HashMap<QueryId, u64>,
    announcing: HashMap<QueryId, (RecordKey, Vec<Reply<()>>)>,
    /// Announced while there was nobody to tell.
    unheard: HashSet<RecordKey>,
}

impl Discovery {
    pub(crate) fn new(own: PeerId) -> Self {
        Self {
            own,
            searches: HashMap::new(),
            next: 0,
            queries: HashMap::new(),
            announcing: HashMap::new(),
            unheard: HashSet::new(),
        }
    }

    /// Announce `key` now and from time to time.
    pub(crate) fn provide(&mut self, kad: &mut Behaviour, key: Vec<u8>, reply: Reply<()>) {
        let key = RecordKey::from(key);
        match kad.start_providing(key.clone()) {
            Ok(query) => {
                self.announcing.insert(query, (key, vec![reply]));
            }
            Err(why) => answer(
                reply,
                Err(Error::Overloaded(format!("a key cannot be announced in the DHT ({why}): provide fewer"))),
            ),
        }
    }

    /// The routing table has a new peer: tell it what nobody has heard yet.
    pub(crate) fn on_new_peer(&mut self, kad: &mut Behaviour) {
        for key in std::mem::take(&mut self.unheard) {
            if let Ok(query) = kad.start_providing(key.clone()) {
                self.announcing.insert(query, (key, Vec::new()));
            }
        }
    }

    /// This host has other addresses than before: say so to those who keep what it provides.
    pub(crate) fn announce_again(&mut self, kad: &mut Behaviour) {
        let keys: Vec<RecordKey> = kad.store_mut().provided().map(|record| record.key.clone()).collect();
        for key in keys {
            if let Ok(query) = kad.start_providing(key.clone()) {
                self.announcing.insert(query, (key, Vec::new()));
            }
        }
    }

    /// Search for the providers of `key`.
    pub(crate) fn find_providers(
        &mut self,
        kad: &mut Behaviour,
        key: Vec<u8>,
        limit: usize,
        timeout: Duration,
        reply: Reply<Vec<PeerAddrs>>,
    ) {
        if let Some(reply) = self.admit(reply) {
            let key = RecordKey::from(key);
            let query = kad.get_providers(key.clone());
            let limit = limit.clamp(1, MAX_PROVIDERS_PER_KEY);
            let goal = Goal::Providers { key, limit, found: HashMap::new(), before: 0, reply };
            self.begin(goal, timeout, query);
        }
    }

    /// Search for a peer.
    pub(crate) fn find_peer(&mut self, kad: &mut Behaviour, peer: PeerId, timeout: Duration, reply: Reply<PeerAddrs>) {
        if let Some(reply) = self.admit(reply) {
            let found = addrs_in(kad, &peer);
            let goal = Goal::Peer { peer, found, reply };
            let query = kad.get_n_closest_peers(peer, NonZeroUsize::MIN.saturating_add(19));
            self.begin(goal, timeout, query);
        }
    }

    fn admit<T>(&self, reply: Reply<T>) -> Option<Reply<T>> {
        if self.searches.len() < MAX_SEARCHES {
            return Some(reply);
        }
        answer(reply, Err(Error::Overloaded(format!("{MAX_SEARCHES} searches run already: retry later"))));
        None
    }

    fn begin(&mut self, goal: Goal, timeout: Duration, query: QueryId) {
        self.next += 1;
        self.queries.insert(query, self.next);
        let search =
            Search { goal, deadline: Instant::now() + timeout, queries: HashSet::from([query]), looked_up: false };
        self.searches.insert(self.next, search);
    }

    /// When `on_tick` is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.searches.values().map(|search| search.deadline).min()
    }

    /// End the searches whose time is over or whose caller has gone.
    pub(crate) fn on_tick(&mut self, kad: &mut Behaviour, book: &AddressBook) {
        let now = Instant::now();
        let over: Vec<u64> = self
            .searches
            .iter()
            .filter(|(_, search)| search.deadline <= now || search.goal.is_abandoned())
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            self.finish(kad, book, id);
        }
    }

    /// A dial begins: while a query runs, it knows where the peer is said to be.
    pub(crate) fn on_dialing(&mut self, kad: &mut Behaviour, dialled: &PeerId) {
        for search in self.searches.values_mut() {
            if let Goal::Peer { peer, found, .. } = &mut search.goal
                && peer == dialled
            {
                *found = addrs_in(kad, peer);
            }
        }
    }

    /// A query has a result.
    pub(crate) fn on_query(
        &mut self,
        kad: &mut Behaviour,
        book: &mut AddressBook,
        query: QueryId,
        result: QueryResult,
        successes: u32,
        last: bool,
    ) {
        match result {
            QueryResult::StartProviding(done) | QueryResult::RepublishProvider(done) => {
                self.on_announced(query, done.map(|ok| ok.key), successes);
            }
            QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })) => {
                self.on_providers(kad, book, query, providers);
            }
            QueryResult::GetClosestPeers(result) => {
                let (Ok(GetClosestPeersOk { peers, .. }) | Err(GetClosestPeersError::Timeout { peers, .. })) = result;
                self.on_closest(book, query, peers);
            }
            _ => {}
        }
        if last {
            self.on_query_over(kad, book, query);
        }
    }

    fn on_announced(&mut self, query: QueryId, result: Result<RecordKey, AddProviderError>, successes: u32) {
        let replies = self.announcing.remove(&query).map(|(_, replies)| replies).unwrap_or_default();
        let (Ok(key) | Err(AddProviderError::Timeout { key })) = result;
        if successes == 0 {
            self.unheard.insert(key);
        }
        for reply in replies {
            answer(reply, Ok(()));
        }
    }

    fn on_providers(&mut self, kad: &mut Behaviour, book: &mut AddressBook, query: QueryId, peers: HashSet<PeerId>) {
        let Some(search) = self.queries.get(&query).and_then(|id| self.searches.get_mut(id)) else { return };
        let Goal::Providers { limit, found, .. } = &mut search.goal else { return };
        for peer in peers {
            if peer == self.own || (found.len() >= *limit && !found.contains_key(&peer)) {
                continue;
            }
            let addrs = addrs_in(kad, &peer);
            book.add(peer, addrs.iter().rev().cloned());
            found.entry(peer).or_default().extend(addrs);
        }
        if found.len() >= *limit
            && let Some(mut running) = kad.query_mut(&query)
        {
            running.finish();
        }
    }

    fn on_closest(&mut self, book: &mut AddressBook, query: QueryId, peers: Vec<kad::PeerInfo>) {
        let search = self.queries.get(&query).and_then(|id| self.searches.get_mut(id));
        let Some(Search { goal, .. }) = search else { return };
        for info in peers {
            match goal {
                Goal::Peer { peer, found, .. } if *peer == info.peer_id => {
                    book.add(info.peer_id, info.addrs.iter().rev().cloned());
                    found.extend(info.addrs);
                }
                Goal::Providers { found, .. } if found.contains_key(&info.peer_id) => {
                    book.add(info.peer_id, info.addrs.iter().rev().cloned());
                    found.entry(info.peer_id).or_default().extend(info.addrs);
                }
                _ => {}
            }
        }
    }

    /// The last result of a query: ask on for addresses that are missing, or answer.
    fn on_query_over(&mut self, kad: &mut Behaviour, book: &AddressBook, query: QueryId) {
        let Some(id) = self.queries.remove(&query) else { return };
        let Some(search) = self.searches.get_mut(&id) else { return };
        search.queries.remove(&query);
        if let Goal::Providers { key, limit, found, before, .. } = &mut search.goal
            && !search.looked_up
        {
            // A full answer that taught something: there may be more where it came from.
            if found.len() >= PROVIDERS_PER_ANSWER && (*before + 1..*limit).contains(&found.len()) {
                *before = found.len();
                let again = kad.get_providers(key.clone());
                search.queries.insert(again);
                self.queries.insert(again, id);
                return;
            }
            search.looked_up = true;
            let unknown: Vec<PeerId> = found
                .iter()
                .filter(|(peer, addrs)| addrs.is_empty() && book.addrs(peer).is_empty())
                .map(|(peer, _)| *peer)
                .take(MAX_LOOKUPS)
                .collect();
            for peer in unknown {
                let lookup = kad.get_closest_peers(peer);
                search.queries.insert(lookup);
                self.queries.insert(lookup, id);
            }
        }
        if search.queries.is_empty() {
            self.finish(kad, book, id);
        }
    }

    fn finish(&mut self, kad: &mut Behaviour, book: &AddressBook, id: u64) {
        let Some(search) = self.searches.remove(&id) else { return };
        for query in search.queries {
            self.queries.remove(&query);
            if let Some(mut running) = kad.query_mut(&query) {
                running.finish();
            }
        }
        match search.goal {
            Goal::Providers { found, reply, .. } => {
                let found = found.into_iter().map(|(peer, addrs)| complete(book, peer, addrs)).collect();
                answer(reply, Ok(found));
            }
            Goal::Peer { peer, found, reply } => {
                let found = complete(book, peer, found);
                let nobody = || Error::NotConnected(format!("nobody knows where {peer} is: retry when it is online"));
                answer(reply, if found.addrs.is_empty() { Err(nobody()) } else { Ok(found) });
            }
        }
    }
}

impl Goal {
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Providers { reply, .. } => reply.is_closed(),
            Self::Peer { reply, .. } => reply.is_closed(),
        }
    }
}

/// What was found, with what the book knows; each address once, none that cannot be dialled.
fn complete(book: &AddressBook, peer: PeerId, found: Vec<Multiaddr>) -> PeerAddrs {
    let mut own = AddressBook::default();
    own.add(peer, found.into_iter().rev());
    own.add(peer, book.addrs(&peer).into_iter().rev());
    PeerAddrs { peer, addrs: own.addrs(&peer) }
}

/// The addresses that the DHT knows for `peer`: of its routing table, and those told in answers to running
/// queries. The results of queries carry ids only; this is the question that a dial asks.
fn addrs_in(kad: &mut Behaviour, peer: &PeerId) -> Vec<Multiaddr> {
    kad.handle_pending_outbound_connection(ConnectionId::new_unchecked(0), Some(*peer), &[], Endpoint::Dialer)
        .unwrap_or_default()
}
