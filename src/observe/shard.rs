//! What is counted once a request or more often, by worker: each writes to cache lines of its
//! own, and a scrape adds them up. An atomic addition to a line that no other core touches costs
//! a few nanoseconds; to a shared one, a hundred.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use http::Method;

use crate::observe::histogram::Cells;
use crate::semantics::decision::Outcome;

/// The label `method`: the nine of RFC 9110 and RFC 5789, and `other`, so that no client can
/// make labels.
pub const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "other"];

/// The label `status` of client answers.
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The label `status` of the origin's answers.
pub const ORIGIN_CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "error"];

const OUTCOMES: usize = Outcome::ALL.len();
const SERIES: usize = METHODS.len() * CLASSES.len() * OUTCOMES;

/// Where a method stands in [`METHODS`].
pub(crate) fn method_index(method: &Method) -> usize {
    match *method {
        Method::GET => 0,
        Method::HEAD => 1,
        Method::POST => 2,
        Method::PUT => 3,
        Method::DELETE => 4,
        Method::CONNECT => 5,
        Method::OPTIONS => 6,
        Method::TRACE => 7,
        Method::PATCH => 8,
        _ => 9,
    }
}

/// Where a status code's class stands in [`CLASSES`]; what is no status code counts as 5xx.
pub(crate) fn class_index(status: u16) -> usize {
    match status {
        100..=199 => 0,
        200..=299 => 1,
        300..=399 => 2,
        400..=499 => 3,
        _ => 4,
    }
}

/// Where a series of `larder_requests_total` stands in [`Shard::requests`].
pub(crate) fn series_index(method: usize, class: usize, outcome: usize) -> usize {
    (method * CLASSES.len() + class) * OUTCOMES + outcome
}

/// Requests by [`series_index`].
pub(crate) type Requests = [AtomicU64; SERIES];

/// Names of routes that are told apart in the life of a process; further ones share the last.
pub(crate) const MAX_ROUTES: usize = 1024;

/// One worker's numbers. 128: two lines, for processors that fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Shard {
    /// Of requests that met no route.
    pub(crate) requests: Requests,
    /// Of each route's; made when it is first met.
    pub(crate) routes: Box<[OnceLock<Box<Requests>>]>,
    pub(crate) durations: [Cells; OUTCOMES],
    pub(crate) lookups: Cells,
    pub(crate) origin: [AtomicU64; ORIGIN_CLASSES.len()],
    pub(crate) origin_durations: Cells,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            requests: no_requests(),
            routes: (0..MAX_ROUTES).map(|_| OnceLock::new()).collect(),
            durations: std::array::from_fn(|_| Cells::default()),
            lookups: Cells::default(),
            origin: std::array::from_fn(|_| AtomicU64::new(0)),
            origin_durations: Cells::default(),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
        }
    }
}

impl Shard {
    /// The counts of a route by its number; 0: of requests without one.
    pub(crate) fn requests_of(&self, route: u16) -> &Requests {
        let own = usize::from(route).checked_sub(1).and_then(|at| self.routes.get(at));
        own.map_or(&self.requests, |own| own.get_or_init(|| Box::new(no_requests())))
    }
}

fn no_requests() -> Requests {
    std::array::from_fn(|_| AtomicU64::new(0))
}

const LANES: usize = 16;

/// A number that only goes up and is counted from many threads at every read or write: each
/// thread adds to one of a few lanes.
#[derive(Debug, Default)]
pub struct Spread {
    lanes: [Lane; LANES],
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane(AtomicU64);

impl Spread {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        if let Some(lane) = self.lanes.get(lane_of_this_thread() % LANES) {
            lane.0.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.0.load(Ordering::Relaxed)).sum()
    }
}

fn lane_of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static LANE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    LANE.with(|lane| {
        if lane.get() == usize::MAX {
            lane.set(NEXT.fetch_add(1, Ordering::Relaxed) % LANES);
        }
        lane.get()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_has_a_place_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for method in 0..METHODS.len() {
            for class in 0..CLASSES.len() {
                for outcome in 0..OUTCOMES {
                    assert!(seen.insert(series_index(method, class, outcome)));
                }
            }
        }
        assert_eq!(seen.len(), SERIES);
        assert_eq!(seen.iter().max(), Some(&(SERIES - 1)));
    }

    #[test]
    fn known_methods_are_named_and_the_rest_is_other() {
        for (at, name) in METHODS.iter().enumerate().take(9) {
            let method = Method::from_bytes(name.as_bytes()).unwrap();
            assert_eq!(method_index(&method), at, "{name}");
        }
        for name in ["PURGE", "get", "X"] {
            assert_eq!(method_index(&Method::from_bytes(name.as_bytes()).unwrap()), 9, "{name}");
        }
    }

    #[test]
    fn a_spread_number_is_exact() {
        let number = Spread::default();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| (0..1000).for_each(|_| number.inc()));
            }
        });
        assert_eq!(number.get(), 20_000);
    }
}
