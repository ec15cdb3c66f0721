//! What was purged, as a log of positions instead of an index of entries (DESIGN D7).
//!
//! Every record has a *position*, a number that only ever grows. An entry carries the position
//! that the log had when its fetch *began*; records with a larger one apply to it, so that a
//! fill that began before a purge is never taken for newer. An entry also remembers up to which
//! position it was checked: each record costs an entry one look-up, and a hit with no new
//! record is one atomic load.
//!
//! - `terms`: what goes in and out. `record`: a record as bytes. `marks`: what the records come
//!   to. `journal`: the file.
//!
//! Called by `cache::tiers` (verdicts, superseded copies) and `admin` (purges).

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::semantics::tags::Tags;

mod journal;
#[cfg(test)]
mod kill;
mod marks;
mod record;
mod terms;
#[cfg(test)]
mod tests;

use journal::Journal;
use marks::Marks;
use record::{Kind, Record};

pub use terms::{Class, Listed, Matcher, PurgeError, Subject, Ticket, Verdict, What};

/// The log's file in the cache directory.
pub const FILE: &str = "purge.log";
/// Records held at most, by default.
pub const MAX_RECORDS: usize = 100_000;
/// Bytes of live records at most, by default; the file may hold dead ones beside them.
pub const MAX_BYTES: usize = 16 << 20;
/// The longest URL, prefix, host or tag that can be purged, in bytes.
pub const MAX_NAME: usize = 64 << 10;
/// The longest glob, in bytes: each takes a few KiB of memory once it is compiled.
pub const MAX_GLOB: usize = 4 << 10;
/// Globs held at most; over that, their oldest half becomes a floor.
pub const MAX_GLOBS: usize = 1_000;
/// Each opening of the log begins a new range of positions, so that none is given out twice
/// even where the end of the log was lost.
const EPOCH_BITS: u32 = 32;
/// Rounds of catching up with a busy log before a rewriting holds it up.
const CATCH_UP_ROUNDS: usize = 3;

/// The invalidation log. Cheap to clone; clones are the same log.
#[derive(Debug, Clone)]
pub struct PurgeLog {
    log: Arc<Log>,
}

#[derive(Debug)]
struct Log {
    /// The newest record's position, published after the record is in `marks`.
    position: AtomicU64,
    marks: RwLock<Marks>,
    /// `None`: in memory only. Taken before `marks` where both are.
    journal: Option<Mutex<Journal>>,
    /// Up to where the file is known to last.
    synced: Mutex<u64>,
    /// One rewriting at a time; taken after `synced`, before `journal`.
    rewriting: Mutex<()>,
    /// A thread for rewriting has been started.
    rewriter: AtomicBool,
    /// A failure to write was told; the next one is not, until a rewriting mended it.
    told: AtomicBool,
}

impl PurgeLog {
    /// Opens the log at `path`, whose directory is there and locked by this process, or begins
    /// one in memory. Where there was no log, or records of it are lost, all that was stored
    /// before is stale. A log in memory forgets at the end of the process: what is stored
    /// under it must not outlive it.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(
        path: Option<&Path>,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Self, PurgeError> {
        let Some(path) = path else { return Ok(Self::in_memory(max_records, max_bytes)) };
        Self::open_file(path, max_bytes, Marks::new(max_records, max_bytes))
            .map_err(|source| PurgeError::Open { path: path.to_owned(), source })
    }

    /// A log that ends with the process.
    pub fn in_memory(max_records: usize, max_bytes: usize) -> Self {
        let mut marks = Marks::new(max_records, max_bytes);
        let position = next_epoch(0, 0);
        marks.raise_soft_floor(position);
        Self::of(position, marks, None)
    }

    fn open_file(path: &Path, max_bytes: usize, mut marks: Marks) -> io::Result<Self> {
        let replayed = Journal::replay(path, max_bytes as u64, &mut marks)?;
        let position = next_epoch(replayed.newest, replayed.lost);
        if replayed.lost > 0 {
            let path = path.display();
            tracing::error!(%path, lost_bytes = replayed.lost, "purge log damaged: all that is stored is stale");
        }
        let journal = if replayed.found && replayed.lost == 0 {
            let mut journal = Journal::append_to(path, &replayed)?;
            journal.append(&Record { position, what: Kind::Opened })?;
            journal.file().sync_data()?;
            journal
        } else {
            marks.raise_soft_floor(position);
            Journal::create(path, &journal::written(&marks, position))?
        };
        let log = Self::of(position, marks, Some(journal));
        log.log.rewrite_if_wanted();
        Ok(log)
    }

    fn of(position: u64, marks: Marks, journal: Option<Journal>) -> Self {
        let log = Log {
            position: AtomicU64::new(position),
            marks: RwLock::new(marks),
            journal: journal.map(Mutex::new),
            synced: Mutex::new(position),
            rewriting: Mutex::new(()),
            rewriter: AtomicBool::new(false),
            told: AtomicBool::new(false),
        };
        Self { log: Arc::new(log) }
    }

    /// The newest record's position: what a fetch takes at its beginning, and what an entry may
    /// remember as checked if it was asked for *before* the verdict was [`Verdict::Valid`].
    pub fn position(&self) -> u64 {
        self.log.position.load(Ordering::Acquire)
    }

    /// Purges; in force at once, and on disk when this returns. Blocks for the disk: never call
    /// it on a worker.
    ///
    /// # Errors
    /// The name is none that could match anything, or the purge is in force but could not be made
    /// to last.
    pub fn purge(&self, what: &What, soft: bool) -> Result<u64, PurgeError> {
        what.check()?;
        let (position, written) = self.log.append(what.kind(soft));
        let lasting = match written {
            Ok(()) => self.log.sync(position),
            // A new file may be possible where the old one takes no more.
            Err(_) => self.log.rewrite(),
        };
        lasting.map_err(|source| PurgeError::NotDurable { position, source })?;
        self.log.rewrite_if_wanted();
        Ok(position)
    }

    /// What holds for a copy whose fetch began at `fetched_at` and that was found valid up to
    /// `checked_to` (0: never checked).
    pub fn verdict(&self, copy: Subject<'_>, fetched_at: u64, checked_to: u64) -> Verdict {
        let base = fetched_at.max(checked_to);
        if base == self.position() {
            return Verdict::Valid;
        }
        self.log.verdict(base, |marks| marks.verdict(copy, base))
    }

    /// Whether any of the groups that these names stand for ([`key::group`]) has been made void
    /// after `base`, at or after which what belongs to them was fetched.
    ///
    /// [`key::group`]: crate::semantics::key::group
    pub fn is_void(&self, mut groups: impl Iterator<Item = Vec<u8>>, base: u64) -> bool {
        if base == self.position() {
            return false;
        }
        let marks = self.log.marks.read();
        groups.any(|name| marks.is_void(&name, base))
    }

    /// An unsafe method changed what lies at `url` (RFC 9111 §4.4), or what belongs to the group
    /// of that name: a hard purge of it that is
    /// written, so that it outlives `kill -9`, but not synced. Where writing fails it holds in
    /// memory.
    pub fn invalidate(&self, url: &[u8]) {
        let (_, written) = self.log.append(Kind::Purged(Class::Url, url, false));
        if let Err(error) = written {
            self.log.tell(&error);
        }
        self.start_rewriter();
    }

    /// Says that every copy of `key` stored so far is dead, before a newer one is used: written
    /// (so that it outlives `kill -9`), not synced. Where writing fails it holds in memory.
    /// The newer copy's fetch began before this record: it takes [`Ticket::position`] as its
    /// fetch position, if [`Self::admits`] it.
    pub fn supersede(&self, key: &[u8]) -> Ticket {
        let (position, written) = self.log.append(Kind::Superseded { key });
        if let Err(error) = written {
            self.log.tell(&error);
        }
        self.start_rewriter();
        Ticket { position, key: key.into() }
    }

    /// Whether the copy that superseded others under this ticket, whose fetch began at
    /// `fetched_at` and that has these tags, was itself purged meanwhile.
    pub fn admits(&self, ticket: &Ticket, tags: &Tags, fetched_at: u64) -> Verdict {
        self.purged(Subject { key: &ticket.key, tags }, fetched_at)
    }

    /// The same of any copy: what purges say of it, newer copies of its key aside.
    pub fn purged(&self, copy: Subject<'_>, fetched_at: u64) -> Verdict {
        if fetched_at == self.position() {
            return Verdict::Valid;
        }
        self.log.verdict(fetched_at, |marks| marks.purged(copy, fetched_at))
    }

    /// The superseding copy is on disk: no older one can come back.
    pub fn retire(&self, ticket: Ticket) {
        let Ticket { position, key } = ticket;
        {
            let mut journal = self.log.journal.as_ref().map(Mutex::lock);
            if let Some(journal) = &mut journal {
                // If it is not written the record only stays longer than it must.
                let _ = journal.append(&Record { position, what: Kind::Retired });
            }
            self.log.marks.write().retire(&key, position);
        }
        self.start_rewriter();
    }

    /// The newest purges, at most `limit`, newest first. The floor of a full, damaged or new log is
    /// listed as a soft purge of everything.
    pub fn records(&self, limit: usize) -> Vec<Listed> {
        let marks = self.log.marks.read();
        let mut newest: Vec<Record<'_>> = marks.live().collect();
        newest.sort_unstable_by_key(|record| std::cmp::Reverse(record.position));
        newest.iter().filter_map(Listed::of).take(limit).collect()
    }

    /// Records held.
    pub fn len(&self) -> usize {
        self.log.marks.read().len()
    }

    /// Whether no record is held; floors are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the file; 0 in memory.
    pub fn file_size(&self) -> u64 {
        self.log.journal.as_ref().map_or(0, |journal| journal.lock().length())
    }

    /// Rewrites in a thread of its own what a worker must not wait for.
    fn start_rewriter(&self) {
        let wanted = |journal: &Mutex<Journal>| journal.lock().wants_rewriting();
        if !self.log.journal.as_ref().is_some_and(wanted)
            || self.log.rewriter.swap(true, Ordering::AcqRel)
        {
            return;
        }
        let log = Arc::clone(&self.log);
        let run = move || {
            log.rewrite_if_wanted();
            log.rewriter.store(false, Ordering::Release);
        };
        if std::thread::Builder::new().name("larder-purge".to_owned()).spawn(run).is_err() {
            self.log.rewriter.store(false, Ordering::Release);
        }
    }
}

impl Log {
    fn verdict(&self, base: u64, ask: impl FnOnce(&Marks) -> Verdict) -> Verdict {
        let marks = self.marks.read();
        // Not one of this log's positions: another log's records are unknown here. Read under
        // the lock, where it is never behind what others have seen.
        if base > self.position.load(Ordering::Acquire) {
            return Verdict::Stale;
        }
        ask(&marks)
    }

    /// Gives the record its position, writes it and puts it in force. It is in force even where
    /// writing fails.
    fn append(&self, what: Kind<'_>) -> (u64, io::Result<()>) {
        let mut journal = self.journal.as_ref().map(Mutex::lock);
        let mut marks = match journal {
            Some(_) => None,
            None => Some(self.marks.write()),
        };
        // One of the two locks is held: nobody else counts up.
        let position = self.position.load(Ordering::Relaxed) + 1;
        let record = Record { position, what };
        let written = journal.as_mut().map_or(Ok(()), |journal| journal.append(&record));
        let marks = marks.get_or_insert_with(|| self.marks.write());
        marks.apply(&record);
        self.position.store(position, Ordering::Release);
        (position, written)
    }

    /// Makes all records up to `position` last. Not under the journal's lock: workers append
    /// meanwhile. One at a time, since the system tells a failed sync to one caller only; who
    /// waited for another's sync may find the own record done.
    fn sync(&self, position: u64) -> io::Result<()> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let mut synced = self.synced.lock();
        if *synced >= position {
            return Ok(());
        }
        let (file, incomplete, newest) = {
            let journal = journal.lock();
            (journal.file(), journal.incomplete(), self.position.load(Ordering::Acquire))
        };
        if incomplete {
            self.rewrite()?;
        } else {
            file.sync_data().inspect_err(|_| journal.lock().doubt())?;
        }
        *synced = newest;
        Ok(())
    }

    fn rewrite_if_wanted(&self) {
        if self.journal.as_ref().is_some_and(|journal| journal.lock().wants_rewriting())
            && let Err(error) = self.rewrite()
        {
            self.tell(&error);
        }
    }

    /// Writes the log anew without what is dead, in a file that takes the old one's place.
    fn rewrite(&self) -> io::Result<()> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let _one = self.rewriting.lock();
        let (path, content) = {
            let mut journal = journal.lock();
            let path = journal.begin_rewriting();
            let position = self.position.load(Ordering::Acquire);
            (path, journal::written(&self.marks.read(), position))
        };
        let done = replace(journal, &path, &content);
        match &done {
            Ok(()) => self.told.store(false, Ordering::Relaxed),
            Err(_) => journal.lock().give_up_rewriting(),
        }
        done
    }

    /// Once for a series of failures: a full disk would fill the log of events, too.
    fn tell(&self, error: &io::Error) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "purge log cannot be written: a restart may forget its newest records");
        }
    }
}

/// Writes the replacement, lets it catch up with what is appended meanwhile, and puts it in place.
fn replace(journal: &Mutex<Journal>, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = journal::write_beside(path, content)?;
    file.sync_data()?;
    let live = content.len() as u64;
    let mut length = live;
    for round in 1.. {
        let mut held = journal.lock();
        let tail = held.take_tail();
        let last = tail.is_empty() || round >= CATCH_UP_ROUNDS;
        let mut waiting = last.then_some(held);
        if !tail.is_empty() {
            file.write_all(&tail)?;
            file.sync_data()?;
            length += tail.len() as u64;
        }
        if let Some(held) = &mut waiting {
            return held.finish_rewriting(file, length, live);
        }
    }
    Ok(())
}

/// The first position of the next range: above all that was found, above what `lost` bytes can
/// have held, and above those of an earlier log that was removed (whence the clock: it only has
/// to be roughly right, and nothing is ordered by it).
fn next_epoch(newest: u64, lost: u64) -> u64 {
    let known = (newest >> EPOCH_BITS) + 1 + lost / record::OVERHEAD as u64;
    let epoch = known.max(crate::clock::now().as_secs());
    epoch.min(u64::from(u32::MAX)) << EPOCH_BITS
}
