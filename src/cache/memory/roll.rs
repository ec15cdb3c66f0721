//! Who is in the memory tier: foyer does not tell. Written when something comes in and when it
//! leaves, so that a hit pays nothing for it.
//!
//! Of two stores of one key at the same instant the roll may have kept the one that lost, and then
//! loses it when that leaves: such an entry is in no list until it is stored again.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Key;
use crate::cache::entry::Entry;

/// Enough that stores seldom meet, and that a list holds each up for a moment only.
const SHARDS: usize = 64;

/// What the roll spends on an entry: key, pointer and index slot, and the shared key's count.
pub(super) const COST: usize = 96;

type Shard = Mutex<HashMap<Key, Weak<Entry>>>;

#[derive(Debug)]
pub(super) struct Roll {
    hasher: RandomState,
    shards: Box<[Shard]>,
}

impl Default for Roll {
    fn default() -> Self {
        let shards = std::iter::repeat_with(Mutex::default).take(SHARDS).collect();
        Self { hasher: RandomState::new(), shards }
    }
}

impl Roll {
    pub(super) fn enter(&self, key: Key, entry: &Arc<Entry>) {
        if let Some(shard) = self.shard(&key) {
            shard.lock().insert(key, Arc::downgrade(entry));
        }
    }

    /// `entry` has left, unless another has taken its place.
    pub(super) fn leave(&self, key: &Key, entry: &Arc<Entry>) {
        let Some(shard) = self.shard(key) else { return };
        let mut shard = shard.lock();
        if shard.get(key).is_some_and(|held| std::ptr::eq(held.as_ptr(), Arc::as_ptr(entry))) {
            shard.remove(key);
        }
    }

    /// Calls `see` with each entry. Stores wait while the keys of one of 64 shards are copied.
    pub(super) fn each(&self, mut see: impl FnMut(&[u8], &Arc<Entry>)) {
        for shard in &self.shards {
            let held: Vec<(Key, Weak<Entry>)> =
                shard.lock().iter().map(|(key, entry)| (key.clone(), entry.clone())).collect();
            for (key, entry) in held {
                if let Some(entry) = entry.upgrade() {
                    see(&key.0, &entry);
                }
            }
        }
    }

    fn shard(&self, key: &Key) -> Option<&Shard> {
        self.shards.get((self.hasher.hash_one(&*key.0) >> 32) as usize % SHARDS)
    }
}
