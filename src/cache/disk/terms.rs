//! What a disk tier is opened with, and what it says of itself.

use std::path::PathBuf;
use std::time::Duration;

/// What a disk tier is opened with.
#[derive(Debug, Clone)]
pub struct DiskConfig {
    /// The cache directory; made if missing.
    pub dir: PathBuf,
    /// Bytes of disk to use.
    pub capacity: u64,
    /// Bytes of one of foyer's blocks (the unit of eviction, one file each); by capacity if none.
    pub block_size: Option<u64>,
    /// Bytes written at once, and so the bound of an entry's size; two such buffers and
    /// four buffers' worth of waiting entries are held at most. By block size, at most
    /// 8 MiB, if none.
    pub flush_buffer: Option<u64>,
    /// Entries at most, to within one batch: foyer's index, which lies in memory, takes up to 90
    /// bytes each. Beyond it the oldest block is emptied. `None`: as many as fit.
    pub max_objects: Option<u64>,
    /// How long [`super::Disk::put`] waits for room.
    pub store_wait: Duration,
    /// Whether a copy that is asked for in the older half of the disk is written again.
    pub keep_hot: bool,
    /// Version of the values' format: with another one the disk starts empty.
    pub codec_version: u32,
}

impl DiskConfig {
    /// `capacity` bytes in `dir`, everything else by default.
    pub fn new(dir: impl Into<PathBuf>, capacity: u64) -> Self {
        Self {
            dir: dir.into(),
            capacity,
            block_size: None,
            flush_buffer: None,
            max_objects: None,
            store_wait: Duration::from_millis(250),
            keep_hot: true,
            codec_version: 1,
        }
    }
}

/// What the disk tier is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskState {
    /// Not wanted, closed, or the directory belongs to another process.
    Off,
    /// Opening; lookups find what is stored meanwhile.
    Recovering,
    /// Serving.
    Ready,
    /// Taken out because of errors; tried again by and by.
    Failed,
}

impl DiskState {
    /// The word used in `/readyz` and the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Recovering => "recovering",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }
}

/// What became of a [`super::Disk::put`].
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It waits to be written and is found from now on.
    Queued,
    /// The writer stayed behind for longer than `store_wait`: not kept.
    Behind,
    /// Larger than [`super::Disk::max_value`] allows: not kept.
    TooLarge,
    /// A newer value of the key, or a delete, came while this one waited: not kept.
    Outdated,
    /// There is no disk at the moment: not kept.
    Off,
}
