//! foyer's `Store`, on a runtime of its own, opened and taken down as one.
//!
//! foyer's tasks hold each other's channels and never end by themselves, and its I/O runs on
//! blocking threads with bare descriptor numbers. So a store that is given up is taken down from
//! below: its runtime ends first, then its files are closed. Were it the other way round, a late
//! write could hit whatever file got the number next.

use std::hash::BuildHasher;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use foyer::{
    Age, BlockEngineConfig, Cache, CacheBuilder, CacheProperties, Compression, Device,
    DeviceBuilder, ErrorKind, FifoConfig, FsDeviceBuilder, Load, PsyncIoEngineConfig, RecoverMode,
    Spawner, Store, StoreBuilder,
};
use parking_lot::Mutex;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinError;

use crate::cache::disk::engine::{OldestFirst, foyer_metrics};
use crate::cache::disk::entry::{DiskKey, DiskValue, Hashed, IndexHasher, Loaded};
use crate::cache::disk::geometry::{BLOB_INDEX, Geometry};
use crate::cache::disk::ledger::Ledger;
use crate::cache::hash::KeyedHasher;
use crate::observe::metrics::Metrics;

/// Reads and writes under way at once; each is a thread.
const IO_THREADS: usize = 32;
/// How long I/O under way may take before its files are left open for ever.
const DISMANTLE_WAIT: Duration = Duration::from_mins(10);
/// Shards of foyer's view of what is being written.
const SHARDS: usize = 8;

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("no thread for the disk's runtime")]
    Runtime(#[source] std::io::Error),
    #[error("the disk store could not be opened: {0}")]
    Store(String),
}

/// Why a read gave nothing although the index knows the key.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The disk did not give the bytes.
    Io,
    /// It gave others than were written.
    Damaged,
}

/// An open store.
pub(super) struct Mounted {
    store: Store<DiskKey, DiskValue, IndexHasher, CacheProperties>,
    /// Makes the pieces that foyer's queue takes; holds nothing for longer than a batch.
    staging: Cache<DiskKey, DiskValue, IndexHasher, CacheProperties>,
    pub(super) ledger: Arc<Ledger>,
    hasher: IndexHasher,
    /// Reads that failed since one went well.
    pub(super) failed_reads: AtomicU32,
    /// Wakes the writer when there were too many.
    pub(super) suspect: Notify,
    runtime: Handle,
    body: Mutex<Option<Body>>,
}

impl Mounted {
    /// Opens the store in `dir` and waits until foyer has recovered.
    pub(super) async fn open(
        dir: &Path,
        geometry: &Geometry,
        hasher: KeyedHasher,
        ledger: Ledger,
        metrics: &Arc<Metrics>,
    ) -> Result<Arc<Self>, OpenError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1) // see Mounted::at_once
            .max_blocking_threads(IO_THREADS)
            .thread_name("larder-disk")
            .enable_all()
            .build()
            .map_err(OpenError::Runtime)?;
        let failed = |error: foyer::Error| OpenError::Store(error.to_string());
        let handle = runtime.handle().clone();
        // Every exit from here on ends the runtime on a thread that may wait.
        let mut body = Body { runtime: Some(runtime), device: None };
        let device = FsDeviceBuilder::new(dir).with_capacity(geometry.capacity);
        let device = device.build().map_err(failed)?;
        body.device = Some(device.clone());

        let hasher = IndexHasher(hasher);
        let ledger = Arc::new(ledger);
        let recovering = Arc::new(AtomicBool::new(true));
        let order = OldestFirst::new(ledger.clone(), recovering.clone());
        let engine = BlockEngineConfig::new(device)
            .with_block_size(geometry.block)
            .with_blob_index_size(BLOB_INDEX)
            .with_buffer_pool_size(geometry.flush_buffer)
            // Our own bound is one buffer; foyer's would drop without a word.
            .with_submit_queue_size_threshold(usize::MAX / 2)
            .with_flushers(1)
            .with_reclaimers(1)
            .with_clean_block_threshold(1)
            .with_eviction_pickers(vec![Box::new(order)])
            .with_tombstone_log(false);
        let metrics = foyer_metrics(metrics);
        let staging = CacheBuilder::new(SHARDS)
            .with_shards(SHARDS)
            .with_eviction_config(FifoConfig::default())
            .with_hash_builder(hasher.clone())
            .build();
        let builder = StoreBuilder::new("larder", staging.clone(), metrics)
            .with_io_engine_config(PsyncIoEngineConfig::new())
            .with_engine_config(engine)
            .with_compression(Compression::None)
            .with_recover_mode(RecoverMode::Quiet)
            .with_spawner(Spawner::from(handle.clone()));
        // A task of its own: foyer unwraps on its way.
        let built = handle.spawn(builder.build()).await;
        let store = match built {
            Ok(built) => built.map_err(failed)?,
            Err(panicked) => return Err(OpenError::Store(panicked.to_string())),
        };
        recovering.store(false, Ordering::Release);
        ledger.opened();
        Ok(Arc::new(Self {
            store,
            staging,
            ledger,
            hasher,
            failed_reads: AtomicU32::new(0),
            suspect: Notify::new(),
            runtime: handle,
            body: Mutex::new(Some(body)),
        }))
    }

    /// Whether the index, or what is being written, knows `key`. True for another key of the same
    /// hash, too.
    pub(super) fn may_contain(&self, key: &[u8]) -> bool {
        self.store.may_contains(key)
    }

    /// Forgets `key`. Only under the state's lock, or while nobody else knows the store.
    pub(super) fn delete(&self, key: &[u8]) {
        if self.may_contain(key) {
            self.store.delete(key);
        }
    }

    /// Forgets whatever has this hash. Only under the state's lock.
    pub(super) fn delete_hash(&self, hash: u64) {
        self.store.delete(&Hashed(hash));
    }

    /// What the index finds `key` by.
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Hands an entry to foyer; an older copy is deleted first. Only under the state's lock.
    pub(super) fn enqueue(&self, key: Bytes, value: DiskValue) {
        self.delete(&key);
        let entry = self.staging.insert(DiskKey(key), value);
        self.store.enqueue(entry.piece(), true);
    }

    /// Runs `enqueue` so that foyer writes all that it enqueues as one batch. It runs on the only
    /// thread that runs foyer's flusher, which therefore sees nothing of it before it has ended.
    ///
    /// In two parts, the second would be written where the first should have ended, even if the
    /// first failed: over entries that are known to be on disk.
    pub(super) async fn at_once<T: Send + 'static>(
        &self,
        enqueue: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        self.runtime.spawn(async { enqueue() }).await
    }

    /// Waits until foyer has dealt with all that was enqueued.
    pub(super) async fn written(&self) {
        self.store.wait().await;
        self.staging.clear();
    }

    /// Reads `key`. Dropping it midway leaves nothing behind.
    pub(super) async fn load(&self, key: &[u8]) -> Result<Option<Loaded>, ReadError> {
        if !self.may_contain(key) {
            return Ok(None);
        }
        let (value, old) = match self.store.load(key).await {
            Ok(Load::Entry { value, populated, .. }) => (value, populated.age == Age::Old),
            Ok(Load::Piece { piece, .. }) => (piece.value().clone(), false),
            Ok(Load::Throttled) => return Ok(None),
            // foyer takes what does not check out from its index and calls it a miss; another
            // key of the same hash stays there.
            Ok(Load::Miss) if self.may_contain(key) => return Ok(None),
            Ok(Load::Miss) => return Err(ReadError::Damaged),
            Err(error) => {
                return Err(match error.kind() {
                    ErrorKind::Parse
                    | ErrorKind::OutOfRange
                    | ErrorKind::MagicMismatch
                    | ErrorKind::ChecksumMismatch => ReadError::Damaged,
                    _ => ReadError::Io,
                });
            }
        };
        value.checked(key).map_or(Err(ReadError::Damaged), |value| Ok(Some(Loaded { value, old })))
    }

    /// Empties the disk.
    pub(super) async fn destroy(&self) -> foyer::Result<()> {
        self.ledger.clear();
        self.store.destroy().await
    }

    /// Closes foyer's side: it flushes and takes nothing more.
    pub(super) async fn close(&self) -> foyer::Result<()> {
        self.store.close().await
    }

    /// Ends the runtime, then closes the files. The receiver hears when no read or write is under
    /// way any more; never, when one hangs.
    pub(super) fn dismantle(&self) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        match self.body.lock().take() {
            Some(body) => body.dismantle(Some(tell)),
            None => drop(tell.send(())),
        }
        told
    }
}

/// What a store stands on.
struct Body {
    runtime: Option<Runtime>,
    device: Option<Arc<dyn Device>>,
}

impl Body {
    fn dismantle(mut self, tell: Option<oneshot::Sender<()>>) {
        Self::end(self.runtime.take(), self.device.take(), tell);
    }

    fn end(
        runtime: Option<Runtime>,
        device: Option<Arc<dyn Device>>,
        tell: Option<oneshot::Sender<()>>,
    ) {
        let Some(runtime) = runtime else { return };
        // The thread has its own handle on the files: should it not start, ours is never closed.
        let files = std::mem::ManuallyDrop::new(device.clone());
        let spawned = std::thread::Builder::new().name("larder-disk-end".into()).spawn(move || {
            let began = Instant::now();
            runtime.shutdown_timeout(DISMANTLE_WAIT);
            if began.elapsed() < DISMANTLE_WAIT {
                drop(device);
                if let Some(tell) = tell {
                    let _ = tell.send(());
                }
            } else {
                std::mem::forget(device);
            }
        });
        if spawned.is_ok() {
            drop(std::mem::ManuallyDrop::into_inner(files));
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        Self::end(self.runtime.take(), self.device.take(), None);
    }
}
