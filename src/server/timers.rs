//! Time limits of connections, by a coarse clock of each worker.
//!
//! A request costs a few stores and no clock reading: connections note the worker's coarse time
//! when they begin to wait, a task that ticks while connections are open compares, and wakes
//! whoever is overdue. The woken connection decides itself, in its I/O wrapper, after it has
//! found that there is still nothing to read or no room to write: a late tick cuts nobody off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use parking_lot::Mutex;

use super::closing::Parked;
use super::worker::Worker;
use crate::config::snapshot::Limits;

/// How long a connection without a request is kept once a drain has begun, so that a request
/// already on its way is answered (PITFALLS 33).
pub(super) const DRAIN_GRACE: Duration = Duration::from_millis(250);
/// How long input is read and thrown away behind an error, so that the client sees the answer.
pub(super) const LINGER: Duration = Duration::from_secs(2);
/// The same where nothing is known to be unread.
pub(super) const LINGER_TIDY: Duration = Duration::from_millis(500);

/// The longest time between two ticks.
const TICK: Duration = Duration::from_millis(250);

/// What a connection waits for when it waits to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// For a request, or for its own answer while it is busy.
    Quiet,
    /// For the rest of a head.
    Head,
    /// For more of a body.
    Body,
    /// For nothing: a body has begun, and its bytes come as fast as they are taken.
    BodyFlows,
    /// For its answer; the client has shut down its side.
    HalfClosed,
    /// For anything in a tunnel.
    Tunnel,
    /// For the client to close, after the last answer was followed by unread input.
    Linger,
    /// The same with nothing known to be unread.
    LingerTidy,
}

impl Phase {
    fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Head,
            2 => Self::Body,
            3 => Self::BodyFlows,
            4 => Self::HalfClosed,
            5 => Self::Tunnel,
            6 => Self::Linger,
            7 => Self::LingerTidy,
            _ => Self::Quiet,
        }
    }
}

/// What took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// No request came.
    Idle,
    /// A head began and did not end.
    Head,
    /// No more of a body came.
    Body,
    /// No room to write came.
    Write,
    /// A client that has shut down its side took no more of its answer.
    HalfClosed,
    /// A tunnel was silent.
    Tunnel,
    /// The client did not close.
    Linger,
}

/// One connection's waits. Times are the worker's coarse milliseconds; 0: does not wait.
#[derive(Debug)]
pub(super) struct Watch {
    worker: Arc<Worker>,
    /// A request is being answered.
    busy: AtomicBool,
    phase: AtomicU8,
    /// Since when the phase's wait lasts.
    since: AtomicU64,
    /// When the last answer ended, or the connection began.
    idle_since: AtomicU64,
    /// Since when a write makes no progress.
    write_since: AtomicU64,
    /// Woken because something may be overdue.
    nudged: AtomicBool,
    waker: Mutex<Option<Waker>>,
    parked: Mutex<Option<Parked>>,
}

impl Watch {
    pub(super) fn new(worker: Arc<Worker>) -> Self {
        let now = worker.now();
        Self {
            worker,
            busy: AtomicBool::new(false),
            phase: AtomicU8::new(Phase::Quiet as u8),
            since: AtomicU64::new(0),
            idle_since: AtomicU64::new(now),
            write_since: AtomicU64::new(0),
            nudged: AtomicBool::new(false),
            waker: Mutex::new(None),
            parked: Mutex::new(None),
        }
    }

    /// The worker that this connection belongs to.
    pub(super) fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    /// Names the task to wake.
    pub(super) fn register(&self, waker: &Waker) {
        let mut known = self.waker.lock();
        match &mut *known {
            Some(known) => known.clone_from(waker), // does nothing for the same task
            none => *none = Some(waker.clone()),
        }
    }

    /// A request was handed to the service.
    pub(super) fn begin(&self) {
        self.busy.store(true, Ordering::Relaxed);
    }

    /// Its answer was handed over whole, or given up.
    pub(super) fn end(&self) {
        self.idle_since.store(self.worker.now(), Ordering::Relaxed);
        self.busy.store(false, Ordering::Relaxed);
    }

    pub(super) fn busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// The next wait to read is of this kind and begins now.
    pub(super) fn enter(&self, phase: Phase) {
        self.since.store(self.worker.now(), Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Whether the client is not known to have sent its request's body whole.
    pub(super) fn in_body(&self) -> bool {
        let phase = Phase::from_u8(self.phase.load(Ordering::Relaxed));
        matches!(phase, Phase::Body | Phase::BodyFlows)
    }

    /// Keeps a connection that hyper let go of; see [`super::closing`].
    pub(super) fn park(&self, parked: Parked) {
        *self.parked.lock() = Some(parked);
    }

    pub(super) fn take_parked(&self) -> Option<Parked> {
        self.parked.lock().take()
    }

    /// A wait to write begins now, if none has.
    pub(super) fn write_blocked(&self) {
        if self.write_since.load(Ordering::Relaxed) == 0 {
            self.write_since.store(self.worker.now(), Ordering::Relaxed);
        }
    }

    pub(super) fn write_went_on(&self) {
        self.write_since.store(0, Ordering::Relaxed);
    }

    /// Wakes the connection's task if it is overdue.
    pub(super) fn nudge_if_overdue(&self, limits: &Limits) {
        if self.overdue(limits).is_some() {
            self.nudged.store(true, Ordering::Relaxed);
            if let Some(task) = &*self.waker.lock() {
                task.wake_by_ref();
            }
        }
    }

    /// For one who has just found nothing to read or no room to write: what is overdue, if that
    /// may be why it was woken.
    pub(super) fn check(&self) -> Option<Overdue> {
        if !self.nudged.load(Ordering::Relaxed) {
            return None; // nearly always: the clock is for the one who ticks
        }
        let overdue = self.overdue(&self.worker.limits());
        if overdue.is_none() {
            self.nudged.store(false, Ordering::Relaxed);
        }
        overdue
    }

    fn overdue(&self, limits: &Limits) -> Option<Overdue> {
        let now = self.worker.now();
        let passed = |since: u64, limit: Duration| {
            u128::from(now.saturating_sub(since)) >= limit.as_millis().max(1)
        };
        let write_since = self.write_since.load(Ordering::Relaxed);
        if write_since != 0 && passed(write_since, limits.write_timeout) {
            return Some(Overdue::Write);
        }
        let since = self.since.load(Ordering::Relaxed);
        let idle_since = self.idle_since.load(Ordering::Relaxed);
        let busy = self.busy();
        let (is_overdue, what) = match Phase::from_u8(self.phase.load(Ordering::Relaxed)) {
            Phase::Quiet if write_since != 0 => (false, Overdue::Idle),
            Phase::Quiet => {
                let draining_since = self.worker.draining_since();
                let drained =
                    draining_since != 0 && passed(idle_since.max(draining_since), DRAIN_GRACE);
                (!busy && (drained || passed(idle_since, limits.idle_timeout)), Overdue::Idle)
            }
            // A head that came behind a running request has waited for nobody until that ended.
            Phase::Head => {
                (!busy && passed(since.max(idle_since), limits.header_timeout), Overdue::Head)
            }
            Phase::BodyFlows => (false, Overdue::Body),
            Phase::Body => (passed(since, limits.body_timeout), Overdue::Body),
            Phase::HalfClosed => (passed(since, limits.idle_timeout), Overdue::HalfClosed),
            Phase::Tunnel => (passed(since, limits.tunnel_timeout), Overdue::Tunnel),
            Phase::Linger => (passed(since, LINGER), Overdue::Linger),
            Phase::LingerTidy => (passed(since, LINGER_TIDY), Overdue::Linger),
        };
        is_overdue.then_some(what)
    }
}

/// How long to wait until the next tick: a quarter of the shortest limit, within bounds.
pub(super) fn tick(limits: &Limits, draining: bool) -> Duration {
    let mut shortest = limits
        .header_timeout
        .min(limits.body_timeout)
        .min(limits.write_timeout)
        .min(limits.idle_timeout)
        .min(limits.tunnel_timeout);
    if draining {
        shortest = shortest.min(DRAIN_GRACE);
    }
    (shortest / 4).clamp(Duration::from_millis(10), TICK)
}
