//! The one task that writes the disk, and the one that hangs the store in and takes it out.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::cache::disk::directory::{Directory, DirectoryError};
use crate::cache::disk::entry::DiskValue;
use crate::cache::disk::ledger::Ledger;
use crate::cache::disk::pending::{Next, Settled};
use crate::cache::disk::store::{Mounted, OpenError};
use crate::cache::disk::{DiskState, OnDisk, READ_FAILURES, Shared, scan, tell};
use crate::clock::monotonic_ms;

/// First wait before a failed or locked disk is tried again; doubled each time.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_mins(1);
/// Having served for so long, the next failure is a new one.
const SERVED_WELL_MS: u64 = 60_000;
/// A batch that takes longer hangs.
const WRITE_WAIT: Duration = Duration::from_secs(30);
/// Entries forgotten under one lock.
const DELETED_AT_ONCE: usize = 64;
/// What must fit before a disk that failed is tried again, in bytes.
const PROBE: usize = 1 << 20;

/// Why the disk is not served.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{missing} entries could not be written ({cause})")]
    Write { missing: u64, cause: String },
    #[error("a write takes longer than {} s", WRITE_WAIT.as_secs())]
    Hung,
    #[error("{READ_FAILURES} reads failed in a row")]
    Reads,
    #[error("the disk could not be emptied: {0}")]
    Destroy(foyer::Error),
    #[error("a block could not be looked up or emptied: {0}")]
    Block(std::io::Error),
    #[error("a background task ended: {0}")]
    Panicked(tokio::task::JoinError),
}

/// Opens, serves, takes out and tries again until [`super::Disk::close`].
pub(super) async fn supervise(shared: Arc<Shared>, claimed: Option<Arc<Directory>>) {
    // Declared first, so that it speaks last, when the lock file is free again. (Parameters are
    // dropped later still.)
    let _ended = Ended(shared.clone());
    let mut directory = claimed;
    let mut closing = shared.closing.subscribe();
    let mut wait = RETRY_FIRST;
    let mut failed_before = false;
    loop {
        let began = monotonic_ms();
        let attempt = serve(&shared, &mut directory, failed_before, closing.clone());
        let Err(failure) = attempt.await else { return };
        if monotonic_ms().saturating_sub(began) > SERVED_WELL_MS {
            wait = RETRY_FIRST;
        }
        let reason = failure.to_string();
        let locked = matches!(failure, Failure::Directory(DirectoryError::Locked(_)));
        let now = if locked { DiskState::Off } else { DiskState::Failed };
        let first = shared.state.lock().reason.as_ref() != Some(&reason);
        failed_before |= !locked;
        if first {
            let dir = shared.config.dir.display();
            tracing::warn!(%dir, %reason, "running from memory without the disk cache");
        }
        tell(shared.take_out(now, Some(reason)), false);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = closing.wait_for(|closing| *closing) => return,
        }
        wait = (wait * 2).min(RETRY_LAST);
    }
}

/// One life of the store, from looking at the directory to its end.
async fn serve(
    shared: &Arc<Shared>,
    directory: &mut Option<Arc<Directory>>,
    failed_before: bool,
    mut closing: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let opened = tokio::select! {
        opened = open(shared, directory, failed_before) => opened?,
        _ = closing.wait_for(|closing| *closing) => return Ok(()),
    };
    // Tasks of their own: foyer panics on poisoned locks, and that must not end this one.
    let writer = tokio::spawn({
        let (shared, mounted) = (shared.clone(), opened.clone());
        let blocks = directory.as_ref().map(|directory| directory.blocks().to_owned());
        async move {
            hang_in(&shared, &mounted).await?;
            write(&shared, &mounted, &blocks.unwrap_or_default()).await
        }
    });
    let mut end = writer.await.unwrap_or_else(|panicked| Err(Failure::Panicked(panicked)));
    if let Err(failure) = &mut end {
        find_cause(failure, directory.as_ref()).await;
        // No more lookups before the files are closed; what waits is told by the caller.
        shared.state.lock().mounted = None;
    }
    let dismantled = opened.dismantle();
    drop(opened);
    if let Err(failure) = &end {
        tell(shared.take_out(DiskState::Failed, Some(failure.to_string())), false);
        // Reopened while an old write is still under way, the new store would be overwritten.
        tokio::select! {
            _ = dismantled => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    } else {
        shared.state.lock().mounted = None;
        let _ = tokio::time::timeout(Duration::from_secs(1), dismantled).await;
    }
    end
}

async fn open(
    shared: &Arc<Shared>,
    directory: &mut Option<Arc<Directory>>,
    failed_before: bool,
) -> Result<Arc<Mounted>, Failure> {
    let claimed = directory.clone();
    let looked = tokio::task::spawn_blocking({
        let shared = shared.clone();
        move || {
            let directory = if let Some(directory) = claimed {
                directory
            } else {
                let claimed = Directory::claim(&shared.config.dir)?;
                claimed.forget_purges();
                Arc::new(claimed)
            };
            if failed_before {
                directory.probe(PROBE.min(shared.geometry.flush_buffer))?;
            }
            let scan = directory.prepare(&shared.config, &shared.geometry)?;
            Ok::<_, DirectoryError>((directory, scan))
        }
    });
    let (claimed, scan) = looked.await.map_err(Failure::Panicked)??;
    *directory = Some(claimed.clone());
    {
        let mut state = shared.state.lock();
        if !state.closing {
            state.now = DiskState::Recovering;
        }
    }
    let hasher = claimed.hasher();
    let blocks = claimed.blocks();
    let max_objects = shared.config.max_objects.unwrap_or(u64::MAX);
    let ledger = Ledger::new(scan.blocks, max_objects, shared.wear.clone());
    Ok(Mounted::open(blocks, &shared.geometry, hasher, ledger, &shared.metrics).await?)
}

/// Deletes what was deleted while there was no store, then lets everybody see this one.
async fn hang_in(shared: &Shared, mounted: &Arc<Mounted>) -> Result<(), Failure> {
    loop {
        if shared.state.lock().pending.forgot_all() {
            mounted.destroy().await.map_err(Failure::Destroy)?;
            shared.state.lock().pending.forgot_nothing();
        }
        let forgotten = {
            let mut state = shared.state.lock();
            let forgotten = state.pending.take_forgotten();
            if forgotten.is_empty() && !state.pending.forgot_all() {
                if !state.closing {
                    state.mounted = Some(mounted.clone());
                    state.now = DiskState::Ready;
                    state.reason = None;
                    shared.metrics.disk.ready.set(1);
                    let dir = shared.config.dir.display();
                    tracing::info!(%dir, objects = mounted.ledger.objects(), "disk cache ready");
                }
                return Ok(());
            }
            forgotten
        };
        for key in forgotten {
            mounted.delete(&key);
        }
    }
}

/// A batch on its way: keys and the bytes they take.
#[derive(Default)]
struct Batch {
    keys: Vec<(Bytes, usize)>,
    bytes: usize,
}

/// Writes batch after batch until closing, or until something fails.
async fn write(shared: &Arc<Shared>, mounted: &Arc<Mounted>, blocks: &Path) -> Result<(), Failure> {
    loop {
        if mounted.failed_reads.load(Ordering::Relaxed) >= READ_FAILURES {
            return Err(Failure::Reads);
        }
        let before = shared.metrics.disk.overflows();
        let batch = mounted.at_once({
            let (shared, mounted) = (shared.clone(), mounted.clone());
            move || fill(&shared, &mounted)
        });
        let batch = batch.await.map_err(Failure::Panicked)?;
        if batch.keys.is_empty() {
            if *shared.closing.borrow() {
                let closed = tokio::time::timeout(WRITE_WAIT, mounted.close()).await;
                return closed.map(drop).map_err(|_| Failure::Hung);
            }
            tokio::select! {
                () = shared.work.notified() => {}
                () = mounted.suspect.notified() => {}
            }
            continue;
        }
        written(mounted).await?;
        settle(shared, mounted, batch, shared.metrics.disk.overflows() - before)?;
        look_up_full(shared, mounted, blocks).await?;
        empty_surplus(shared, mounted, blocks).await?;
    }
}

async fn written(mounted: &Mounted) -> Result<(), Failure> {
    tokio::time::timeout(WRITE_WAIT, mounted.written()).await.map_err(|_| Failure::Hung)
}

/// Looks up what the blocks hold that have become full.
async fn look_up_full(shared: &Shared, mounted: &Mounted, blocks: &Path) -> Result<(), Failure> {
    for block in mounted.ledger.unknown() {
        let content = on_block(shared, blocks, block, scan::content_of).await?;
        mounted.ledger.know(block, content);
    }
    Ok(())
}

/// Forgets the oldest blocks' entries while there are more than there may be: foyer's index lies in
/// memory. Killed in between, the next start empties these blocks first.
async fn empty_surplus(
    shared: &Arc<Shared>,
    mounted: &Arc<Mounted>,
    blocks: &Path,
) -> Result<(), Failure> {
    while let Some(block) = mounted.ledger.surplus() {
        let mut hashes = on_block(shared, blocks, block, scan::hashes_of).await?;
        mounted.ledger.only_in(block, &mut hashes);
        for some in hashes.chunks(DELETED_AT_ONCE) {
            let _state = shared.state.lock();
            for hash in some {
                mounted.delete_hash(*hash);
            }
        }
        written(mounted).await?;
        on_block(shared, blocks, block, |path, _| scan::empty_block(path)).await?;
        mounted.ledger.emptied(block);
        shared.metrics.disk.emptied.inc();
    }
    Ok(())
}

async fn on_block<T: Send + 'static>(
    shared: &Shared,
    blocks: &Path,
    block: u32,
    work: fn(&Path, usize) -> std::io::Result<T>,
) -> Result<T, Failure> {
    let (path, size) = (scan::block_path(blocks, block as usize), shared.geometry.block);
    let done = tokio::task::spawn_blocking(move || work(&path, size)).await;
    done.map_err(Failure::Panicked)?.map_err(Failure::Block)
}

/// Hands foyer what fits one flush buffer.
fn fill(shared: &Shared, mounted: &Mounted) -> Batch {
    let mut batch = Batch::default();
    loop {
        let room = shared.geometry.flush_buffer.saturating_sub(batch.bytes);
        let next = shared.state.lock().pending.next(room, batch.keys.is_empty());
        match next {
            Next::Write { key, value, size } => {
                let value = DiskValue::new(&key, value); // sums it up: not under the lock
                let state = shared.state.lock();
                if state.pending.is_flying(&key) {
                    mounted.enqueue(key.clone(), value);
                }
                drop(state);
                batch.bytes += size;
                batch.keys.push((key, size));
            }
            Next::Flush(told) => drop(told.send(())),
            Next::Full | Next::Nothing => return batch,
        }
    }
}

/// Asks foyer's index for every entry of the batch, and tells who waits.
fn settle(
    shared: &Shared,
    mounted: &Mounted,
    batch: Batch,
    overflowed: u64,
) -> Result<(), Failure> {
    let counts = &shared.metrics.disk;
    let mut missing: u64 = 0;
    let mut on_disk = Vec::with_capacity(batch.keys.len());
    for (key, size) in batch.keys {
        let (told, written): (Vec<OnDisk>, bool) = {
            let mut state = shared.state.lock();
            match state.pending.settle(&key) {
                Settled::Newest(told) => (told, mounted.may_contain(&key)),
                Settled::Deleted(told) => {
                    drop(state);
                    tell(told, false);
                    continue;
                }
                Settled::Replaced => continue,
            }
        };
        if written {
            counts.written.inc();
            on_disk.push((mounted.hash(&key), size));
        } else {
            missing += 1;
        }
        tell(told, written);
    }
    mounted.ledger.wrote(on_disk);
    let waiting = shared.state.lock().pending.bytes();
    counts.pending_bytes.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    // Our bounds leave nothing for foyer to drop; should it do so, the rest is well.
    let missing = missing.saturating_sub(overflowed);
    if missing == 0 {
        return Ok(());
    }
    counts.write_errors.add(missing);
    Err(Failure::Write { missing, cause: String::new() })
}

/// foyer only logs why a write failed: one of ours tells.
async fn find_cause(failure: &mut Failure, directory: Option<&Arc<Directory>>) {
    let Failure::Write { cause, .. } = failure else { return };
    let Some(directory) = directory.cloned() else { return };
    let probed = tokio::task::spawn_blocking(move || directory.probe(PROBE)).await;
    *cause = match probed {
        Ok(Err(error)) => error.to_string(),
        Ok(Ok(())) | Err(_) => "see foyer's messages".into(),
    };
}

/// Says that the supervisor ended, however it did.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        let told = self.0.take_out(DiskState::Off, None);
        tell(told, false);
        self.0.ended.send_replace(true);
    }
}
