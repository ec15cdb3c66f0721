//! Every metric, defined once, in words. Rooms count through the fields of [`Metrics`]; nothing
//! here knows who counts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;
use prometheus_client::registry::Registry;

pub use crate::observe::counts::{
    Alert, BudgetView, CacheCounts, Count, DiskCounts, Level, Part, ServerCounts, Spread, TierView,
    UpstreamCounts, UpstreamErrorKind,
};
use crate::observe::histogram::{Counted, LOOKUP_BOUNDS, REQUEST_BOUNDS};
use crate::observe::record::Record;
use crate::observe::shard::{
    CLASSES, METHODS, ORIGIN_CLASSES, Shard, class_index, method_index, series_index,
};
use crate::semantics::decision::Outcome;

/// All of Larder's metrics.
#[derive(Default)]
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
    /// Access lines dropped because the writer was behind or could not write.
    pub log_dropped: Count,
    /// Events dropped because nobody read standard error, or it could not be written.
    pub events_dropped: Count,
    alerts: [Level; Alert::ALL.len()],
    /// One a worker; empty only in `Metrics::default()`, which then counts no requests.
    shards: Box<[Shard]>,
    tiers: RwLock<Vec<(&'static str, Arc<dyn TierView>)>>,
    budget: RwLock<Option<Arc<dyn BudgetView>>>,
    foreign: RwLock<Registry>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("workers", &self.shards.len()).finish_non_exhaustive()
    }
}

impl Metrics {
    /// Metrics for `workers` workers, all at zero.
    pub fn new(workers: usize) -> Arc<Self> {
        let shards = (0..workers.max(1)).map(|_| Shard::default()).collect();
        Arc::new(Self { shards, ..Self::default() })
    }

    /// A worker's shard; a number past the end gets the last one.
    fn shard(&self, worker: usize) -> Option<&Shard> {
        self.shards.get(worker).or(self.shards.last())
    }

    /// Counts one finished request of worker number `worker`.
    pub fn record(&self, worker: usize, record: &Record) {
        let Some(shard) = self.shard(worker) else { return };
        let outcome = record.decision.outcome as usize;
        let method = method_index(&record.method);
        let series = series_index(method, class_index(record.status), outcome);
        if let Some(count) = shard.requests.get(series) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(durations) = shard.durations.get(outcome) {
            durations.observe(&REQUEST_BOUNDS, record.duration_ns);
        }
        if record.bytes_in > 0 {
            shard.bytes_in.fetch_add(record.bytes_in, Ordering::Relaxed);
        }
        shard.bytes_out.fetch_add(record.bytes_out, Ordering::Relaxed);
    }

    /// Counts one lookup in the cache that took `ns` nanoseconds.
    pub fn lookup(&self, worker: usize, ns: u64) {
        if let Some(shard) = self.shard(worker) {
            shard.lookups.observe(&LOOKUP_BOUNDS, ns);
        }
    }

    /// Counts one request sent to the origin and answered with `status` after `ns` nanoseconds;
    /// `None`: there was no answer.
    pub fn origin(&self, worker: usize, status: Option<u16>, ns: u64) {
        let Some(shard) = self.shard(worker) else { return };
        let class = status.map_or(ORIGIN_CLASSES.len() - 1, class_index);
        if let Some(count) = shard.origin.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        shard.origin_durations.observe(&REQUEST_BOUNDS, ns);
    }

    /// Counts a failed exchange with the origin.
    pub fn upstream_error(&self, kind: UpstreamErrorKind) {
        if let Some(count) = self.upstream.errors.get(kind as usize) {
            count.inc();
        }
    }

    /// Raises an alert or ends it.
    pub fn alert(&self, alert: Alert, active: bool) {
        if let Some(level) = self.alerts.get(alert as usize) {
            level.set(active.into());
        }
    }

    /// Whether an alert is raised.
    pub fn alert_active(&self, alert: Alert) -> bool {
        self.alerts.get(alert as usize).is_some_and(|level| level.get() != 0)
    }

    /// Shows a tier under the label `tier`; one of the same name is replaced.
    pub fn show_tier(&self, tier: &'static str, view: Arc<dyn TierView>) {
        let mut tiers = self.tiers.write();
        tiers.retain(|(name, _)| *name != tier);
        tiers.push((tier, view));
    }

    /// The tiers shown, by label.
    pub fn tiers(&self) -> Vec<(&'static str, Arc<dyn TierView>)> {
        self.tiers.read().clone()
    }

    /// Shows the budget of memory.
    pub fn show_budget(&self, view: Arc<dyn BudgetView>) {
        *self.budget.write() = Some(view);
    }

    /// The parts of the budget of memory; none while there is none to be shown.
    pub fn budget(&self) -> Vec<Part> {
        let view = self.budget.read().clone();
        view.map_or_else(Vec::new, |view| view.parts())
    }

    /// Lets a library register metrics of its own; they follow ours in the exposition.
    pub fn register_foreign(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.foreign.write());
    }

    /// Calls `read` with what libraries registered.
    pub(crate) fn with_foreign<T>(&self, read: impl FnOnce(&Registry) -> T) -> T {
        read(&self.foreign.read())
    }

    /// Adds up what the workers counted. Each number is exact; together they are as of slightly
    /// different moments where requests go on meanwhile.
    pub fn totals(&self) -> Totals {
        let series = METHODS.len() * CLASSES.len() * Outcome::ALL.len();
        let mut totals = Totals { requests: vec![0; series], ..Totals::default() };
        for shard in &self.shards {
            for (total, count) in totals.requests.iter_mut().zip(&shard.requests) {
                *total += count.load(Ordering::Relaxed);
            }
            for (total, cells) in totals.durations.iter_mut().zip(&shard.durations) {
                cells.add_to(total);
            }
            shard.lookups.add_to(&mut totals.lookups);
            for (total, count) in totals.origin.iter_mut().zip(&shard.origin) {
                *total += count.load(Ordering::Relaxed);
            }
            shard.origin_durations.add_to(&mut totals.origin_durations);
            totals.bytes_in += shard.bytes_in.load(Ordering::Relaxed);
            totals.bytes_out += shard.bytes_out.load(Ordering::Relaxed);
        }
        totals
    }
}

/// The sums over all workers.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    requests: Vec<u64>,
    /// Request durations, by [`Outcome`].
    pub durations: [Counted; Outcome::ALL.len()],
    /// Lookup durations.
    pub lookups: Counted,
    /// Requests to the origin, by [`ORIGIN_CLASSES`].
    pub origin: [u64; ORIGIN_CLASSES.len()],
    /// Durations of requests to the origin, to the head of the answer or the failure.
    pub origin_durations: Counted,
    /// Body bytes received from clients.
    pub bytes_in: u64,
    /// Body bytes sent to clients.
    pub bytes_out: u64,
}

impl Totals {
    /// Requests of one series: indices into [`METHODS`], [`CLASSES`] and [`Outcome::ALL`].
    pub fn requests(&self, method: usize, class: usize, outcome: usize) -> u64 {
        self.requests.get(series_index(method, class, outcome)).copied().unwrap_or(0)
    }

    /// Requests with this outcome, whatever method and status.
    pub fn by_outcome(&self, outcome: Outcome) -> u64 {
        let classes = || 0..CLASSES.len();
        (0..METHODS.len())
            .flat_map(|method| classes().map(move |class| (method, class)))
            .map(|(method, class)| self.requests(method, class, outcome as usize))
            .sum()
    }

    /// Requests with this status class (index into [`CLASSES`]).
    pub fn by_class(&self, class: usize) -> u64 {
        (0..METHODS.len())
            .flat_map(|method| (0..Outcome::ALL.len()).map(move |outcome| (method, outcome)))
            .map(|(method, outcome)| self.requests(method, class, outcome))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::noted::Noted;
    use crate::observe::record::Record;
    use crate::semantics::decision::Decision;

    fn record(method: &str, status: u16, outcome: Outcome, bytes: (u64, u64)) -> Record {
        Record {
            status,
            decision: Decision::new(outcome),
            bytes_in: bytes.0,
            bytes_out: bytes.1,
            duration_ns: 40_000,
            ..Record::new(Noted::default(), method.parse().unwrap())
        }
    }

    #[test]
    fn requests_are_counted_exactly_whatever_the_worker() {
        let metrics = Metrics::new(2);
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let metrics = &metrics;
                scope.spawn(move || {
                    for _ in 0..1000 {
                        metrics.record(worker, &record("GET", 200, Outcome::Hit, (0, 10)));
                        metrics.record(worker, &record("POST", 502, Outcome::Error, (7, 3)));
                    }
                });
            }
        });
        let totals = metrics.totals();
        assert_eq!(totals.requests(0, 1, Outcome::Hit as usize), 4000);
        assert_eq!(totals.by_outcome(Outcome::Error), 4000);
        assert_eq!(totals.by_outcome(Outcome::Miss), 0);
        assert_eq!(totals.by_class(4), 4000);
        assert_eq!((totals.bytes_in, totals.bytes_out), (28_000, 52_000));
        assert_eq!(totals.durations[Outcome::Hit as usize].count(), 4000);
        assert_eq!(totals.durations[Outcome::Hit as usize].sum_ns, 4000 * 40_000);
    }

    #[test]
    fn origin_requests_without_an_answer_are_errors() {
        let metrics = Metrics::new(1);
        metrics.origin(0, Some(204), 1);
        metrics.origin(9, None, 1);
        let totals = metrics.totals();
        assert_eq!(totals.origin, [0, 1, 0, 0, 0, 1]);
        assert_eq!(totals.origin_durations.count(), 2);
    }
}
