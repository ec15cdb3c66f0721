//! Bounds and defaults of `[cache]`, most of which hang together.

use std::time::Duration;

use http::HeaderName;

use crate::config::file::{File, Given};
use crate::config::machine::Machine;
use crate::config::memory::INDEX_ENTRY;
use crate::config::snapshot::{Cache, ClientDirectives};
use crate::config::validate::{ANY_WAIT, Check, DAY, GIB, KIB, MIB, MINUTE, SECOND, value};
use crate::config::value::{MemorySize, Size, UnkeyedNames, show_bytes};
use crate::semantics::route::overrides::Overrides;

const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

const TIB: u64 = 1 << 40;

/// Shards of the memory tier; a segment is at most a sixteenth of one.
pub const MEMORY_SHARDS: u64 = 8;
const SEGMENTS_PER_SHARD: u64 = 16;

/// `cache.memory` where the machine is not small.
const MEMORY_DEFAULT: u64 = 64 * MIB;
const SEGMENT_DEFAULT: u64 = 256 * KIB;
const BLOCK_DEFAULT: u64 = 16 * MIB;
/// So many open files a disk takes at most for the sake of small blocks.
const MOST_BLOCKS: u64 = 512;
/// A page of the disk: blocks and segments are whole numbers of them.
const PAGE: u64 = 4 * KIB;

impl Check<'_> {
    pub(super) fn cache(&mut self, written: &File, machine: &Machine) -> Cache {
        let given = &written.cache;
        let (memory, memory_is_auto) = self.memory(given.memory.as_ref(), machine);
        let memory_budget = if memory > 0 { memory } else { memory_auto(machine) };
        let disk = self.disk(given.disk.as_ref());
        let block_size = self.block_size(given.block_size.as_ref(), disk, memory_budget);
        let segment_size = self.segment_size(
            given.segment_size.as_ref(),
            memory,
            memory_is_auto,
            disk,
            block_size,
        );
        let most = if disk > 0 { disk } else { memory };
        let max_object = match &given.max_object {
            Some(size) if size.value.0 > most => {
                let (found, allowed) = (show_bytes(size.value.0), show_bytes(most));
                let tier = if disk > 0 { "cache.disk" } else { "cache.memory" };
                let what = format!(
                    "`cache.max_object` is {found}; it must be at most `{tier}`, {allowed}"
                );
                self.refuse(&size.place, what);
                most
            }
            Some(size) => size.value.0,
            None => most / 8,
        };
        let dir = match &given.dir {
            Some(dir) => std::path::absolute(&dir.value).ok().or(Some(dir.value.clone())),
            None => machine.cache_dir.clone(),
        };
        if disk > 0 && dir.is_none() {
            self.warnings.push(
                "there is no cache directory ($HOME is not set): the cache is in memory only; \
                 name one by cache.dir, or set cache.disk = 0"
                    .to_owned(),
            );
        }
        let disk = if dir.is_some() { disk } else { 0 };
        let year = 366 * DAY;
        Cache {
            dir: dir.filter(|_| disk > 0),
            dir_is_explicit: given.dir.is_some(),
            memory,
            memory_budget,
            disk,
            block_size,
            max_object,
            segment_size,
            default_ttl: self.wait(
                "cache.default_ttl",
                given.default_ttl.as_ref(),
                Duration::ZERO,
                Duration::ZERO..=year,
            ),
            heuristic_errors: self.wait(
                "cache.heuristic_errors",
                given.heuristic_errors.as_ref(),
                10 * SECOND,
                Duration::ZERO..=DAY,
            ),
            keep_stale: self.wait(
                "cache.keep_stale",
                given.keep_stale.as_ref(),
                DAY,
                Duration::ZERO..=year,
            ),
            client_directives: value(given.client_directives.as_ref(), ClientDirectives::Limit),
            share_set_cookie: value(given.share_set_cookie.as_ref(), false),
            keep_tags: value(given.keep_tags.as_ref(), false),
            drop_unkeyed: value(given.drop_unkeyed.as_ref(), UnkeyedNames::default()).0,
            allow_unkeyed: value(given.allow_unkeyed.as_ref(), UnkeyedNames::default()).0,
            targeted: value(given.targeted.as_ref(), vec![CDN_CACHE_CONTROL]),
            route: Overrides::NONE,
            store_wait: self.wait(
                "cache.store_wait",
                given.store_wait.as_ref(),
                Duration::from_millis(250),
                Duration::ZERO..=10 * SECOND,
            ),
            max_variants: self.amount(
                "cache.max_variants",
                given.max_variants.as_ref(),
                64,
                1..=10_000,
            ),
            vary_language: value(given.vary_language.as_ref(), true),
            query_body: self.bytes(
                "cache.query_body",
                given.query_body.as_ref(),
                8 * KIB,
                0..=64 * KIB,
            ),
            max_uncacheable: self.amount(
                "cache.max_uncacheable",
                given.max_uncacheable.as_ref(),
                50_000,
                0..=10_000_000,
            ),
            uncacheable_ttl: self.wait(
                "cache.uncacheable_ttl",
                given.uncacheable_ttl.as_ref(),
                2 * MINUTE,
                Duration::ZERO..=DAY,
            ),
            window: self.bytes("cache.window", given.window.as_ref(), 4 * MIB, 64 * KIB..=GIB),
            max_wait: self.wait("cache.max_wait", given.max_wait.as_ref(), 10 * SECOND, ANY_WAIT),
        }
    }

    fn memory(&mut self, given: Option<&Given<MemorySize>>, machine: &Machine) -> (u64, bool) {
        match given {
            Some(Given { value: MemorySize::Bytes(0), .. }) => (0, false),
            Some(Given { value: MemorySize::Bytes(bytes), place }) => {
                if !(MIB..=TIB).contains(bytes) {
                    let found = show_bytes(*bytes);
                    let what = format!(
                        "`cache.memory` is {found}; it must be \"auto\", 0 (off) or from 1MiB to 1024GiB"
                    );
                    self.refuse(place, what);
                }
                if let Some(limit) = machine.memory.filter(|limit| bytes > limit) {
                    self.warnings.push(format!(
                        "`cache.memory` is {}, more than this process may use ({})",
                        show_bytes(*bytes),
                        show_bytes(limit)
                    ));
                }
                (*bytes, false)
            }
            Some(Given { value: MemorySize::Auto, .. }) | None => (memory_auto(machine), true),
        }
    }

    fn disk(&mut self, given: Option<&Given<Size>>) -> u64 {
        if let Some(Given { value: Size(bytes), place }) = given
            && *bytes != 0
            && !(16 * MIB..=64 * TIB).contains(bytes)
        {
            let found = show_bytes(*bytes);
            self.refuse(
                place,
                format!("`cache.disk` is {found}; it must be 0 (off) or from 16MiB to 65536GiB"),
            );
        }
        given.map_or(GIB, |given| given.value.0)
    }

    /// 16 MiB, less where the disk is small, or the memory that indexes it: it is reclaimed a block
    /// at a time, when it is full and when there are too many entries.
    fn block_size(&mut self, given: Option<&Given<Size>>, disk: u64, memory: u64) -> u64 {
        let default = if disk == 0 {
            BLOCK_DEFAULT
        } else {
            // An eighth of what small entries take, as many as an eighth of the memory indexes.
            let by_memory = (memory / 8 / INDEX_ENTRY * PAGE / 8).max(disk / MOST_BLOCKS);
            let most = (disk / 16).min(by_memory).max(MIB);
            (1 << most.ilog2()).min(BLOCK_DEFAULT)
        };
        let size = self.bytes("cache.block_size", given, default, MIB..=GIB);
        if let Some(given) = given
            && (MIB..=GIB).contains(&size)
        {
            let found = show_bytes(size);
            if !size.is_multiple_of(PAGE) {
                self.refuse(
                    &given.place,
                    format!("`cache.block_size` is {found}; it must be a multiple of 4KiB"),
                );
            } else if disk > 0 && size > disk / 8 {
                let most = show_bytes(disk / 8);
                let what = format!(
                    "`cache.block_size` is {found}; it must be at most an eighth of `cache.disk`, {most}"
                );
                self.refuse(&given.place, what);
            }
        }
        size
    }

    fn segment_size(
        &mut self,
        given: Option<&Given<Size>>,
        memory: u64,
        memory_is_auto: bool,
        disk: u64,
        block_size: u64,
    ) -> u64 {
        let by_memory =
            if memory == 0 { u64::MAX } else { memory / MEMORY_SHARDS / SEGMENTS_PER_SHARD };
        let by_block = if disk == 0 { u64::MAX } else { block_size / 4 };
        let most = by_memory.min(by_block).min(64 * MIB);
        let Some(given) = given else { return SEGMENT_DEFAULT.min(most) };
        let size = given.value.0;
        let found = show_bytes(size);
        if size < PAGE {
            self.refuse(
                &given.place,
                format!("`cache.segment_size` is {found}; it must be at least 4KiB"),
            );
        } else if size > most && memory_is_auto && size <= by_block {
            // The same file on a smaller machine is no mistake.
            let used = show_bytes(most);
            self.warnings.push(format!(
                "`cache.segment_size` is {found}; {used} is used, a sixteenth of a memory shard \
                 (`cache.memory` is {})",
                show_bytes(memory)
            ));
        } else if size > most {
            let why = if by_memory <= by_block {
                format!("a sixteenth of a memory shard (`cache.memory` is {})", show_bytes(memory))
            } else {
                format!("a quarter of `cache.block_size` ({})", show_bytes(block_size))
            };
            let most = show_bytes(most);
            let what = format!("`cache.segment_size` is {found}; it must be at most {most}, {why}");
            self.refuse(&given.place, what);
        }
        size.min(most)
    }
}

/// `auto`: 64 MiB, but no more than a quarter of what the process may have.
fn memory_auto(machine: &Machine) -> u64 {
    let quarter = machine.memory.map_or(u64::MAX, |limit| limit / 4 / MIB * MIB);
    quarter.clamp(MIB, MEMORY_DEFAULT)
}
