//! Entries of which a part is missing, by their ids: segments do not know where their head lies.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::cache::entry::EntryId;

/// Remembered at most; one that is forgotten is found incomplete again.
const MOST: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Incomplete {
    any: AtomicBool,
    ids: Mutex<VecDeque<EntryId>>,
}

impl Incomplete {
    pub(super) fn insert(&self, id: &EntryId) {
        let mut ids = self.ids.lock();
        if ids.contains(id) {
            return;
        }
        if ids.len() >= MOST {
            ids.pop_front();
        }
        ids.push_back(*id);
        self.any.store(true, Ordering::Relaxed);
    }

    /// Were there ever any? Nearly always not, and that costs next to nothing.
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    pub(super) fn contains(&self, id: &EntryId) -> bool {
        self.ids.lock().contains(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_remembered() {
        let incomplete = Incomplete::default();
        assert!(!incomplete.contains(&[0; 16]));
        for n in 0..=255_u8 {
            incomplete.insert(&[n; 16]);
            incomplete.insert(&[n; 16]);
        }
        assert!(incomplete.contains(&[0; 16]) && incomplete.contains(&[255; 16]));
        incomplete.insert(b"one more than is");
        assert!(!incomplete.contains(&[0; 16]) && incomplete.contains(&[1; 16]));
    }
}
