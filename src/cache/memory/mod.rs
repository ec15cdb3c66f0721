//! The memory tier: foyer's in-memory cache, weighed in real bytes (DESIGN D4).
//!
//! - `roll`: who is in it.

mod roll;

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use foyer::{Cache, CacheBuilder, CacheProperties, Event, EventListener, S3FifoConfig};

use self::roll::Roll;
use crate::cache::entry::{Entry, Slot};
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
    roll: Arc<Roll>,
    /// foyer goes on telling the first one.
    capacity: Arc<AtomicU64>,
}

struct Evictions(Arc<Metrics>, Arc<Roll>);

impl EventListener for Evictions {
    type Key = Key;
    type Value = Slot;

    fn on_leave(&self, reason: Event, key: &Key, slot: &Slot) {
        if let Slot::Entry(entry) = slot {
            self.1.leave(key, entry);
        }
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

fn weight(key: &Key, slot: &Slot) -> usize {
    let on_roll = if matches!(slot, Slot::Entry(_)) { roll::COST } else { 0 };
    RECORD + on_roll + key.0.len() + slot.weight()
}

impl Memory {
    /// A tier of `capacity` bytes; 0 keeps nothing.
    pub fn new(capacity: u64, hasher: KeyedHasher, metrics: &Arc<Metrics>) -> Self {
        let bytes = usize::try_from(capacity).unwrap_or(usize::MAX).max(1);
        let roll = Arc::<Roll>::default();
        let cache = CacheBuilder::new(bytes)
            .with_name("memory")
            .with_shards(shards(capacity))
            .with_eviction_config(S3FifoConfig::default())
            .with_hash_builder(hasher)
            .with_weighter(weight)
            .with_event_listener(Arc::new(Evictions(metrics.clone(), roll.clone())))
            .build();
        Self { cache, off: capacity == 0, roll, capacity: Arc::new(AtomicU64::new(capacity)) }
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
        if self.off {
            return;
        }
        let key = Key(key);
        if let Slot::Entry(entry) = &slot {
            self.roll.enter(key.clone(), entry); // first: it may leave at once
        }
        drop(self.cache.insert(key, slot));
    }

    /// Calls `see` with the key of each response and the response. Nobody is taken to have asked for
    /// them, and nothing stands still: what comes or goes meanwhile may be seen or not.
    pub fn each(&self, see: impl FnMut(&[u8], &Arc<Entry>)) {
        self.roll.each(see);
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn memory(capacity: u64) -> (Memory, Arc<Metrics>) {
        let metrics = Metrics::new(1);
        (Memory::new(capacity, KeyedHasher::new([7; 16]), &metrics), metrics)
    }

    fn insert(memory: &Memory, key: &str, len: usize) {
        let bytes = Bytes::from(vec![b'x'; len]);
        memory.insert(Bytes::copy_from_slice(key.as_bytes()), Slot::Segment(bytes));
    }

    /// PITFALLS 13: S3-FIFO's small queue is a tenth of a shard. A segment, the largest slot there
    /// is, must not leave with the next insertion.
    #[test]
    fn a_segment_stays_for_a_while_and_pushes_nobody_else_out() {
        let (memory, _) = memory(64 * MIB);
        for n in 0..20_000 {
            insert(&memory, &format!("small {n}"), 1000);
        }
        for n in 0..16 {
            insert(&memory, &format!("segment {n}"), 256 << 10);
        }
        let there = |name: &str, n| {
            (0..n).filter(|n| memory.contains(format!("{name} {n}").as_bytes())).count()
        };
        assert_eq!((there("segment", 16), there("small", 20_000)), (16, 20_000));
    }

    #[test]
    fn it_shrinks_and_grows() {
        let (memory, metrics) = memory(16 * MIB);
        for n in 0..10_000 {
            insert(&memory, &n.to_string(), 1000);
        }
        memory.resize(4 * MIB);
        assert_eq!(memory.capacity(), 4 * MIB);
        assert!(memory.bytes() <= 4 * MIB && memory.bytes() > 3 * MIB, "{}", memory.bytes());
        assert!(metrics.cache.evicted.get() > 5000);
        memory.resize(16 * MIB);
        for n in 0..10_000 {
            insert(&memory, &n.to_string(), 1000);
        }
        assert!(memory.bytes() > 10 * MIB, "{}", memory.bytes());
        let (off, _) = self::memory(0);
        off.resize(MIB);
        insert(&off, "k", 1);
        assert_eq!((off.capacity(), off.objects()), (0, 0));
    }

    /// PITFALLS 3: removals that race with lookups, insertions and changes of the capacity.
    #[test]
    fn removals_race_with_everything_else() {
        let (memory, _) = memory(2 * MIB);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..4_usize {
                let (memory, stop) = (&memory, &stop);
                scope.spawn(move || {
                    for n in 0..30_000_usize {
                        let key = ((n * 7 + thread * 13) % 500).to_string();
                        match (n + thread) % 5 {
                            0 | 1 => insert(memory, &key, 1000 + n % 9000),
                            2 => memory.remove(key.as_bytes()),
                            _ => {
                                if let Some(Slot::Segment(bytes)) = memory.get(key.as_bytes()) {
                                    assert!(bytes.iter().all(|byte| *byte == b'x'));
                                }
                            }
                        }
                    }
                    stop.store(true, Ordering::Relaxed);
                });
            }
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                memory.resize((1 + n % 2) * MIB);
            }
        });
        memory.resize(2 * MIB);
        assert!(memory.bytes() <= 2 * MIB);
        for n in 0..500 {
            memory.remove(n.to_string().as_bytes());
        }
        assert_eq!((memory.bytes(), memory.objects()), (0, 0), "every byte was accounted for");
    }
}
