//! The disk tier: bytes by key, kept over a restart, on foyer's block store.
//!
//! - [`Disk`]: what the rest of the house sees; cheap to clone, usable from every worker.
//! - `geometry`: capacity and block size that foyer does not panic on.
//! - `directory`: lock file, geometry marker, surplus files.
//! - `entry`: key and value as foyer writes them, with a checksum over both.
//! - `engine`: foyer's own counters as ours, and the order in which its blocks are evicted.
//! - `hot`: which copies are written again before their block goes.
//! - `scan`: what block files begin with, read without foyer.
//! - `ledger`: what the disk holds, block by block, oldest first; which copies are old.
//! - `terms`: what it is opened with, and what it says of itself.
//! - `store`: foyer's `Store` on a runtime of its own, opened and taken down as one.
//! - `pending`: what waits to be written; asked before the disk.
//! - `reading`: one read for all who look up a key at the same time.
//! - `shared`: the steps behind [`Disk`].
//! - `writer`: the one task that writes, and the one that hangs the store in and takes it out.
//!
//! foyer drops, revives and forgets without a word (`PITFALLS.md` 1-22). What is done about it:
//!
//! - One task writes, at most one flush buffer at a time, waits until foyer is done, and then asks
//!   foyer's index for every entry of the batch: only what the index knows is *on disk*. Failed
//!   and dropped writes never get that far, so nothing needs to be trusted. (foyer does not let
//!   other crates wrap its I/O engine: the types in that trait's signatures are not exported.)
//! - A store that replaces a copy deletes it first: a dropped write leaves a miss.
//! - Blocks are evicted strictly in the order in which they were written, over restarts too, so a
//!   newer copy always outlives the older one that recovery would otherwise bring back.
//! - A failed write takes the store out; it is opened anew, for foyer's view of the current block
//!   is wrong from then on.
//!
//! [`Disk::delete`] holds while the process lives. What must not come back after a restart needs
//! a record in the invalidation log as well.

mod directory;
mod engine;
mod entry;
mod geometry;
mod hot;
mod ledger;
mod pending;
mod reading;
mod scan;
mod shared;
mod store;
mod terms;
mod writer;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};

use crate::cache::disk::directory::Directory;
use crate::cache::disk::geometry::Geometry;
use crate::cache::disk::hot::Hot;
use crate::cache::disk::ledger::Wear;
use crate::cache::disk::pending::{Pending, Waiting};
use crate::cache::disk::reading::{Reader, Readings};
use crate::cache::disk::store::Mounted;
use crate::config::memory::FLUSH_BUFFERS;
use crate::observe::metrics::Metrics;

pub use crate::cache::disk::directory::DirectoryError;
pub use crate::cache::disk::geometry::GeometryError;
pub use crate::cache::disk::terms::{DiskConfig, DiskState, Put};

/// Told once whether an entry is on disk: `true` when it, or a newer copy of the same key, is
/// known to be there (so that no older one can come back), `false` when it was dropped or deleted.
pub type OnDisk = Box<dyn FnOnce(bool) + Send>;

/// How many buffers' worth of entries may wait for the writer; foyer has two more.
const PENDING_BUFFERS: usize = FLUSH_BUFFERS as usize - 2;
/// A read that takes longer is given up: the origin is likely faster.
const LOAD_WAIT: Duration = Duration::from_secs(2);
/// So many failed reads in a row take the store out.
const READ_FAILURES: u32 = 8;
/// Slots that count changes by key, to notice those that pass during a read.
const CHANGE_SLOTS: usize = 16 * 1024;
/// So often a key is read while it seems to change. A writer of 1 GiB/s in segments changes some
/// hundred slots while one is read: each time one in a hundred is thought to be changed that is not.
const READ_TRIES: usize = 5;

/// A value that was found, and about where its copy was written: see [`Disk::old_before`].
///
/// Whoever looks up the same key meanwhile shares the read, until this is dropped: hold it until
/// the value is where it is found without the disk.
pub struct DiskCopy<'a> {
    /// The value.
    pub value: Bytes,
    /// The smaller, the older.
    pub position: u64,
    _reading: Option<Reader<'a>>,
}

/// The disk tier. Clones are one and the same.
#[derive(Clone)]
pub struct Disk {
    shared: Option<Arc<Shared>>,
}

/// What callers, writer and supervisor share.
struct Shared {
    config: DiskConfig,
    geometry: Geometry,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    /// Pages (4 KiB) free for waiting entries.
    room: Arc<Semaphore>,
    /// Wakes the writer.
    work: Notify,
    /// Set once by [`Disk::close`].
    closing: watch::Sender<bool>,
    /// Set when the supervisor has ended.
    ended: watch::Sender<bool>,
    changes: Box<[AtomicU32]>,
    wear: Arc<Wear>,
    hot: Hot,
    /// The reads under way.
    readings: Readings,
}

/// Everything behind the one lock. foyer numbers an entry before it queues it: whatever enqueues
/// or deletes in the store holds this lock, so that both are one step.
struct State {
    now: DiskState,
    /// Why it is not ready, for people.
    reason: Option<String>,
    pending: Pending,
    mounted: Option<Arc<Mounted>>,
    /// Who waits for room to put a value, by its key: the newest of them.
    waiting: HashMap<Bytes, u64>,
    /// How many have waited.
    waiters: u64,
    /// No more puts: [`Disk::close`] was called.
    closing: bool,
}

/// A cache directory that belongs to this process: what else is kept in it may be opened.
pub struct Claim(Arc<Directory>);

impl Claim {
    /// Makes the directory if need be and takes it for this process. Blocks on the disk.
    ///
    /// # Errors
    /// It cannot be written, or another process has it.
    pub fn take(dir: &Path) -> Result<Self, DirectoryError> {
        Directory::claim(dir).map(|directory| Self(Arc::new(directory)))
    }
}

impl Disk {
    /// Opens the disk tier. Returns at once: the directory is looked at and foyer recovers on
    /// `back_room`, and entries stored meanwhile wait. Without a usable directory it stays off and
    /// tries again from time to time.
    pub fn open(
        config: DiskConfig,
        metrics: Arc<Metrics>,
        back_room: &tokio::runtime::Handle,
    ) -> Self {
        Self::open_claimed(config, None, metrics, back_room)
    }

    /// The same in a directory that was claimed before. Without a claim, one is tried for; when
    /// that succeeds later, the purge log found there is thrown away: this process has kept its
    /// purges elsewhere, and without a log all that is stored is validated after the next start.
    pub fn open_claimed(
        config: DiskConfig,
        claim: Option<Claim>,
        metrics: Arc<Metrics>,
        back_room: &tokio::runtime::Handle,
    ) -> Self {
        let geometry = match Geometry::choose(&config, geometry::descriptor_limit()) {
            Ok(geometry) => geometry,
            Err(error) => {
                tracing::warn!(%error, dir = %config.dir.display(), "no disk tier");
                return Self::off();
            }
        };
        let pages = geometry.flush_buffer / geometry::PAGE * PENDING_BUFFERS;
        let shared = Arc::new(Shared {
            geometry,
            metrics,
            state: Mutex::new(State {
                now: DiskState::Recovering,
                reason: None,
                pending: Pending::default(),
                mounted: None,
                waiting: HashMap::new(),
                waiters: 0,
                closing: false,
            }),
            room: Arc::new(Semaphore::new(pages)),
            work: Notify::new(),
            closing: watch::Sender::new(false),
            ended: watch::Sender::new(false),
            changes: (0..CHANGE_SLOTS).map(|_| AtomicU32::new(0)).collect(),
            readings: Readings::default(),
            wear: Arc::default(),
            hot: Hot::new(geometry.capacity as u64),
            config,
        });
        let directory = claim.map(|Claim(directory)| directory);
        back_room.spawn(writer::supervise(shared.clone(), directory));
        Self { shared: Some(shared) }
    }

    /// No disk tier: every lookup misses, every put is [`Put::Off`].
    pub fn off() -> Self {
        Self { shared: None }
    }

    /// What it is doing now.
    pub fn state(&self) -> DiskState {
        self.shared.as_ref().map_or(DiskState::Off, |shared| shared.state.lock().now)
    }

    /// Why it is not ready, in words, if anything went wrong.
    pub fn reason(&self) -> Option<String> {
        self.shared.as_ref().and_then(|shared| shared.state.lock().reason.clone())
    }

    /// The newest value of `key`: what waits to be written, else what is on disk, read once for
    /// all who ask meanwhile. Whatever goes wrong is a miss, and counted. `elsewhere` is asked before
    /// the disk is read: where it is true the value has come to where it is found without the disk,
    /// and this gives none. Dropping it midway leaves nothing behind.
    pub async fn load(&self, key: &[u8], elsewhere: impl Fn() -> bool) -> Option<DiskCopy<'_>> {
        let shared = self.shared.as_ref()?;
        let found = shared.find(key, elsewhere).await;
        match found {
            Some(_) => shared.metrics.disk.hits.inc(),
            None => shared.metrics.disk.misses.inc(),
        }
        found
    }

    /// A number that differs from an earlier one once `key` has been put or deleted since (and now
    /// and then without).
    pub fn changes(&self, key: &[u8]) -> u32 {
        self.shared.as_ref().map_or(0, |shared| shared.changes_of(key))
    }

    /// Where a copy that is written now will be.
    pub fn position(&self) -> u64 {
        self.shared.as_ref().map_or(0, |shared| shared.wear.position())
    }

    /// Copies written before this position are worth writing again when they are asked for: they
    /// are in the older half of a disk that is nearly full. 0 while there is room.
    pub fn old_before(&self) -> u64 {
        self.shared.as_ref().map_or(0, |shared| shared.wear.old_before())
    }

    /// Whether [`Self::put_again`] has any prospects for a value of about `len` bytes. Cheap.
    pub fn takes_again(&self, len: usize) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.may_write_again(len + geometry::PAGE))
    }

    /// Writes what is on disk already to the young end. Refused, with `on_disk` untold, where `key`
    /// has changed since [`Self::changes`] was `before`, when the writer is busy, and when too much
    /// is written again.
    pub fn put_again(
        &self,
        key: Bytes,
        value: Bytes,
        before: u32,
        on_disk: Option<OnDisk>,
    ) -> bool {
        let shared = self.shared.as_ref();
        shared.is_some_and(|shared| shared.write_again(key, value, before, on_disk))
    }

    /// Whether there may be a copy of `key`, on disk or on its way. While the disk is not ready
    /// this is true: what it holds is not known.
    pub fn may_contain(&self, key: &[u8]) -> bool {
        let Some(shared) = &self.shared else { return false };
        let state = shared.state.lock();
        match state.pending.get(key) {
            Waiting::Value(_) => true,
            Waiting::Gone => false,
            Waiting::Unknown => match &state.mounted {
                Some(mounted) => mounted.may_contain(key),
                None => !state.closing && !state.pending.is_forgotten(key),
            },
        }
    }

    /// Stores `value` under `key`, in place of any older copy, which is gone from this call's
    /// first step on, whatever becomes of the rest. Waits for room up to `store_wait`. `on_disk`
    /// is told exactly once, on the back room or here.
    ///
    /// Dropping it midway leaves the key without a copy, and `on_disk` untold.
    pub async fn put(&self, key: Bytes, value: Bytes, on_disk: Option<OnDisk>) -> Put {
        let put = match &self.shared {
            Some(shared) => shared.put(key, value, on_disk).await,
            None => Err((Put::Off, on_disk)),
        };
        match put {
            Ok(()) => Put::Queued,
            Err((put, on_disk)) => {
                if let Some(on_disk) = on_disk {
                    on_disk(false);
                }
                put
            }
        }
    }

    /// Forgets `key` at once, here and in what waits. Not over a restart.
    pub fn delete(&self, key: &[u8]) {
        let Some(shared) = &self.shared else { return };
        tell(shared.forget(key), false);
    }

    /// Waits until everything put so far is on disk or dropped; returns at once when the disk
    /// takes nothing.
    pub async fn flush(&self) {
        let Some(shared) = &self.shared else { return };
        let flushed = {
            let mut state = shared.state.lock();
            match state.now {
                DiskState::Off | DiskState::Failed => return,
                DiskState::Recovering | DiskState::Ready => state.pending.mark_flush(),
            }
        };
        shared.work.notify_one();
        let _ = flushed.await;
    }

    /// Takes no more puts, writes what waits, closes the store; gives up after `deadline`.
    /// What could not be written by then is dropped. Lookups miss from then on.
    pub async fn close(&self, deadline: Duration) {
        let Some(shared) = &self.shared else { return };
        shared.state.lock().closing = true;
        shared.closing.send_replace(true);
        shared.work.notify_one();
        let mut ended = shared.ended.subscribe();
        if tokio::time::timeout(deadline, ended.wait_for(|ended| *ended)).await.is_err() {
            tracing::warn!(?deadline, "the disk tier did not close in time");
        }
        let told = shared.take_out(DiskState::Off, None);
        tell(told, false);
    }

    /// Bytes that those take, whole pages.
    pub fn bytes(&self) -> u64 {
        self.mounted().map_or(0, |mounted| mounted.ledger.bytes())
    }

    /// Entries on disk; replaced ones count until their block goes.
    pub fn objects(&self) -> u64 {
        self.mounted().map_or(0, |mounted| mounted.ledger.objects())
    }

    /// The largest value that can be stored under a key of up to 4 KiB.
    pub fn max_value(&self) -> usize {
        self.shared.as_ref().map_or(0, |shared| shared.geometry.max_entry - geometry::PAGE)
    }

    fn mounted(&self) -> Option<Arc<Mounted>> {
        self.shared.as_ref()?.state.lock().mounted.clone()
    }
}

/// Tells all of `told` whether their entry is on disk. Never under the lock.
fn tell(told: Vec<OnDisk>, on_disk: bool) {
    for told in told {
        told(on_disk);
    }
}

#[cfg(test)]
mod tests;
