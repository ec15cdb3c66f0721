//! Puts the machine rooms together for `larder run`.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::cache::budget::Budget;
use crate::cache::codec;
use crate::cache::disk::{Claim, Disk, DiskConfig};
use crate::cache::flight::Flights;
use crate::cache::flight::windows::Windows;
use crate::cache::hash::{KeyedHasher, hash_key};
use crate::cache::memory::Memory;
use crate::cache::purge::{self, MAX_BYTES, MAX_RECORDS, PurgeLog};
use crate::cache::tiers::Tiers;
use crate::cache::uncacheable::Uncacheable;
use crate::cli::deploy;
use crate::config::Live;
use crate::config::memory::MemoryPlan;
use crate::config::snapshot::Snapshot;
use crate::observe::access_log::AccessLog;
use crate::observe::metrics::{Metrics, TierView};
use crate::proxy::recode::Recodings;
use crate::proxy::worker::House;
use crate::semantics::headers::Pseudonym;
use crate::upstream;

/// Keys of which it is remembered why a request's answer was not stored.
const REFUSED: usize = 10_000;

/// The rooms of a running Larder.
#[derive(Clone)]
pub struct Rooms {
    /// What all workers share.
    pub house: Arc<House>,
    /// What shares the budget of memory.
    pub budget: Arc<Budget>,
    /// Bounds on connections to the origin, over all workers.
    pub upstreams: Arc<upstream::Shared>,
}

/// Builds the rooms. The disk tier opens behind.
pub fn build(
    live: &Arc<Live>,
    metrics: &Arc<Metrics>,
    log: &Arc<AccessLog>,
    handle: &Handle,
) -> Rooms {
    let snapshot = live.current();
    let plan = MemoryPlan::of(&snapshot);
    let (disk, purges) = disk(&snapshot, &plan, metrics, handle);
    let hasher = KeyedHasher::new(hash_key(None));
    let memory = Memory::new(plan.store_most, hasher, metrics);
    let windows = Arc::new(Windows::new(plan.flights, plan.least_window));
    let budget = Budget::new(plan, memory.clone(), disk.clone(), windows.clone(), metrics.clone());
    let budget = Arc::new(budget);
    metrics.show_budget(budget.clone());
    metrics.show_tier("memory", Arc::new(MemoryView(memory.clone())));
    metrics.show_tier("disk", Arc::new(DiskView(disk.clone(), snapshot.cache.disk)));
    let tiers = Tiers::new(memory, disk, purges, metrics.clone());
    let house = House {
        live: live.clone(),
        tiers: Arc::new(tiers),
        flights: Flights::new(windows, metrics.clone()),
        uncacheable: Uncacheable::new(snapshot.cache.max_uncacheable),
        refused: Uncacheable::new(REFUSED),
        recodings: Recodings::default(),
        metrics: metrics.clone(),
        log: log.clone(),
        via: via(),
    };
    Rooms { house: Arc::new(house), budget, upstreams: upstream::Shared::new() }
}

/// This process's name in Via: nobody else's, and the same for as long as it lives.
fn via() -> Pseudonym {
    let random = getrandom::u64().unwrap_or_else(|_| crate::clock::monotonic_ns());
    let name = format!("larder-{:08x}", random & 0xffff_ffff);
    Pseudonym::new(&name).expect("hexadecimal digits are a valid header value")
}

/// The disk tier and the invalidation log beside it. Where the directory cannot be had, purges
/// are kept in memory, and the disk is tried again from time to time.
fn disk(
    snapshot: &Snapshot,
    plan: &MemoryPlan,
    metrics: &Arc<Metrics>,
    handle: &Handle,
) -> (Disk, PurgeLog) {
    let cache = &snapshot.cache;
    let in_memory = || PurgeLog::in_memory(MAX_RECORDS, MAX_BYTES);
    let Some(dir) = cache.dir.as_deref().filter(|_| cache.disk > 0) else {
        return (Disk::off(), in_memory());
    };
    let mut config = DiskConfig::new(dir, cache.disk);
    config.block_size = Some(cache.block_size).filter(|size| *size > 0);
    config.flush_buffer = Some(plan.flush_buffer);
    config.max_objects = Some(plan.entries);
    config.store_wait = cache.store_wait;
    config.codec_version = u32::from(codec::VERSION);
    let open = |claim| Disk::open_claimed(config, claim, metrics.clone(), handle);
    let Ok(claim) = Claim::take(dir) else {
        return (open(None), in_memory()); // which tries again, and tells why
    };
    match PurgeLog::open(Some(&dir.join(purge::FILE)), MAX_RECORDS, MAX_BYTES) {
        Ok(purges) => {
            if let Some(id) = &snapshot.deploy_id {
                deploy::note(dir, id, &purges);
            }
            (open(Some(claim)), purges)
        }
        Err(error) => {
            // What is stored must not outlive what was purged.
            tracing::error!(%error, "running from memory without the disk cache");
            (Disk::off(), in_memory())
        }
    }
}

struct MemoryView(Memory);

impl TierView for MemoryView {
    fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    fn capacity(&self) -> u64 {
        self.0.capacity()
    }

    fn objects(&self) -> u64 {
        self.0.objects()
    }
}

struct DiskView(Disk, u64);

impl TierView for DiskView {
    fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    fn capacity(&self) -> u64 {
        self.1
    }

    fn objects(&self) -> u64 {
        self.0.objects()
    }
}
