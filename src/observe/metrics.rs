//! Every metric, defined once, in words. Rooms count through the fields of [`Metrics`]; nothing
//! here knows who counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::observe::record::Record;

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
    /// Entries that foyer dropped because its own queues were full.
    pub dropped_overflow: Count,
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
    pub socket_in: Count,
    /// Bytes written to clients, heads and framing included.
    pub socket_out: Count,
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

/// All of Larder's metrics.
#[derive(Debug, Default)]
pub struct Metrics {
    /// The disk tier.
    pub disk: DiskCounts,
    /// The cache.
    pub cache: CacheCounts,
    /// Listeners and connections.
    pub server: ServerCounts,
    /// The way to the origin.
    pub upstream: UpstreamCounts,
    /// Configuration reloads that took effect.
    pub reloads_ok: Count,
    /// Configuration reloads that were refused.
    pub reloads_refused: Count,
    /// Access lines dropped because the writer was behind.
    pub log_dropped: Count,
}

impl Metrics {
    /// Metrics for `workers` workers, all at zero.
    pub fn new(_workers: usize) -> Arc<Self> {
        Arc::default()
    }

    /// Counts one finished request of worker number `worker`.
    pub fn record(&self, _worker: usize, _record: &Record) {}

    /// Counts one lookup in the cache that took `ns` nanoseconds.
    pub fn lookup(&self, _worker: usize, _ns: u64) {}

    /// Counts one request sent to the origin and answered with `status` after `ns` nanoseconds;
    /// `None`: there was no answer.
    pub fn origin(&self, _worker: usize, _status: Option<u16>, _ns: u64) {}

    /// Counts a failed exchange with the origin.
    pub fn upstream_error(&self, kind: UpstreamErrorKind) {
        if let Some(count) = self.upstream.errors.get(kind as usize) {
            count.inc();
        }
    }
}
