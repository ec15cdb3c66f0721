//! What foyer's engine is told and asked besides reading and writing: its counters, and the order in
//! which it evicts.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use foyer::{EvictionInfo, EvictionPicker};
use mixtrics::metrics::{
    BoxedCounter, BoxedCounterVec, BoxedGaugeVec, BoxedHistogramVec, CounterOps, CounterVecOps,
    RegistryOps,
};
use mixtrics::registry::noop::NoopMetricsRegistry;

use crate::cache::disk::ledger::Ledger;
use crate::observe::metrics::{Count, DiskCounts, Metrics};

/// foyer's metrics, of which those that tell something are counted in ours.
pub(super) fn foyer_metrics(metrics: &Arc<Metrics>) -> Arc<foyer_common::metrics::Metrics> {
    let registry: Box<dyn RegistryOps> = Box::new(Registry(metrics.clone()));
    Arc::new(foyer_common::metrics::Metrics::new("larder", &registry))
}

/// Which of our counters stands for foyer's counter `name` with the label `op`.
fn counter(name: &str, op: &str) -> Option<fn(&DiskCounts) -> &Count> {
    Some(match (name, op) {
        // The only trace that an entry dropped by foyer leaves.
        ("foyer_storage_inner_op_total", "buffer_overflow") => |disk| &disk.overflow_buffer,
        ("foyer_storage_inner_op_total", "channel_overflow") => |disk| &disk.overflow_channel,
        ("foyer_storage_disk_io_total", "read") => |disk| &disk.io_reads,
        ("foyer_storage_disk_io_total", "write") => |disk| &disk.io_writes,
        ("foyer_storage_disk_io_bytes_total", "read") => |disk| &disk.io_read_bytes,
        ("foyer_storage_disk_io_bytes_total", "write") => |disk| &disk.io_write_bytes,
        _ => return None,
    })
}

/// A registry that hands out our counters where we have one, and ones that count nothing else.
#[derive(Debug)]
struct Registry(Arc<Metrics>);

/// One of foyer's counters with all its labels.
#[derive(Debug)]
struct Vector {
    name: Cow<'static, str>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Tap {
    count: fn(&DiskCounts) -> &Count,
    metrics: Arc<Metrics>,
}

impl CounterOps for Tap {
    fn increase(&self, val: u64) {
        (self.count)(&self.metrics.disk).add(val);
    }
}

impl CounterVecOps for Vector {
    fn counter(&self, labels: &[Cow<'static, str>]) -> BoxedCounter {
        match labels.last().and_then(|op| counter(&self.name, op)) {
            Some(count) => Box::new(Tap { count, metrics: self.metrics.clone() }),
            None => Box::new(NoopMetricsRegistry),
        }
    }
}

impl RegistryOps for Registry {
    fn register_counter_vec(
        &self,
        name: Cow<'static, str>,
        _desc: Cow<'static, str>,
        _labels: &'static [&'static str],
    ) -> BoxedCounterVec {
        Box::new(Vector { name, metrics: self.0.clone() })
    }

    fn register_gauge_vec(
        &self,
        _name: Cow<'static, str>,
        _desc: Cow<'static, str>,
        _labels: &'static [&'static str],
    ) -> BoxedGaugeVec {
        Box::new(NoopMetricsRegistry)
    }

    fn register_histogram_vec(
        &self,
        _name: Cow<'static, str>,
        _desc: Cow<'static, str>,
        _labels: &'static [&'static str],
    ) -> BoxedHistogramVec {
        Box::new(NoopMetricsRegistry)
    }

    fn register_histogram_vec_with_buckets(
        &self,
        _name: Cow<'static, str>,
        _desc: Cow<'static, str>,
        _labels: &'static [&'static str],
        _buckets: Vec<f64>,
    ) -> BoxedHistogramVec {
        Box::new(NoopMetricsRegistry)
    }
}

/// Evicts blocks strictly in the order in which they were written.
///
/// foyer's own pickers do not: the one by invalid bytes may evict a newer copy before the older
/// one it replaced, and the one by age starts in random order after a restart. Either way an
/// older copy would be left alone on disk, and recovery would bring it back.
#[derive(Debug)]
pub(super) struct OldestFirst {
    ledger: Arc<Ledger>,
    /// Set until foyer has recovered; evictable blocks come in random order till then.
    recovering: Arc<AtomicBool>,
}

impl OldestFirst {
    pub(super) fn new(ledger: Arc<Ledger>, recovering: Arc<AtomicBool>) -> Self {
        Self { ledger, recovering }
    }

    /// Hits in marked blocks are told to be old.
    fn mark_old(&self, info: &EvictionInfo<'_>) {
        self.ledger.mark_old(info.clean, |block| {
            if let Some(block) = info.blocks.get(block as usize) {
                block.statistics().probation.store(true, Ordering::Relaxed);
            }
        });
    }
}

impl EvictionPicker for OldestFirst {
    fn pick(&mut self, info: EvictionInfo<'_>) -> Option<u32> {
        self.mark_old(&info);
        self.ledger.oldest()
    }

    fn on_block_evictable(&mut self, info: EvictionInfo<'_>, block: u32) {
        if self.recovering.load(Ordering::Acquire) {
            self.ledger.recovered(block);
        } else {
            self.ledger.filled(block);
            self.mark_old(&info);
        }
    }

    fn on_block_evict(&mut self, _info: EvictionInfo<'_>, block: u32) {
        self.ledger.evicted(block);
    }
}
