//! Puts the machine rooms together for `larder run`.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::cache::codec;
use crate::cache::disk::{Disk, DiskConfig};
use crate::cache::flight::Flights;
use crate::cache::hash::{KeyedHasher, hash_key};
use crate::cache::memory::Memory;
use crate::cache::purge::{MAX_BYTES, MAX_RECORDS, PurgeLog};
use crate::cache::tiers::Tiers;
use crate::cache::uncacheable::Uncacheable;
use crate::config::Live;
use crate::config::snapshot::Snapshot;
use crate::observe::access_log::AccessLog;
use crate::observe::metrics::{Metrics, TierView};
use crate::proxy::worker::House;
use crate::semantics::headers::Pseudonym;
use crate::upstream;

/// The rooms of a running Larder.
#[derive(Clone)]
pub struct Rooms {
    /// What all workers share.
    pub house: Arc<House>,
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
    let (disk, hasher) = disk(&snapshot, metrics, handle);
    let memory = Memory::new(snapshot.cache.memory, hasher, metrics);
    let purges = purges(&snapshot);
    metrics.show_tier("memory", Arc::new(MemoryView(memory.clone())));
    metrics.show_tier("disk", Arc::new(DiskView(disk.clone(), snapshot.cache.disk)));
    let tiers = Tiers::new(memory, disk, purges, metrics.clone());
    let house = House {
        live: live.clone(),
        tiers: Arc::new(tiers),
        flights: Flights::new(metrics.clone()),
        uncacheable: Uncacheable::new(snapshot.cache.max_uncacheable),
        metrics: metrics.clone(),
        log: log.clone(),
        via: via(),
    };
    Rooms { house: Arc::new(house), upstreams: upstream::Shared::new() }
}

/// This process's name in Via: nobody else's, and the same for as long as it lives.
fn via() -> Pseudonym {
    let random = getrandom::u64().unwrap_or_else(|_| crate::clock::monotonic_ns());
    let name = format!("larder-{:08x}", random & 0xffff_ffff);
    Pseudonym::new(&name).expect("hexadecimal digits are a valid header value")
}

/// The disk tier, and the hasher that finds its entries again.
fn disk(snapshot: &Snapshot, metrics: &Arc<Metrics>, handle: &Handle) -> (Disk, KeyedHasher) {
    let cache = &snapshot.cache;
    let Some(dir) = cache.dir.as_deref().filter(|_| cache.disk > 0) else {
        return (Disk::off(), KeyedHasher::new(hash_key(None)));
    };
    let mut config = DiskConfig::new(dir, cache.disk);
    config.block_size = Some(cache.block_size).filter(|size| *size > 0);
    config.store_wait = cache.store_wait;
    config.codec_version = u32::from(codec::VERSION);
    let hasher = KeyedHasher::new(hash_key(Some(dir)));
    (Disk::open(config, metrics.clone(), handle), hasher)
}

/// The invalidation log, beside what it is about; in memory where that cannot be written.
fn purges(snapshot: &Snapshot) -> PurgeLog {
    let path = snapshot.cache.dir.as_ref().map(|dir| dir.join("purge.log"));
    let opened = PurgeLog::open(path.as_deref(), MAX_RECORDS, MAX_BYTES);
    opened.unwrap_or_else(|error| {
        tracing::error!(%error, "purges are kept in memory only");
        PurgeLog::in_memory(MAX_RECORDS, MAX_BYTES)
    })
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
