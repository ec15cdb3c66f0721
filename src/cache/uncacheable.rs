//! Keys whose last response could not be shared: requests for them do not wait for each other
//! (hit-for-miss). Bounded: the table forgets its oldest keys first.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use parking_lot::Mutex;

use crate::semantics::time::Timestamp;

/// Few enough to be small, enough that workers seldom meet in one.
const SHARDS: usize = 16;

/// Which keys are not worth a flight, and until when. Keys are kept as keyed 64-bit hashes: two
/// that meet cost one object its collapsing for a while, never a wrong answer.
#[derive(Debug)]
pub struct Uncacheable {
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
}

#[derive(Debug, Default)]
struct Shard {
    records: HashMap<u64, Record>,
    /// What was put in, oldest overwritten first; a slot counts while its record points to it.
    ring: Vec<u64>,
    next: usize,
    capacity: usize,
}

#[derive(Debug)]
struct Record {
    reason: &'static str,
    until: Timestamp,
    slot: usize,
}

impl Uncacheable {
    /// For at most `capacity` keys, rounded up to a multiple of the number of shards.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.div_ceil(SHARDS).max(1);
        let shard = || Mutex::new(Shard { capacity, ..Shard::default() });
        Self {
            hasher: RandomState::new(),
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
        }
    }

    /// Remembers that `key` cannot be shared, for the given reason, until then.
    pub fn insert(&self, key: &[u8], reason: &'static str, until: Timestamp) {
        let (hash, shard) = self.find(key);
        if let Some(shard) = shard {
            shard.lock().insert(hash, reason, until);
        }
    }

    /// Why `key` cannot be shared, if it is remembered and `now` is before the end of that.
    pub fn get(&self, key: &[u8], now: Timestamp) -> Option<&'static str> {
        let (hash, shard) = self.find(key);
        let mut shard = shard?.lock();
        let record = shard.records.get(&hash)?;
        if now < record.until {
            return Some(record.reason);
        }
        shard.records.remove(&hash);
        None
    }

    /// Forgets `key`: its response could be stored.
    pub fn remove(&self, key: &[u8]) {
        let (hash, shard) = self.find(key);
        if let Some(shard) = shard {
            shard.lock().records.remove(&hash);
        }
    }

    /// Keys remembered, those included whose time has passed and that nobody asked for since.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().records.len()).sum()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn find(&self, key: &[u8]) -> (u64, Option<&Mutex<Shard>>) {
        let hash = self.hasher.hash_one(key);
        // The map inside a shard uses the low and the highest bits.
        let shard = (hash >> 32) as usize % SHARDS;
        (hash, self.shards.get(shard))
    }
}

impl Shard {
    fn insert(&mut self, hash: u64, reason: &'static str, until: Timestamp) {
        if let Some(record) = self.records.get_mut(&hash) {
            (record.reason, record.until) = (reason, until);
            return;
        }
        let slot = self.next;
        if let Some(taken) = self.ring.get_mut(slot) {
            let oldest = std::mem::replace(taken, hash);
            if self.records.get(&oldest).is_some_and(|record| record.slot == slot) {
                self.records.remove(&oldest);
            }
        } else {
            self.ring.push(hash);
        }
        self.next = (slot + 1) % self.capacity;
        self.records.insert(hash, Record { reason, until, slot });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Timestamp = Timestamp::from_millis(1000);
    const LATER: Timestamp = Timestamp::from_millis(2000);

    #[test]
    fn a_key_is_remembered_until_its_time_or_its_removal() {
        let table = Uncacheable::new(100);
        assert!(table.is_empty());
        table.insert(b"a", "private", LATER);
        table.insert(b"b", "set-cookie", LATER);
        assert_eq!(table.get(b"a", SOON), Some("private"));
        assert_eq!(table.get(b"c", SOON), None);
        assert_eq!(table.get(b"a", LATER), None, "until is exclusive");
        assert_eq!(table.len(), 1, "an expired record that was asked for is gone");
        table.remove(b"b");
        assert_eq!(table.get(b"b", SOON), None);
        assert!(table.is_empty());
    }

    #[test]
    fn a_renewed_key_has_the_new_reason_and_time() {
        let table = Uncacheable::new(100);
        table.insert(b"a", "private", SOON);
        table.insert(b"a", "no-store", LATER);
        assert_eq!(table.get(b"a", SOON), Some("no-store"));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest_first() {
        let table = Uncacheable::new(SHARDS * 8);
        for n in 0..10_000u32 {
            table.insert(&n.to_le_bytes(), "private", LATER);
            assert!(table.len() <= SHARDS * 8);
        }
        assert_eq!(table.len(), SHARDS * 8);
        assert_eq!(table.get(&9_999u32.to_le_bytes(), SOON), Some("private"));
        assert_eq!(table.get(&0u32.to_le_bytes(), SOON), None);

        let mut shard = Shard { capacity: 3, ..Shard::default() };
        for hash in [1, 2, 3, 4] {
            shard.insert(hash, "private", LATER);
        }
        assert!(!shard.records.contains_key(&1), "the oldest went");
        assert!([2, 3, 4].iter().all(|hash| shard.records.contains_key(hash)));
    }

    #[test]
    fn putting_in_and_taking_out_takes_no_more_room() {
        let mut shard = Shard { capacity: 4, ..Shard::default() };
        for _ in 0..1_000 {
            shard.insert(7, "private", LATER);
            shard.records.remove(&7);
            shard.insert(8, "private", LATER);
        }
        assert!(shard.ring.len() <= 4);
        assert!(shard.records.contains_key(&8), "a slot left behind takes nobody with it");
    }
}
