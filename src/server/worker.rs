//! What the connections of one worker share: a coarse clock, the limits, who is open.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::timers::{Watch, tick};
use crate::clock;
use crate::config::snapshot::Limits;
use crate::observe::metrics::Metrics;

/// Where the current limits come from; asked about four times a second.
pub type LimitsSource = Arc<dyn Fn() -> Limits + Send + Sync>;

/// One worker's shared state. Only its own thread writes it in earnest; the locks and atomics are
/// never contended.
pub(super) struct Worker {
    metrics: Arc<Metrics>,
    source: LimitsSource,
    limits: Mutex<Arc<Limits>>,
    /// Open connections of all workers.
    connections: Arc<AtomicUsize>,
    /// Milliseconds, as of the last tick; never 0.
    now: AtomicU64,
    /// When the drain began; 0: it has not.
    draining_since: AtomicU64,
    /// Bytes since the last tick: the metrics are shared by all workers, these are not.
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    open: Mutex<Open>,
    emptied: Notify,
}

#[derive(Default)]
struct Open {
    slots: Vec<Option<Arc<Watch>>>,
    free: Vec<usize>,
    ticking: bool,
}

impl Open {
    fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

impl Worker {
    pub(super) fn new(
        metrics: Arc<Metrics>,
        source: LimitsSource,
        connections: Arc<AtomicUsize>,
    ) -> Arc<Self> {
        let limits = Mutex::new(Arc::new(source()));
        Arc::new(Self {
            metrics,
            source,
            limits,
            connections,
            now: AtomicU64::new(clock::monotonic_ms().max(1)),
            draining_since: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            open: Mutex::default(),
            emptied: Notify::new(),
        })
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The limits as of the last tick.
    pub(super) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.limits.lock())
    }

    /// Coarse milliseconds, for [`Watch`] only; never 0.
    pub(super) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    pub(super) fn count_in(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn count_out(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Takes a new connection in, unless there are `limits.connections` already. Must be called
    /// on the worker's runtime.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Registration> {
        let starts_ticking = {
            let mut open = self.open.lock();
            !std::mem::replace(&mut open.ticking, true)
        };
        if starts_ticking {
            self.refresh(); // nobody has ticked since the last connection closed
            tokio::spawn(Arc::clone(self).tick_while_open());
        }
        if self.connections.fetch_add(1, Ordering::Relaxed) >= self.limits().connections {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            self.metrics.server.refused.inc();
            return None;
        }
        self.metrics.server.accepted.inc();
        self.metrics.server.connections.add(1);
        let watch = Arc::new(Watch::new(Arc::clone(self)));
        let mut open = self.open.lock();
        let slot = open.free.pop().unwrap_or(open.slots.len());
        if slot == open.slots.len() {
            open.slots.push(None);
        }
        if let Some(place) = open.slots.get_mut(slot) {
            *place = Some(Arc::clone(&watch));
        }
        Some(Registration { watch, slot })
    }

    fn leave(&self, slot: usize) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        self.metrics.server.connections.add(-1);
        let mut open = self.open.lock();
        if let Some(place) = open.slots.get_mut(slot) {
            *place = None;
            open.free.push(slot);
        }
        if open.len() == 0 {
            open.slots.clear(); // what a burst of connections took is given back
            open.free.clear();
            self.flush_counts();
            self.emptied.notify_waiters();
        }
    }

    /// Connections open on this worker, tunnels included.
    pub(super) fn open(&self) -> usize {
        self.open.lock().len()
    }

    /// Waits until no connection is open.
    pub(super) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.open() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// From now on each answer is its connection's last, and idle connections close.
    pub(super) fn begin_drain(&self) {
        self.refresh();
        self.draining_since.store(self.now(), Ordering::Relaxed);
    }

    /// When the drain began, in the time of [`Worker::now`]; 0: it has not.
    pub(super) fn draining_since(&self) -> u64 {
        self.draining_since.load(Ordering::Relaxed)
    }

    /// Ends some tick after the last connection has closed: an idle Larder does not wake up.
    async fn tick_while_open(self: Arc<Self>) {
        loop {
            tokio::time::sleep(tick(&self.limits(), self.draining_since() != 0)).await;
            self.refresh();
            self.flush_counts();
            let limits = self.limits();
            let mut open = self.open.lock();
            if open.len() == 0 {
                open.ticking = false;
                return;
            }
            for watch in open.slots.iter().flatten() {
                watch.nudge_if_overdue(&limits);
            }
        }
    }

    fn refresh(&self) {
        self.now.store(clock::monotonic_ms().max(1), Ordering::Relaxed);
        let current = (self.source)();
        let mut limits = self.limits.lock();
        if **limits != current {
            *limits = Arc::new(current);
        }
    }

    fn flush_counts(&self) {
        self.metrics.server.socket_in.add(self.bytes_in.swap(0, Ordering::Relaxed));
        self.metrics.server.socket_out.add(self.bytes_out.swap(0, Ordering::Relaxed));
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("now", &self.now()).finish_non_exhaustive()
    }
}

/// An open connection's place among its worker's; given back when dropped.
#[derive(Debug)]
pub(super) struct Registration {
    watch: Arc<Watch>,
    slot: usize,
}

impl Registration {
    pub(super) fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.watch.worker().leave(self.slot);
    }
}
