//! What each room counts, in words; [`super::metrics::Metrics`] holds one of each.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

pub use crate::observe::shard::Spread;

/// A number that only goes up.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Level(AtomicI64);

impl Level {
    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Sets it.
    pub fn set(&self, n: i64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// What it is now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why an exchange with the origin failed: the label `kind` of `larder_upstream_errors_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum UpstreamErrorKind {
    /// The connection was refused, or its host has no address.
    Connect,
    /// No connection within the connect timeout.
    ConnectTimeout,
    /// No head within the first-byte timeout.
    FirstByteTimeout,
    /// No more body within the between-bytes timeout.
    BetweenBytesTimeout,
    /// The connection closed or was reset before the message's end.
    Closed,
    /// The answer was no valid HTTP/1.1 message.
    Malformed,
    /// All connections stayed busy for as long as a request waits for one.
    Saturated,
}

impl UpstreamErrorKind {
    /// All kinds, in the order of their discriminants.
    pub const ALL: [Self; 7] = [
        Self::Connect,
        Self::ConnectTimeout,
        Self::FirstByteTimeout,
        Self::BetweenBytesTimeout,
        Self::Closed,
        Self::Malformed,
        Self::Saturated,
    ];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::BetweenBytesTimeout => "between_bytes_timeout",
            Self::Closed => "closed",
            Self::Malformed => "malformed",
            Self::Saturated => "saturated",
        }
    }
}

/// What an operator should look at: the label `alert` of `larder_alert_active`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Alert {
    /// A disk tier is configured but out of use.
    DiskOff,
    /// The configuration on disk is refused; the one before it runs.
    ConfigRefused,
    /// The access log cannot be written.
    AccessLogFailing,
}

impl Alert {
    /// All alerts, in the order of their discriminants.
    pub const ALL: [Self; 3] = [Self::DiskOff, Self::ConfigRefused, Self::AccessLogFailing];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DiskOff => "disk_off",
            Self::ConfigRefused => "config_refused",
            Self::AccessLogFailing => "access_log_failing",
        }
    }
}

/// A cache tier as a scrape looks at it. Called from the back room, about once a scrape.
pub trait TierView: Send + Sync {
    /// Bytes held.
    fn bytes(&self) -> u64;
    /// Bytes it may hold.
    fn capacity(&self) -> u64;
    /// Objects held (an estimate is fine).
    fn objects(&self) -> u64;
}

/// A part of the budget of memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: &'static str,
    /// What it may take.
    pub planned: u64,
    /// What it takes; for the index and connections, planned sizes of what there is.
    pub used: u64,
}

/// The budget of memory as a scrape looks at it. Called from the back room.
pub trait BudgetView: Send + Sync {
    /// All parts.
    fn parts(&self) -> Vec<Part>;
}

/// What the disk tier counts.
#[derive(Debug, Default)]
pub struct DiskCounts {
    /// Lookups answered by the disk (or by what waits to be written to it).
    pub hits: Count,
    /// Lookups that the disk could not answer.
    pub misses: Count,
    /// Entries known to be on disk since the start.
    pub written: Count,
    /// Entries not written because the writer was behind for longer than `store_wait`.
    pub dropped_behind: Count,
    /// Entries that could never fit (too large for a block).
    pub dropped_too_large: Count,
    /// Entries that foyer dropped although our bounds should keep it from that: those that did
    /// not fit its buffer.
    pub overflow_buffer: Count,
    /// And those that did not fit its queue.
    pub overflow_channel: Count,
    /// Lookups that read the disk; those that waited for another's read are none.
    pub reads: Count,
    /// Read operations on the files, of lookups and of eviction.
    pub io_reads: Count,
    /// Write operations on the files.
    pub io_writes: Count,
    /// Bytes read from the files, whole pages.
    pub io_read_bytes: Count,
    /// Bytes written to the files, index pages included.
    pub io_write_bytes: Count,
    /// Entries written again because they were asked for in the older half of the disk.
    pub rewritten: Count,
    /// Blocks emptied early because there were more entries than memory has room to index.
    pub emptied: Count,
    /// Failed reads of the disk.
    pub read_errors: Count,
    /// Failed writes to the disk.
    pub write_errors: Count,
    /// Entries whose bytes did not decode or check out.
    pub corrupt: Count,
    /// Times the disk tier was taken out because of errors.
    pub failures: Count,
    /// 1 while the disk tier serves.
    pub ready: Level,
    /// Bytes that wait to be written.
    pub pending_bytes: Level,
    /// Entries that wait to be handed to the writer.
    pub write_behind: Level,
}

impl DiskCounts {
    /// Entries that foyer dropped.
    pub fn overflows(&self) -> u64 {
        self.overflow_buffer.get() + self.overflow_channel.get()
    }
}

/// What the cache as a whole counts.
#[derive(Debug, Default)]
pub struct CacheCounts {
    /// Responses stored.
    pub stored: Count,
    /// Bodies compressed.
    pub compressed: Count,
    /// Purges taken in.
    pub purges: Count,
    /// Entries rejected because a purge is newer than their fetch.
    pub purged: Count,
    /// Entries evicted from memory.
    pub evicted: Count,
    /// Requests that waited for another's fetch.
    pub collapsed: Count,
    /// Followers released because the answer could not be shared.
    pub released: Count,
    /// Fetches under way.
    pub flights: Level,
    /// Keys remembered as uncacheable.
    pub uncacheable: Level,
}

/// What listeners and connections count.
#[derive(Debug, Default)]
pub struct ServerCounts {
    /// Open client connections.
    pub connections: Level,
    /// Client connections accepted.
    pub accepted: Count,
    /// Client connections closed at once because of `limits.connections`.
    pub refused: Count,
    /// Requests answered with an error because they were malformed.
    pub malformed: Count,
    /// Bytes read from clients, heads and framing included.
    pub socket_in: Spread,
    /// Bytes written to clients, heads and framing included.
    pub socket_out: Spread,
    /// Tunnels open (after a 101).
    pub tunnels: Level,
}

/// What the way to the origin counts.
#[derive(Debug, Default)]
pub struct UpstreamCounts {
    /// Open connections to the origin.
    pub connections: Level,
    /// Connections made.
    pub connects: Count,
    /// Requests sent on a connection that had been used before.
    pub reused: Count,
    /// Requests sent again because a pooled connection turned out closed.
    pub retries: Count,
    /// Failed exchanges, by [`UpstreamErrorKind`].
    pub errors: [Count; 7],
    /// 1 while the last exchange reached the origin.
    pub up: Level,
}
