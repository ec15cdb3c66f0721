//! Larder's clock: the only file that reads one.
//!
//! Wall-clock time that never goes backwards while the process lives: it advances with
//! `CLOCK_BOOTTIME` (which counts suspend), follows the wall clock when that is stepped
//! forward, and stays where it is when that is stepped back. So a clock step can make a stored
//! response stale too early, never fresh again.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::semantics::time::Timestamp;

/// What the wall clock is ahead of the boot clock, in milliseconds; only ever raised.
static OFFSET_MS: AtomicU64 = AtomicU64::new(0);
static STARTED_MS: OnceLock<u64> = OnceLock::new();

/// Steps of the wall clock below this are left to the next larger one: NTP slews all the time.
const STEP_MS: u64 = 500;

fn read_ms(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    secs.saturating_mul(1000).saturating_add(nanos / 1_000_000)
}

/// One reading of the boot clock: good for a date and for a span alike, so that a request asks
/// for the time no more often than it must.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    ns: u64,
}

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        let secs = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        Self { ns: secs.saturating_mul(1_000_000_000).saturating_add(nanos) }
    }

    /// The date, for every decision on freshness. The first call sets the clock.
    pub fn timestamp(self) -> Timestamp {
        let mut offset = OFFSET_MS.load(Ordering::Relaxed);
        if offset == 0 {
            follow_wall_clock();
            offset = OFFSET_MS.load(Ordering::Relaxed);
        }
        Timestamp::from_millis((self.ns / 1_000_000).saturating_add(offset))
    }

    /// Nanoseconds since `earlier`.
    pub fn ns_since(self, earlier: Self) -> u64 {
        self.ns.saturating_sub(earlier.ns)
    }
}

/// Now, for every decision on freshness.
pub fn now() -> Timestamp {
    Moment::now().timestamp()
}

/// Takes over a wall clock that was stepped forward. Called at start and then about once a
/// second by a sampler of the back room.
pub fn follow_wall_clock() {
    let wall = read_ms(ClockId::Realtime);
    let boot = monotonic_ms();
    let offset = wall.saturating_sub(boot);
    let known = OFFSET_MS.load(Ordering::Relaxed);
    if known == 0 || offset > known.saturating_add(STEP_MS) {
        OFFSET_MS.fetch_max(offset.max(1), Ordering::Relaxed);
    }
}

/// As if the wall clock had been stepped forward by `span`: how a test crosses a day at no cost.
/// Of this process only, and only forward, so that nothing stale can become fresh by it.
pub fn step_forward(span: Duration) {
    let _ = now(); // the first call sets the clock
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    OFFSET_MS.fetch_add(millis, Ordering::Relaxed);
}

/// Milliseconds that only ever go up, suspend included. For spans, never for dates.
pub fn monotonic_ms() -> u64 {
    read_ms(ClockId::Boottime)
}

/// Nanoseconds that only ever go up. For measuring how long something took.
pub fn monotonic_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    secs.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// Remembers when the process began, for the uptime.
pub fn mark_start() {
    let _ = STARTED_MS.set(monotonic_ms());
}

/// Time since [`mark_start`]; zero before it.
pub fn uptime() -> Duration {
    STARTED_MS.get().map_or(Duration::ZERO, |started| {
        Duration::from_millis(monotonic_ms().saturating_sub(*started))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_is_near_the_wall_clock_and_never_goes_back() {
        let wall = read_ms(ClockId::Realtime);
        let first = now();
        assert!(first.as_millis().abs_diff(wall) < 2_000, "{first:?} against {wall}");
        let mut last = first;
        for _ in 0..10_000 {
            let next = now();
            assert!(next >= last);
            last = next;
        }
    }
}
