//! The log's file: appended to, replayed when opened, rewritten when it is mostly dead.
//!
//! What is written survives `kill -9` of the process at once and a loss of power once synced.
//! The caller holds the lock of the directory: one process writes the file.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::marks::Marks;
use super::record::{Kind, MAGIC, OVERHEAD, Read, Record};

/// A smaller file is not worth rewriting.
const REWRITE_ABOVE: u64 = 256 << 10;
/// Files beyond this many times the bound are not ours.
const READ_AT_MOST: u64 = 16;

/// The end of the log's file, where records are appended.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: Arc<File>,
    length: u64,
    /// Rewrite when the file is longer: twice what the last rewriting left.
    rewrite_above: u64,
    /// The file lacks a record, or may: rewrite it before calling anything durable.
    incomplete: bool,
    /// The end of the file could not be mended: append nothing before it is rewritten.
    broken: bool,
    /// What is appended while a replacement is being written, so that it gets it, too.
    tail: Option<Vec<u8>>,
}

/// What a file was found to hold.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// The newest position in it.
    pub(super) newest: u64,
    /// Bytes that were no records: an unknown number of records is lost.
    pub(super) lost: u64,
    /// Bytes of the file that are whole records.
    sound: u64,
    /// There was a file.
    pub(super) found: bool,
}

impl Journal {
    /// Reads the records of `path` into `marks`.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub(super) fn replay(path: &Path, max_bytes: u64, marks: &mut Marks) -> io::Result<Replayed> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Replayed::default());
            }
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        if length > max_bytes.max(1 << 20).saturating_mul(READ_AT_MOST) {
            return Ok(Replayed { lost: length, found: true, ..Replayed::default() });
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(replay(&bytes, marks))
    }

    /// Opens the file that was replayed, behind its last whole record.
    pub(super) fn append_to(path: &Path, replayed: &Replayed) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).open(path)?;
        if file.metadata()?.len() != replayed.sound {
            file.set_len(replayed.sound)?;
        }
        let rewrite_above = REWRITE_ABOVE.max(replayed.sound.saturating_mul(2));
        Ok(Self::of(path, file, replayed.sound, rewrite_above))
    }

    /// Puts a new file in the place of whatever is there.
    pub(super) fn create(path: &Path, content: &[u8]) -> io::Result<Self> {
        let file = write_beside(path, content)?;
        file.sync_data()?;
        std::fs::rename(beside(path), path)?;
        sync_directory(path)?;
        let length = content.len() as u64;
        Ok(Self::of(path, file, length, REWRITE_ABOVE.max(length.saturating_mul(2))))
    }

    fn of(path: &Path, file: File, length: u64, rewrite_above: u64) -> Self {
        Self {
            path: path.to_owned(),
            file: Arc::new(file),
            length,
            rewrite_above,
            incomplete: false,
            broken: false,
            tail: None,
        }
    }

    /// Appends a record; it is not synced.
    pub(super) fn append(&mut self, record: &Record<'_>) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(OVERHEAD + 128);
        record.write(&mut bytes);
        if let Some(tail) = &mut self.tail {
            tail.extend_from_slice(&bytes);
        }
        if self.broken {
            return Err(io::Error::other("the log waits to be rewritten"));
        }
        if let Err(error) = (&*self.file).write_all(&bytes) {
            self.incomplete = true;
            // Half a record must not stand before the next one.
            self.broken = self.file.set_len(self.length).is_err();
            return Err(error);
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// The file, to be synced outside the lock.
    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Remembers that the file cannot be relied on until it is rewritten.
    pub(super) fn doubt(&mut self) {
        self.incomplete = true;
    }

    /// Whether the file lacks a record, or may.
    pub(super) fn incomplete(&self) -> bool {
        self.incomplete
    }

    /// Whether a rewriting would make the file a good deal shorter, or whole.
    pub(super) fn wants_rewriting(&self) -> bool {
        self.length > self.rewrite_above && self.tail.is_none()
    }

    /// The file's length in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Begins a replacement: what is appended from now on is kept for it, too.
    pub(super) fn begin_rewriting(&mut self) -> PathBuf {
        self.tail = Some(Vec::new());
        self.path.clone()
    }

    /// What was appended since the beginning, or since this was asked last.
    pub(super) fn take_tail(&mut self) -> Vec<u8> {
        self.tail.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Puts the replacement in place; it is synced and has all that was appended. `live`: what it
    /// began with, in bytes. What was appended to it meanwhile may all be dead by now, and a slow
    /// disk makes that a lot: it does not count for how long the file may become.
    pub(super) fn finish_rewriting(
        &mut self,
        file: File,
        length: u64,
        live: u64,
    ) -> io::Result<()> {
        std::fs::rename(beside(&self.path), &self.path)?;
        let rewrite_above = REWRITE_ABOVE.max(live.saturating_mul(2));
        // From here on the old file has no name: nothing more may go there, whatever follows.
        *self = Self::of(&self.path, file, length, rewrite_above);
        sync_directory(&self.path).inspect_err(|_| self.incomplete = true)
    }

    /// The replacement could not be written: the old file goes on, and grows before the next try.
    pub(super) fn give_up_rewriting(&mut self) {
        self.tail = None;
        self.rewrite_above = self.length.saturating_mul(2).max(REWRITE_ABOVE);
        let _ = std::fs::remove_file(beside(&self.path));
    }
}

#[cfg(test)]
impl Journal {
    /// As if the file system had become read-only.
    pub(super) fn refuse_writing(&mut self, path: &Path) {
        self.file = Arc::new(File::open(path).unwrap());
    }
}

/// A log that says what `marks` say and goes on from `position`.
pub(super) fn written(marks: &Marks, position: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(MAGIC.len() + marks.bytes() + 4 * OVERHEAD);
    out.extend_from_slice(MAGIC);
    Record { position, what: Kind::Opened }.write(&mut out);
    for record in marks.live() {
        record.write(&mut out);
    }
    out
}

/// Writes a file beside `path`, to be put in its place.
pub(super) fn write_beside(path: &Path, content: &[u8]) -> io::Result<File> {
    let beside = beside(path);
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(content)?;
    Ok(file)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn replay(bytes: &[u8], marks: &mut Marks) -> Replayed {
    let mut replayed = Replayed { found: true, ..Replayed::default() };
    let mut records = Vec::new();
    let mut retired = HashSet::new();
    let mut at = MAGIC.len();
    if !bytes.starts_with(MAGIC) {
        replayed.lost = MAGIC.len() as u64;
        at = 0;
    }
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match Record::read(rest) {
            Read::Whole(record, length) => {
                replayed.newest = replayed.newest.max(record.position);
                if record.what == Kind::Retired {
                    retired.insert(record.position);
                } else {
                    records.push(record);
                }
                at += length;
                replayed.sound = at as u64;
            }
            // A record whose length is right and that goes past the end was cut off there: what
            // was not written whole was not acknowledged.
            Read::Torn if replayed.lost == 0 => break,
            // Byte by byte to the next record: what still can be read still counts.
            Read::Torn | Read::Damaged => {
                replayed.lost += 1;
                at += 1;
            }
        }
    }
    if replayed.lost == 0 {
        replayed.sound = replayed.sound.max(MAGIC.len() as u64);
    }
    // What retired a key's newest record retired the older ones with it.
    let mut done: HashMap<&[u8], u64> = HashMap::new();
    for record in records.iter().filter(|record| retired.contains(&record.position)) {
        if let Kind::Superseded { key } = record.what {
            let newest = done.entry(key).or_default();
            *newest = record.position.max(*newest);
        }
    }
    for record in &records {
        match record.what {
            Kind::Superseded { key } if done.get(key).is_some_and(|d| record.position <= *d) => {}
            _ => marks.apply(record),
        }
    }
    replayed
}
