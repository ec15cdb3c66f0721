//! One budget for all that grows with use: how `cache.memory` is shared out (DESIGN D12).
//!
//! Disk index, flush buffers, fetches under way and connections have their shares; the memory tier
//! has what they leave, and gives way where they take more. The program itself, some 15 MiB, is
//! not in it, nor are the records of purges (at most 16 MiB).

use crate::config::snapshot::{Cache, Snapshot};
use crate::config::value::show_bytes;

/// What an entry on disk takes in memory: foyer's index (48 to 94 bytes, as its tables double), and
/// a part of its hash in our ledger.
pub const INDEX_ENTRY: u64 = 90;
/// What an idle connection takes, to a client or to the origin; measured 12 to 16 KiB.
pub const CONNECTION: u64 = 16 << 10;
/// Flush buffers' worth of entries in memory at most: four that wait, one that is written, and one
/// that is filled.
pub const FLUSH_BUFFERS: u64 = 6;

/// An entry takes no less on disk.
const PAGE: u64 = 4 << 10;
const FLUSH_UNIT: u64 = 64 << 10;
const FLUSH_MOST: u64 = 8 << 20;
/// So few entries on disk are always allowed.
const LEAST_ENTRIES: u64 = 1024;
/// A disk that takes larger objects than these on average to be used whole is warned of.
const USUAL_OBJECT: u64 = 64 << 10;

/// Shares of one budget, in bytes where nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// All together.
    pub budget: u64,
    /// The memory tier while the others use no more than their shares and the disk is empty.
    pub store_most: u64,
    /// The memory tier never gets less.
    pub store_least: u64,
    /// Entries on disk at most: a number.
    pub entries: u64,
    /// What is written to disk at once.
    pub flush_buffer: u64,
    /// All that waits to be written and is being written.
    pub flush: u64,
    /// Bodies under way; beyond it each is held to [`Self::least_window`].
    pub flights: u64,
    /// What a body under way may always have in memory.
    pub least_window: u64,
    /// Connections; more of them take from the memory tier.
    pub connections: u64,
}

/// What the parts use now, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// The index of the disk.
    pub index: u64,
    /// Bodies under way.
    pub flights: u64,
    /// Connections, to clients and to the origin.
    pub connections: u64,
}

impl MemoryPlan {
    /// The plan of a configuration.
    pub fn of(snapshot: &Snapshot) -> Self {
        Self::for_cache(&snapshot.cache, snapshot.limits.connections as u64)
    }

    pub(in crate::config) fn for_cache(cache: &Cache, connections: u64) -> Self {
        let budget = cache.memory_budget;
        let eighth = budget / 8;
        let least_window = cache.segment_size.saturating_mul(2).min(cache.window.max(1));
        let flush_buffer = if cache.disk > 0 { flush_buffer(cache, eighth) } else { 0 };
        let flush = flush_buffer * FLUSH_BUFFERS;
        let connections = eighth.min(connections.saturating_mul(CONNECTION));
        let rest = budget.saturating_sub(flush + eighth + connections);
        let quarter = budget / 4;
        let index = (quarter + eighth).min(rest.saturating_sub(quarter));
        let entries = (cache.disk / PAGE).min((index / INDEX_ENTRY).max(LEAST_ENTRIES));
        let (store_most, store_least) =
            if cache.memory > 0 { (rest.max(quarter), quarter) } else { (0, 0) };
        Self {
            budget,
            store_most,
            store_least,
            entries,
            flush_buffer,
            flush,
            flights: eighth,
            least_window,
            connections,
        }
    }

    /// The index of the disk at most.
    pub fn index(&self) -> u64 {
        self.entries * INDEX_ENTRY
    }

    /// What the memory tier may hold while the others use this much.
    pub fn store(&self, used: &Used) -> u64 {
        let taken = used.index
            + self.flush
            + used.flights.max(self.flights)
            + used.connections.max(self.connections);
        self.budget.saturating_sub(taken).clamp(self.store_least, self.store_most)
    }

    /// What is odd about it, for the user: `disk` bytes of disk.
    pub fn warnings(&self, disk: u64) -> Vec<String> {
        let mut warnings = Vec::new();
        let least = self.store_least + self.index() + self.flush + self.flights + self.connections;
        if least > self.budget {
            warnings.push(format!(
                "`cache.memory` is {}; what goes on beside the memory tier takes up to {} of memory",
                show_bytes(self.budget),
                about(least - self.store_least)
            ));
        }
        let mean = disk.checked_div(self.entries).unwrap_or(0);
        if mean > USUAL_OBJECT {
            warnings.push(format!(
                "`cache.disk` is {}, and `cache.memory` has room to index {} entries on it: it is \
                 used whole only by objects of {} on average; more memory indexes more",
                show_bytes(disk),
                self.entries,
                about(mean)
            ));
        }
        warnings
    }

    /// The plan in lines for people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut line = |part: &str, size: u64, what: String| {
            lines.push(format!("{part:<14}{:>9}  {what}", about(size)));
        };
        line("memory", self.budget, "the budget (cache.memory), of which".to_owned());
        let full = self.store(&Used { index: self.index(), ..Used::default() });
        if self.store_most == 0 {
            line("memory tier", 0, "off".to_owned());
        } else if full < self.store_most {
            let what = format!("while the disk is empty; {} once its index is full", about(full));
            line("memory tier", self.store_most, what);
        } else {
            line("memory tier", self.store_most, "what the others leave".to_owned());
        }
        if self.entries > 0 {
            let what = format!("{} entries at most, {INDEX_ENTRY} bytes each", self.entries);
            line("disk index", self.index(), what);
            let what = format!("{FLUSH_BUFFERS} of {}", about(self.flush_buffer));
            line("flush buffers", self.flush, what);
        }
        let what = format!("bodies under way; beyond it {} each", about(self.least_window));
        line("fetches", self.flights, what);
        let many = self.connections / CONNECTION;
        let what = format!("{many} idle ones; more take from the memory tier");
        line("connections", self.connections, what);
        lines
    }
}

/// An eighth of the budget in all, but room for an entry with two bodies and its head.
fn flush_buffer(cache: &Cache, eighth: u64) -> u64 {
    let entry = (2 * cache.segment_size + 2 * FLUSH_UNIT).next_multiple_of(PAGE);
    let share = eighth / FLUSH_BUFFERS / FLUSH_UNIT * FLUSH_UNIT;
    share.clamp(entry.min(FLUSH_MOST), FLUSH_MOST).min(cache.block_size / 2 / PAGE * PAGE)
}

/// A size to a tenth of its unit.
fn about(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1024 => return bytes.to_string(),
        1024..0x10_0000 => (1024, "KiB"),
        0x10_0000..0x4000_0000 => (1 << 20, "MiB"),
        _ => (1 << 30, "GiB"),
    };
    let tenths = (bytes * 10 + unit / 2) / unit;
    if tenths.is_multiple_of(10) {
        format!("{}{name}", tenths / 10)
    } else {
        format!("{}.{}{name}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::{Flags, Sources, load_bytes};
    use crate::config::machine::Machine;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;

    fn snapshot(text: &str) -> Snapshot {
        let machine =
            Machine { cores: 2, memory: None, descriptors: None, cache_dir: Some("/c".into()) };
        let flags = Flags { upstream: Some("http://a".to_owned()), ..Flags::default() };
        let sources = Sources { file: Some("c.toml".into()), environment: vec![], flags, machine };
        let loaded = load_bytes(sources, Some(Ok(text.as_bytes().to_vec())));
        (*loaded.unwrap_or_else(|error| panic!("{error}")).snapshot).clone()
    }

    fn plan(text: &str) -> MemoryPlan {
        MemoryPlan::of(&snapshot(text))
    }

    #[test]
    fn shares_by_budget_and_disk() {
        for (case, text, entries, flush_buffer, store_most, full) in [
            // 1 GiB of single pages is indexed whole.
            ("default", "", 262_144, 1344 * KIB, 42_074_112, 18_481_152),
            ("no disk", "[cache]\ndisk = 0", 0, 0, 48 * MIB, 48 * MIB),
            (
                "a small disk",
                "[cache]\ndisk = \"16MiB\"",
                4096,
                512 * KIB,
                48 * MIB - 6 * 512 * KIB,
                48 * MIB - 6 * 512 * KIB - 4096 * 90,
            ),
            (
                "a large disk",
                "[cache]\ndisk = \"100GiB\"",
                24 * MIB / 90,
                1344 * KIB,
                42_074_112,
                42_074_112 - 24 * MIB / 90 * 90,
            ),
            (
                "much memory",
                "[cache]\nmemory = \"1GiB\"\ndisk = \"100GiB\"",
                384 * MIB / 90,
                8 * MIB,
                720 * MIB,
                720 * MIB - 384 * MIB / 90 * 90,
            ),
            (
                "few connections",
                "[cache]\ndisk = 0\n[limits]\nconnections = 64",
                0,
                0,
                55 * MIB,
                55 * MIB,
            ),
            ("no memory tier", "[cache]\nmemory = 0", 262_144, 1344 * KIB, 0, 0),
        ] {
            let plan = plan(text);
            assert_eq!((plan.entries, plan.flush_buffer), (entries, flush_buffer), "{case}");
            assert_eq!(plan.store(&Used::default()), store_most, "{case}");
            assert_eq!(plan.store_most, store_most, "{case}");
            let used = Used { index: plan.index(), ..Used::default() };
            assert_eq!(plan.store(&used), full, "{case}");
        }
    }

    #[test]
    fn the_parts_are_no_more_than_the_whole() {
        for memory in ["4MiB", "8MiB", "16MiB", "17MiB", "64MiB", "100MB", "1GiB", "64GiB"] {
            for disk in ["0", "\"16MiB\"", "\"1GiB\"", "\"10000GiB\""] {
                let plan = plan(&format!("[cache]\nmemory = \"{memory}\"\ndisk = {disk}"));
                let parts = plan.index() + plan.flush + plan.flights + plan.connections;
                let used = Used { index: plan.index(), ..Used::default() };
                assert!(parts + plan.store(&used) <= plan.budget, "{memory} {disk}: {plan:?}");
                assert!(plan.store_least >= plan.budget / 4, "{memory} {disk}");
                // One entry with two bodies fits a buffer, if the block lets it.
                let cache =
                    snapshot(&format!("[cache]\nmemory = \"{memory}\"\ndisk = {disk}")).cache;
                let entry = 2 * cache.segment_size + 64 * KIB;
                assert!(plan.entries == 0 || plan.flush_buffer >= entry.min(cache.block_size / 2));
            }
        }
    }

    #[test]
    fn the_memory_tier_gives_way_but_not_wholly() {
        let plan = plan("[cache]\ndisk = 0");
        for (case, flights, connections, store) in [
            ("idle", 0, 0, 48 * MIB),
            ("within the shares", 8 * MIB, 8 * MIB, 48 * MIB),
            ("more connections", 0, 20 * MIB, 36 * MIB),
            ("more bodies", 12 * MIB, 0, 44 * MIB),
            ("far too much", 100 * MIB, 100 * MIB, 16 * MIB),
        ] {
            let used = Used { index: 0, flights, connections };
            assert_eq!(plan.store(&used), store, "{case}");
        }
    }

    #[test]
    fn what_does_not_fit_is_warned_of() {
        let warned = |text: &str| plan(text).warnings(snapshot(text).cache.disk);
        assert_eq!(warned(""), [""; 0]);
        assert_eq!(
            warned("[cache]\ndisk = \"100GiB\""),
            ["`cache.disk` is 100GiB, and `cache.memory` has room to index 279620 entries on it: \
              it is used whole only by objects of 375KiB on average; more memory indexes more"]
        );
        assert_eq!(
            warned("[cache]\nmemory = \"1MiB\"\ndisk = \"16MiB\""),
            ["`cache.memory` is 1MiB; what goes on beside the memory tier takes up to 1.2MiB of \
              memory"]
        );
    }

    #[test]
    fn the_plan_in_lines() {
        let lines = plan("").lines();
        assert_eq!(
            lines,
            [
                "memory            64MiB  the budget (cache.memory), of which",
                "memory tier     40.1MiB  while the disk is empty; 17.6MiB once its index is full",
                "disk index      22.5MiB  262144 entries at most, 90 bytes each",
                "flush buffers    7.9MiB  6 of 1.3MiB",
                "fetches            8MiB  bodies under way; beyond it 512KiB each",
                "connections        8MiB  512 idle ones; more take from the memory tier",
            ]
        );
    }
}
