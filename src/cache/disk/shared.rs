//! The steps behind [`super::Disk`]: each change of a key is one step under the lock, and told of
//! outside it.

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use crate::cache::disk::entry::{self, Loaded};
use crate::cache::disk::pending::Waiting;
use crate::cache::disk::reading::Read;
use crate::cache::disk::store::{Mounted, ReadError};
use crate::cache::disk::{
    CHANGE_SLOTS, DiskCopy, DiskState, LOAD_WAIT, OnDisk, PENDING_BUFFERS, Put, READ_FAILURES,
    READ_TRIES, Shared, State, geometry, tell,
};

impl Shared {
    pub(super) async fn put(
        &self,
        key: Bytes,
        value: Bytes,
        on_disk: Option<OnDisk>,
    ) -> Result<(), (Put, Option<OnDisk>)> {
        let counts = &self.metrics.disk;
        let size = entry::size_on_disk(&key, &value);
        // First of all, so that whatever happens next leaves a miss and not the older copy.
        let (waiter, older) = self.wait_to_put(&key);
        let refuse = |put: Put, older: Vec<OnDisk>| {
            tell(older, false);
            put
        };
        if size > self.geometry.max_entry {
            counts.dropped_too_large.inc();
            return Err((refuse(Put::TooLarge, older), on_disk));
        }
        if !self.state.lock().takes_puts() {
            return Err((refuse(Put::Off, older), on_disk));
        }
        let pages = u32::try_from(size / geometry::PAGE).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(pages);
        let Ok(Ok(room)) = tokio::time::timeout(self.config.store_wait, room).await else {
            counts.dropped_behind.inc();
            return Err((refuse(Put::Behind, older), on_disk));
        };
        let mut state = self.state.lock();
        if !state.takes_puts() {
            drop(state);
            return Err((refuse(Put::Off, older), on_disk));
        }
        if !waiter.is_the_newest(&state) {
            // A newer one, or a delete, came while this one waited: it must not take its place.
            drop(state);
            return Err((refuse(Put::Outdated, older), on_disk));
        }
        // What was read meanwhile may wait to be written again.
        let mut told = state.forget(&key);
        told.extend(older);
        told.extend(on_disk);
        self.changed(&key);
        state.pending.queue(key, value, size, told, room);
        self.hot.earn(size);
        counts.pending_bytes.set(i64::try_from(state.pending.bytes()).unwrap_or(i64::MAX));
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Forgets `key`, and returns who waits to hear of that; whoever has waited to put it is
    /// outdated from now on.
    fn wait_to_put(&self, key: &Bytes) -> (Waiter<'_>, Vec<OnDisk>) {
        let mut state = self.state.lock();
        self.changed(key);
        let older = state.forget(key);
        state.waiters += 1;
        let number = state.waiters;
        state.waiting.insert(key.clone(), number);
        (Waiter { shared: self, key: key.clone(), number }, older)
    }

    pub(super) async fn find(
        &self,
        key: &[u8],
        elsewhere: impl Fn() -> bool,
    ) -> Option<DiskCopy<'_>> {
        // A change that passes during the read makes what was read too old to be trusted.
        for _ in 0..READ_TRIES {
            let before = self.changes_of(key);
            let mounted = {
                let state = self.state.lock();
                match state.pending.get(key) {
                    Waiting::Value(value) => {
                        let position = self.wear.position();
                        return Some(DiskCopy { value, position, _reading: None });
                    }
                    Waiting::Gone => return None,
                    Waiting::Unknown => state.mounted.clone()?,
                }
            };
            let reading = self.readings.join(key, before);
            let read = reading.result(|| self.read(&mounted, key, before, &elsewhere)).await;
            if self.changes_of(key) == before {
                let Read { value, position } = read?;
                return Some(DiskCopy { value, position, _reading: Some(reading) });
            }
        }
        None
    }

    async fn read(
        &self,
        mounted: &Mounted,
        key: &[u8],
        before: u32,
        elsewhere: &impl Fn() -> bool,
    ) -> Option<Read> {
        if !mounted.may_contain(key) || elsewhere() {
            return None;
        }
        self.metrics.disk.reads.inc();
        let read = tokio::time::timeout(LOAD_WAIT, mounted.load(key)).await;
        if self.changes_of(key) != before {
            return None; // whatever was read is not asked for: it may be half overwritten
        }
        let Loaded { value, old } = self.counted(mounted, read.unwrap_or(Err(ReadError::Io)))?;
        let position = if old && self.hot.seen_before(mounted.hash(key)) {
            let (key, value) = (Bytes::copy_from_slice(key), value.clone());
            let position = self.wear.position();
            if self.write_again(key, value, before, None) { position } else { 0 }
        } else {
            self.wear.position_of(old)
        };
        Some(Read { value, position })
    }

    /// Counts what went wrong with a read; too often in a row makes the disk suspect.
    fn counted(
        &self,
        mounted: &Mounted,
        read: Result<Option<Loaded>, ReadError>,
    ) -> Option<Loaded> {
        match read {
            Ok(loaded) => {
                mounted.failed_reads.store(0, Ordering::Relaxed);
                loaded
            }
            Err(ReadError::Damaged) => {
                self.metrics.disk.corrupt.inc();
                None
            }
            Err(ReadError::Io) => {
                self.metrics.disk.read_errors.inc();
                if mounted.failed_reads.fetch_add(1, Ordering::Relaxed) + 1 == READ_FAILURES {
                    mounted.suspect.notify_one();
                }
                None
            }
        }
    }

    /// Writes a copy that is asked for, and whose block will go, to the disk's young end: if there
    /// is plenty of room, it has not changed since `before`, and not too much is written again.
    pub(super) fn write_again(
        &self,
        key: Bytes,
        value: Bytes,
        before: u32,
        on_disk: Option<OnDisk>,
    ) -> bool {
        let size = entry::size_on_disk(&key, &value);
        if !self.may_write_again(size) {
            return false;
        }
        let pages = u32::try_from(size / geometry::PAGE).unwrap_or(u32::MAX);
        let Ok(room) = self.room.clone().try_acquire_many_owned(pages) else { return false };
        let mut state = self.state.lock();
        let unchanged = state.takes_puts()
            && self.changes_of(&key) == before
            && matches!(state.pending.get(&key), Waiting::Unknown);
        if !unchanged || !self.hot.spend(size) {
            return false;
        }
        self.changed(&key);
        state.pending.queue(key, value, size, on_disk.into_iter().collect(), room);
        drop(state);
        self.metrics.disk.rewritten.inc();
        self.work.notify_one();
        true
    }

    /// Whether [`Self::write_again`] has any prospects for `size` bytes.
    pub(super) fn may_write_again(&self, size: usize) -> bool {
        let pages = self.geometry.flush_buffer / geometry::PAGE * PENDING_BUFFERS;
        self.config.keep_hot
            && size <= self.geometry.max_entry
            && self.hot.affords(size)
            && self.room.available_permits() >= pages / 2 + size / geometry::PAGE
    }

    /// Forgets `key` and returns who waits to hear of it.
    pub(super) fn forget(&self, key: &[u8]) -> Vec<OnDisk> {
        let mut state = self.state.lock();
        self.changed(key);
        state.forget(key)
    }

    /// Takes the store out: no lookups, nothing that waits is kept.
    pub(super) fn take_out(&self, now: DiskState, reason: Option<String>) -> Vec<OnDisk> {
        let mut state = self.state.lock();
        if now == DiskState::Failed && state.now != DiskState::Failed {
            self.metrics.disk.failures.inc(); // once, however often it is tried again
        }
        state.now = now;
        state.reason = reason;
        state.mounted = None;
        self.metrics.disk.ready.set(0);
        self.metrics.disk.pending_bytes.set(0);
        state.pending.abandon()
    }

    fn change_slot(&self, key: &[u8]) -> Option<&AtomicU32> {
        let hash = twox_hash::XxHash3_64::oneshot(key) as usize;
        self.changes.get(hash % CHANGE_SLOTS)
    }

    /// How often `key` changed, or others that are counted with it.
    pub(super) fn changes_of(&self, key: &[u8]) -> u32 {
        self.change_slot(key).map_or(0, |slot| slot.load(Ordering::Acquire))
    }

    /// To be called with every change, under the lock.
    fn changed(&self, key: &[u8]) {
        if let Some(slot) = self.change_slot(key) {
            slot.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Who waits for room to put a value.
struct Waiter<'a> {
    shared: &'a Shared,
    key: Bytes,
    number: u64,
}

impl Waiter<'_> {
    fn is_the_newest(&self, state: &State) -> bool {
        state.waiting.get(&self.key) == Some(&self.number)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if self.is_the_newest(&state) {
            state.waiting.remove(&self.key);
        }
    }
}

impl State {
    fn takes_puts(&self) -> bool {
        !self.closing && matches!(self.now, DiskState::Recovering | DiskState::Ready)
    }

    pub(super) fn forget(&mut self, key: &[u8]) -> Vec<OnDisk> {
        self.waiting.remove(key);
        let told = self.pending.remove(key);
        match &self.mounted {
            Some(mounted) => mounted.delete(key),
            None => self.pending.forget_later(key),
        }
        told
    }
}
