//! Histograms of fixed buckets: one atomic addition to a bucket and one to the sum.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of the request and origin buckets in nanoseconds: 50 µs to 60 s.
pub const REQUEST_BOUNDS: [u64; 19] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
];

/// Upper bounds of the lookup buckets in nanoseconds: a memory lookup takes a few hundred, a
/// disk lookup 20 µs and more.
pub const LOOKUP_BOUNDS: [u64; 19] = [
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    50_000_000,
    250_000_000,
    1_000_000_000,
    5_000_000_000,
];

/// Buckets with an upper bound; one more takes what is larger.
pub const BOUNDS: usize = 19;
const BUCKETS: usize = BOUNDS + 1;

/// One histogram's cells; which bounds they have is the caller's to keep to.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

impl Cells {
    /// Counts a value of `ns` nanoseconds.
    pub(crate) fn observe(&self, bounds: &[u64; BOUNDS], ns: u64) {
        let at = bounds.iter().position(|bound| ns <= *bound).unwrap_or(BOUNDS);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// Adds what is counted here to `total`.
    pub(crate) fn add_to(&self, total: &mut Counted) {
        for (sum, bucket) in total.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
        total.sum_ns = total.sum_ns.wrapping_add(self.sum_ns.load(Ordering::Relaxed));
    }
}

/// A histogram read out: the sum of all workers' cells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// Values per bucket, not cumulative; the last one is unbounded.
    pub buckets: [u64; BUCKETS],
    /// Sum of all values in nanoseconds.
    pub sum_ns: u64,
}

impl Counted {
    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds another read-out of the same bounds.
    pub fn merge(&mut self, other: &Self) {
        for (sum, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += more;
        }
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }

    /// The sum in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_ns as f64 / 1e9
    }

    /// Bounds in seconds with their counts, as prometheus-client takes them.
    pub(crate) fn in_seconds(&self, bounds: &[u64; BOUNDS]) -> Vec<(f64, u64)> {
        let bounds = bounds.iter().map(|ns| *ns as f64 / 1e9).chain([f64::MAX]);
        bounds.zip(self.buckets).collect()
    }

    /// Estimates the value below which `share` (0..1) of all values lie, in nanoseconds, evenly
    /// spread within its bucket as Prometheus's `histogram_quantile` does; `None` without values.
    pub fn quantile_ns(&self, bounds: &[u64; BOUNDS], share: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = share * count as f64;
        let mut below = 0_u64;
        let mut lower = 0_u64;
        for (upper, here) in bounds.iter().zip(self.buckets) {
            if here > 0 && (below + here) as f64 >= rank {
                let part = (rank - below as f64).max(0.0) / here as f64;
                return Some(lower as f64 + (upper - lower) as f64 * part);
            }
            below += here;
            lower = *upper;
        }
        Some(lower as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(values: &[u64]) -> Counted {
        let cells = Cells::default();
        for ns in values {
            cells.observe(&REQUEST_BOUNDS, *ns);
        }
        let mut counted = Counted::default();
        cells.add_to(&mut counted);
        counted
    }

    #[test]
    fn a_value_on_a_bound_belongs_to_that_bucket() {
        let counted = counted(&[0, 50_000, 50_001, 60_000_000_000, 60_000_000_001, u64::MAX]);
        assert_eq!(counted.buckets[0], 2);
        assert_eq!(counted.buckets[1], 1);
        assert_eq!(counted.buckets[18], 1);
        assert_eq!(counted.buckets[19], 2);
        assert_eq!(counted.count(), 6);
    }

    #[test]
    fn bounds_go_up() {
        for bounds in [REQUEST_BOUNDS, LOOKUP_BOUNDS] {
            assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn quantiles_lie_in_the_right_bucket() {
        let mut values = vec![40_000; 99];
        values.push(2_000_000);
        let counted = counted(&values);
        let p50 = counted.quantile_ns(&REQUEST_BOUNDS, 0.5).unwrap();
        let p995 = counted.quantile_ns(&REQUEST_BOUNDS, 0.995).unwrap();
        assert!(p50 <= 50_000.0, "{p50}");
        assert!((1_000_000.0..=2_500_000.0).contains(&p995), "{p995}");
        assert_eq!(Counted::default().quantile_ns(&REQUEST_BOUNDS, 0.5), None);
    }
}
