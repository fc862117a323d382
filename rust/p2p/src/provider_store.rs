//! The records this host keeps for the DHT.
//!
//! A server of the kad crate answers with the first 20 providers of a key, however many there are, in an order
//! that never changes: of a hundred workers the same twenty would get all the work. So the store hands the list out
//! from another place each time, and who asks again sees the next ones.

use std::{borrow::Cow, cell::Cell};

use libp2p::{
    PeerId,
    kad::{
        K_VALUE, ProviderRecord, Record, RecordKey,
        store::{MemoryStore, MemoryStoreConfig, RecordStore, Result},
    },
};

/// Providers in one answer of a server of this crate.
pub(crate) const PROVIDERS_PER_ANSWER: usize = K_VALUE.get();

/// A store in memory whose lists of providers turn.
pub(crate) struct ProviderStore {
    inner: MemoryStore,
    turn: Cell<usize>,
}

impl ProviderStore {
    pub(crate) fn new(own: PeerId, config: MemoryStoreConfig) -> Self {
        Self { inner: MemoryStore::with_config(own, config), turn: Cell::new(0) }
    }
}

impl RecordStore for ProviderStore {
    type RecordsIter<'a> = <MemoryStore as RecordStore>::RecordsIter<'a>;
    type ProvidedIter<'a> = <MemoryStore as RecordStore>::ProvidedIter<'a>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        self.inner.get(key)
    }

    fn put(&mut self, record: Record) -> Result<()> {
        self.inner.put(record)
    }

    fn remove(&mut self, key: &RecordKey) {
        self.inner.remove(key);
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        self.inner.records()
    }

    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        self.inner.add_provider(record)
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let mut all = self.inner.providers(key);
        if all.len() > PROVIDERS_PER_ANSWER {
            let start = self.turn.get() % all.len();
            all.rotate_left(start);
            self.turn.set(start + PROVIDERS_PER_ANSWER);
        }
        all
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        self.inner.provided()
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        self.inner.remove_provider(key, provider);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_provider_gets_its_turn() {
        let config = MemoryStoreConfig { max_providers_per_key: 1000, ..MemoryStoreConfig::default() };
        let mut store = ProviderStore::new(PeerId::random(), config);
        let key = RecordKey::from(vec![1]);
        for _ in 0..95 {
            store.add_provider(ProviderRecord::new(key.clone(), PeerId::random(), vec![])).expect("fits");
        }
        let answers = (0..5).flat_map(|_| store.providers(&key).into_iter().take(PROVIDERS_PER_ANSWER));
        assert_eq!(answers.map(|record| record.provider).collect::<HashSet<_>>().len(), 95);
    }
}
