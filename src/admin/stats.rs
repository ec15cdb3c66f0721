//! The figures of `/api/stats`: what the metrics know, for people and for `larder cache stats`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::admin::control::Readiness;
use crate::clock;
use crate::observe::histogram::{BOUNDS, Counted, LOOKUP_BOUNDS, REQUEST_BOUNDS};
use crate::observe::metrics::{Alert, Metrics};
use crate::observe::system::{self, Process};
use crate::semantics::decision::Outcome;

/// What `/api/stats` answers.
#[derive(Debug, Clone, Serialize)]
pub struct Stats {
    /// Larder's version.
    pub version: &'static str,
    /// Seconds since the start.
    pub uptime_seconds: f64,
    /// As `/readyz` says.
    pub readiness: Readiness,
    /// Client requests.
    pub requests: Requests,
    /// Time of lookups.
    pub lookup: Timing,
    /// Requests to the origin.
    pub origin: Origin,
    /// The tiers, by name.
    pub tiers: BTreeMap<&'static str, Tier>,
    /// What the cache did since the start.
    pub cache: Cache,
    /// What the disk tier did since the start.
    pub disk: Disk,
    /// Client connections.
    pub connections: Connections,
    /// Alerts that are raised.
    pub alerts: Vec<&'static str>,
    /// Access log lines dropped.
    pub access_log_dropped: u64,
    /// The process; none where the system does not tell.
    pub process: Option<Process>,
}

/// Client requests since the start.
#[derive(Debug, Clone, Serialize)]
pub struct Requests {
    /// All of them.
    pub total: u64,
    /// Answered without the origin's body: hit, stale and revalidated as a share of all that the
    /// cache had a part in (0..1); none before the first.
    pub hit_ratio: Option<f64>,
    /// Number and time by what the cache did.
    pub by_cache: BTreeMap<&'static str, Timing>,
    /// Body bytes received.
    pub bytes_in: u64,
    /// Body bytes sent.
    pub bytes_out: u64,
}

/// How long something took; quantiles are estimated from the histogram's buckets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Timing {
    /// How many times.
    pub count: u64,
    /// The mean, in milliseconds.
    pub mean_ms: Option<f64>,
    /// Half of all took less, in milliseconds.
    pub p50_ms: Option<f64>,
    /// 99 of 100 took less, in milliseconds.
    pub p99_ms: Option<f64>,
}

/// Requests to the origin since the start.
#[derive(Debug, Clone, Serialize)]
pub struct Origin {
    /// Number and time, failed ones included.
    pub requests: Timing,
    /// Those without an answer.
    pub errors: u64,
    /// Open connections to it.
    pub connections: i64,
}

/// A cache tier now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Tier {
    /// Bytes held.
    pub bytes: u64,
    /// Bytes it may hold.
    pub capacity: u64,
    /// Objects held.
    pub objects: u64,
}

/// What the cache did since the start.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cache {
    /// Responses stored.
    pub stored: u64,
    /// Entries evicted from memory.
    pub evicted: u64,
    /// Requests that waited for another's fetch.
    pub collapsed: u64,
    /// Bodies compressed.
    pub compressed: u64,
    /// Purges taken in.
    pub purges: u64,
    /// Fetches under way.
    pub flights: i64,
    /// Keys remembered as uncacheable.
    pub uncacheable: i64,
}

/// What the disk tier did since the start.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Disk {
    /// Lookups it answered.
    pub hits: u64,
    /// Entries known to be on disk.
    pub written: u64,
    /// Entries not written.
    pub dropped: u64,
    /// Failed reads and writes.
    pub errors: u64,
    /// Entries whose bytes did not check out.
    pub corrupt: u64,
    /// Bytes that wait to be written.
    pub pending_bytes: i64,
}

/// Client connections.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Connections {
    /// Open now.
    pub open: i64,
    /// Accepted since the start.
    pub accepted: u64,
    /// Closed at once because of `limits.connections`.
    pub refused: u64,
}

impl Stats {
    /// Everything from the metrics, with `readiness` beside it. Reads `/proc`: for the back room.
    pub fn of(metrics: &Metrics, readiness: Readiness) -> Self {
        let totals = metrics.totals();
        let (cache, disk) = (&metrics.cache, &metrics.disk);
        let tiers = metrics.tiers().into_iter().map(|(name, view)| {
            let (bytes, capacity, objects) = (view.bytes(), view.capacity(), view.objects());
            (name, Tier { bytes, capacity, objects })
        });
        let by_cache = Outcome::ALL
            .iter()
            .zip(&totals.durations)
            .map(|(outcome, counted)| (outcome.as_str(), Timing::of(counted, &REQUEST_BOUNDS)));
        let of = |outcome| totals.by_outcome(outcome);
        let served = of(Outcome::Hit) + of(Outcome::Stale) + of(Outcome::Revalidated);
        let asked = served + of(Outcome::Miss);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: clock::uptime().as_secs_f64(),
            readiness,
            requests: Requests {
                total: Outcome::ALL.into_iter().map(of).sum(),
                hit_ratio: (asked > 0).then(|| served as f64 / asked as f64),
                by_cache: by_cache.collect(),
                bytes_in: totals.bytes_in,
                bytes_out: totals.bytes_out,
            },
            lookup: Timing::of(&totals.lookups, &LOOKUP_BOUNDS),
            origin: Origin {
                requests: Timing::of(&totals.origin_durations, &REQUEST_BOUNDS),
                errors: totals.origin.last().copied().unwrap_or(0),
                connections: metrics.upstream.connections.get(),
            },
            tiers: tiers.collect(),
            cache: Cache {
                stored: cache.stored.get(),
                evicted: cache.evicted.get(),
                collapsed: cache.collapsed.get(),
                compressed: cache.compressed.get(),
                purges: cache.purges.get(),
                flights: cache.flights.get(),
                uncacheable: cache.uncacheable.get(),
            },
            disk: Disk {
                hits: disk.hits.get(),
                written: disk.written.get(),
                dropped: disk.dropped_behind.get() + disk.dropped_too_large.get(),
                errors: disk.read_errors.get() + disk.write_errors.get(),
                corrupt: disk.corrupt.get(),
                pending_bytes: disk.pending_bytes.get(),
            },
            connections: Connections {
                open: metrics.server.connections.get(),
                accepted: metrics.server.accepted.get(),
                refused: metrics.server.refused.get(),
            },
            alerts: Alert::ALL
                .into_iter()
                .filter(|alert| metrics.alert_active(*alert))
                .map(Alert::as_str)
                .collect(),
            access_log_dropped: metrics.log_dropped.get(),
            process: system::process(),
        }
    }
}

impl Timing {
    fn of(counted: &Counted, bounds: &[u64; BOUNDS]) -> Self {
        let count = counted.count();
        let quantile = |share| counted.quantile_ns(bounds, share).map(rounded_ms);
        Self {
            count,
            mean_ms: (count > 0).then(|| rounded_ms(counted.sum_ns as f64 / count as f64)),
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
        }
    }
}

/// Milliseconds to the microsecond.
fn rounded_ms(ns: f64) -> f64 {
    (ns / 1e3).round() / 1e3
}
