//! The memory tier: foyer's in-memory cache, weighed in real bytes (DESIGN D4).

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use foyer::{Cache, CacheBuilder, CacheProperties, Event, EventListener, S3FifoConfig};

use crate::cache::entry::Slot;
use crate::cache::hash::KeyedHasher;
use crate::observe::metrics::Metrics;

/// The canonical bytes of a key (D2). The hash only finds them, equality decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(pub Bytes);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_ref().hash(state);
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// What foyer spends on an entry beside key and value: its record, index slot and queue links.
const RECORD: usize = 144;

/// The memory tier. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Memory {
    cache: Cache<Key, Slot, KeyedHasher, CacheProperties>,
    /// Nothing is kept at all.
    off: bool,
    /// foyer goes on telling the first one.
    capacity: Arc<AtomicU64>,
}

struct Evictions(Arc<Metrics>);

impl EventListener for Evictions {
    type Key = Key;
    type Value = Slot;

    fn on_leave(&self, reason: Event, _: &Key, _: &Slot) {
        if reason == Event::Evict {
            self.0.cache.evicted.inc();
        }
    }
}

/// Shards for a capacity in bytes: few enough that an object of a sixteenth of a shard still
/// means something, enough that workers do not meet at one lock.
pub fn shards(capacity: u64) -> usize {
    usize::try_from((capacity >> 23).clamp(1, 16)).unwrap_or(1).next_power_of_two()
}

impl Memory {
    /// A tier of `capacity` bytes; 0 keeps nothing.
    pub fn new(capacity: u64, hasher: KeyedHasher, metrics: &Arc<Metrics>) -> Self {
        let bytes = usize::try_from(capacity).unwrap_or(usize::MAX).max(1);
        let cache = CacheBuilder::new(bytes)
            .with_name("memory")
            .with_shards(shards(capacity))
            .with_eviction_config(S3FifoConfig::default())
            .with_hash_builder(hasher)
            .with_weighter(|key: &Key, slot: &Slot| RECORD + key.0.len() + slot.weight())
            .with_event_listener(Arc::new(Evictions(metrics.clone())))
            .build();
        Self { cache, off: capacity == 0, capacity: Arc::new(AtomicU64::new(capacity)) }
    }

    /// What is stored under `key`.
    pub fn get(&self, key: &[u8]) -> Option<Slot> {
        self.cache.get(key).map(|entry| entry.value().clone())
    }

    /// Whether anything is stored under `key`; nobody is taken to have asked for it.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.cache.contains(key)
    }

    /// Stores `slot` under `key`, in place of what was there.
    pub fn insert(&self, key: Bytes, slot: Slot) {
        if !self.off {
            drop(self.cache.insert(Key(key), slot));
        }
    }

    /// Forgets `key`.
    pub fn remove(&self, key: &[u8]) {
        drop(self.cache.remove(key));
    }

    /// Bytes in use.
    pub fn bytes(&self) -> u64 {
        self.cache.usage() as u64
    }

    /// Entries held.
    pub fn objects(&self) -> u64 {
        self.cache.entries() as u64
    }

    /// Bytes at most.
    pub fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    /// Changes the capacity, unless nothing is kept at all. Blocks while what is too much is
    /// evicted.
    pub fn resize(&self, capacity: u64) {
        if self.off {
            return;
        }
        match self.cache.resize(usize::try_from(capacity).unwrap_or(usize::MAX).max(1)) {
            Ok(()) => self.capacity.store(capacity, Ordering::Relaxed),
            Err(error) => tracing::warn!(%error, "the memory tier stays as large as it was"),
        }
    }
}
