//! What foyer's engine is told and asked besides reading and writing: its drop counters, the order
//! in which it evicts, and how much it holds.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use foyer::{EvictionInfo, EvictionPicker};
use mixtrics::metrics::{
    BoxedCounter, BoxedCounterVec, BoxedGaugeVec, BoxedHistogramVec, CounterOps, CounterVecOps,
    RegistryOps,
};
use mixtrics::registry::noop::NoopMetricsRegistry;

/// foyer's counts of entries that it dropped, the only trace that a drop leaves in it.
#[derive(Debug, Clone, Default)]
pub struct Overflows {
    buffer: Arc<AtomicU64>,
    channel: Arc<AtomicU64>,
}

impl Overflows {
    /// Entries that did not fit the flush buffer, and entries that did not fit the queue.
    pub fn get(&self) -> (u64, u64) {
        (self.buffer.load(Ordering::Relaxed), self.channel.load(Ordering::Relaxed))
    }

    pub(super) fn sum(&self) -> u64 {
        let (buffer, channel) = self.get();
        buffer + channel
    }

    /// foyer's metrics, of which only these two are kept.
    pub(super) fn metrics(&self) -> Arc<foyer_common::metrics::Metrics> {
        let registry: Box<dyn RegistryOps> = Box::new(Registry(self.clone()));
        Arc::new(foyer_common::metrics::Metrics::new("larder", &registry))
    }
}

/// A registry that hands out counters for drops and nothing else.
#[derive(Debug)]
struct Registry(Overflows);

#[derive(Debug)]
struct Tap(Arc<AtomicU64>);

impl CounterOps for Tap {
    fn increase(&self, val: u64) {
        self.0.fetch_add(val, Ordering::Relaxed);
    }
}

impl CounterVecOps for Registry {
    fn counter(&self, labels: &[Cow<'static, str>]) -> BoxedCounter {
        match labels.last().map(AsRef::as_ref) {
            Some("buffer_overflow") => Box::new(Tap(self.0.buffer.clone())),
            Some("channel_overflow") => Box::new(Tap(self.0.channel.clone())),
            _ => Box::new(NoopMetricsRegistry),
        }
    }
}

impl RegistryOps for Registry {
    fn register_counter_vec(
        &self,
        _name: Cow<'static, str>,
        _desc: Cow<'static, str>,
        _labels: &'static [&'static str],
    ) -> BoxedCounterVec {
        Box::new(Registry(self.0.clone()))
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

/// How much the disk holds, estimated: an evicted block is taken for an average one.
#[derive(Debug, Default)]
pub(super) struct Tally {
    objects: AtomicU64,
    bytes: AtomicU64,
}

impl Tally {
    pub(super) fn add(&self, objects: u64, bytes: u64) {
        self.objects.fetch_add(objects, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn clear(&self) {
        self.objects.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
    }

    pub(super) fn objects(&self) -> u64 {
        self.objects.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// One of `full` full blocks was evicted.
    fn evicted(&self, full: usize) {
        let full = full.max(1) as u64;
        for count in [&self.objects, &self.bytes] {
            let _ =
                count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(n - n / full));
        }
    }
}

/// Evicts blocks strictly in the order in which they were written.
///
/// foyer's own pickers do not: the one by invalid bytes may evict a newer copy before the older
/// one it replaced, and the one by age starts in random order after a restart. Either way an
/// older copy would be left alone on disk, and recovery would bring it back.
#[derive(Debug)]
pub(super) struct OldestFirst {
    /// By block: the number of its first entry as found when the disk was opened.
    found: Vec<Option<u64>>,
    /// Set until foyer has recovered; evictable blocks come in random order till then.
    recovering: Arc<AtomicBool>,
    queue: VecDeque<u32>,
    tally: Arc<Tally>,
}

impl OldestFirst {
    pub(super) fn new(
        found: Vec<Option<u64>>,
        recovering: Arc<AtomicBool>,
        tally: Arc<Tally>,
    ) -> Self {
        Self { found, recovering, queue: VecDeque::new(), tally }
    }

    fn age(&self, block: u32) -> u64 {
        self.found.get(block as usize).copied().flatten().unwrap_or(0)
    }

    /// Marks the oldest quarter once the disk is nearly full: hits there are written again. (foyer
    /// may tell of a full block before it has taken the next clean one: so not at the last one.)
    fn mark_old(&self, info: &EvictionInfo<'_>) {
        let old = (info.blocks.len() / 4).max(1);
        if info.clean > old {
            return;
        }
        for block in self.queue.iter().take(old) {
            if let Some(block) = info.blocks.get(*block as usize) {
                block.statistics().probation.store(true, Ordering::Relaxed);
            }
        }
    }
}

impl EvictionPicker for OldestFirst {
    fn pick(&mut self, info: EvictionInfo<'_>) -> Option<u32> {
        self.mark_old(&info);
        self.queue.front().copied()
    }

    fn on_block_evictable(&mut self, info: EvictionInfo<'_>, block: u32) {
        if self.recovering.load(Ordering::Acquire) {
            let age = self.age(block);
            let at = self.queue.partition_point(|other| self.age(*other) <= age);
            self.queue.insert(at, block);
        } else {
            self.queue.push_back(block);
        }
        self.mark_old(&info);
    }

    fn on_block_evict(&mut self, _info: EvictionInfo<'_>, block: u32) {
        self.tally.evicted(self.queue.len());
        self.queue.retain(|other| *other != block);
    }
}
