//! How much all bodies under way hold in memory together.

use std::sync::atomic::{AtomicU64, Ordering};

/// The sum over all windows, and what follows once it is too much.
#[derive(Debug)]
pub struct Windows {
    held: AtomicU64,
    most: u64,
    least: u64,
}

impl Windows {
    /// Windows of any size while they hold no more than `most` bytes together, and of `least` bytes
    /// each beyond it.
    pub fn new(most: u64, least: u64) -> Self {
        Self { held: AtomicU64::new(0), most, least }
    }

    /// Without a bound on their sum.
    pub fn unbounded() -> Self {
        Self::new(u64::MAX, 0)
    }

    /// Bytes held now.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// What a window that would be of `wanted` bytes may hold now.
    pub(super) fn allowed(&self, wanted: u64) -> u64 {
        if self.held() > self.most { wanted.min(self.least).max(1) } else { wanted }
    }

    pub(super) fn hold(&self, bytes: u64) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn release(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}
