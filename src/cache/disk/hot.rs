//! Which copies are worth writing again before their block goes, and how much of that there may be.
//!
//! foyer evicts blocks in the order in which they were written, whatever is asked for. So a copy in
//! the older half of the disk that is asked for once more is written again. Reading the whole disk
//! once must not rewrite it: the first hit is only remembered, and what is written again has a
//! share of what is written anew.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Of so many bytes written anew, one may be written again. A half of the disk goes by before a
/// copy is old, so what is hot may be a tenth of the disk.
const SHARE: u64 = 4;
/// Old copies whose first hit is remembered.
const REMEMBERED: usize = 4096;

/// The allowance, and the first hits.
#[derive(Debug)]
pub(super) struct Hot {
    /// Bytes that may be written again.
    allowance: AtomicU64,
    /// Earned at most.
    most: u64,
    /// By hash: who was last seen.
    seen: Box<[AtomicU32]>,
}

impl Hot {
    /// For a disk of `capacity` bytes.
    pub(super) fn new(capacity: u64) -> Self {
        let seen = (0..REMEMBERED).map(|_| AtomicU32::new(0)).collect();
        Self { allowance: AtomicU64::new(0), most: capacity / 16, seen }
    }

    /// `bytes` were written anew.
    pub(super) fn earn(&self, bytes: usize) {
        let earned = bytes as u64 / SHARE;
        let _ = self.allowance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |have| {
            (have < self.most).then(|| (have + earned).min(self.most))
        });
    }

    /// Whether `bytes` may be written again. Cheap, and only a hint.
    pub(super) fn affords(&self, bytes: usize) -> bool {
        self.allowance.load(Ordering::Relaxed) >= bytes as u64
    }

    /// Takes `bytes` of what may be written again.
    pub(super) fn spend(&self, bytes: usize) -> bool {
        let left = |have: u64| have.checked_sub(bytes as u64);
        self.allowance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
    }

    /// Whether the one with this hash was seen lately, and remembers it.
    pub(super) fn seen_before(&self, hash: u64) -> bool {
        let mark = (hash >> 32) as u32 | 1;
        let slot = self.seen.get(hash as usize % REMEMBERED);
        slot.is_some_and(|slot| slot.swap(mark, Ordering::Relaxed) == mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_what_is_written_may_be_written_again() {
        let hot = Hot::new(1 << 20);
        assert!(!hot.affords(1) && !hot.spend(1));
        hot.earn(40_000);
        assert!(hot.affords(10_000) && !hot.affords(10_001));
        assert!(hot.spend(4_000) && !hot.spend(6_001) && hot.spend(6_000));
        hot.earn(100 << 20);
        assert!(hot.affords(1 << 16) && !hot.affords((1 << 16) + 1), "no more than a sixteenth");
    }

    #[test]
    fn only_the_second_time_was_it_seen_before() {
        let hot = Hot::new(1 << 20);
        let hash = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        assert_eq!([7, 7, 7].map(|n| hot.seen_before(hash(n))), [false, true, true]);
        // Many others take its place: one pass over all of them sees nobody twice.
        let twice = (100..100_000).filter(|n| hot.seen_before(hash(*n))).count();
        assert_eq!(twice, 0);
        assert!(!hot.seen_before(hash(7)));
    }
}
