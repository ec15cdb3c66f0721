//! From the settings as written to the [`Snapshot`]: bounds, defaults, and what follows from
//! the machine and from other settings.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::file::{File, Given};
use crate::config::mistake::{Mistake, Place, SourceText};
use crate::config::snapshot::{
    AccessTarget, Admin, Cache, ClientDirectives, Coding, Compression, Limits, Log, LogFormat,
    Snapshot, Upstream,
};
use crate::config::value::{Amount, MemorySize, Size, show_bytes, show_duration};
use crate::sys;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Shards of the memory tier; a segment is at most a sixteenth of one.
pub const MEMORY_SHARDS: u64 = 8;
const SEGMENTS_PER_SHARD: u64 = 16;

/// The memory tier where the machine is not small.
const MEMORY_DEFAULT: u64 = 64 * MIB;
const SEGMENT_DEFAULT: u64 = 256 * KIB;
const BLOCK_DEFAULT: u64 = 16 * MIB;
/// A page of the disk: blocks and segments are whole numbers of them.
const PAGE: u64 = 4 * KIB;

/// Descriptors kept back for listeners, logs, the admin port and what libraries open.
const DESCRIPTORS_KEPT: u64 = 256;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const ANY_WAIT: RangeInclusive<Duration> = Duration::from_millis(1)..=DAY;

/// Loopback, private, link-local, unique local: never the public Internet.
const TRUSTED_DEFAULT: [&str; 8] = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];

/// What defaults follow from. Read once: a reload must not change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// Bytes of memory that it may use.
    pub memory: Option<u64>,
    /// Descriptors that it may open; `None`: unlimited.
    pub descriptors: Option<u64>,
    /// Where its cache goes when nobody says so.
    pub cache_dir: Option<PathBuf>,
}

impl Machine {
    /// This machine; raises the limit of descriptors on the way.
    pub fn here(environment: &[(String, OsString)]) -> Self {
        Self {
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory: sys::memory_limit(),
            descriptors: sys::raise_descriptor_limit(),
            cache_dir: default_cache_dir(environment, sys::is_root()),
        }
    }
}

/// systemd's `$CACHE_DIRECTORY` for a service, `/var/cache/larder` for root, else the user's.
fn default_cache_dir(environment: &[(String, OsString)], root: bool) -> Option<PathBuf> {
    let absolute = |name: &str| {
        let value = &environment.iter().find(|(known, _)| known == name)?.1;
        // systemd separates several directories with colons.
        let first = value.to_string_lossy().split(':').next().map(PathBuf::from)?;
        first.is_absolute().then_some(first)
    };
    absolute("CACHE_DIRECTORY")
        .or_else(|| root.then(|| PathBuf::from("/var/cache/larder")))
        .or_else(|| absolute("XDG_CACHE_HOME").map(|dir| dir.join("larder")))
        .or_else(|| absolute("HOME").map(|dir| dir.join(".cache/larder")))
}

/// Checks what was written and fills in the rest. Mistakes are added to `mistakes`; `None` where
/// there can be no snapshot at all.
pub fn validate(
    written: &File,
    source: Option<&SourceText>,
    machine: &Machine,
    mistakes: &mut Vec<Mistake>,
    warnings: &mut Vec<String>,
) -> Option<Snapshot> {
    let mut check = Check { source, mistakes, warnings };
    let workers = match check.amount("workers", &written.top.workers, 0, 0..=1024) {
        0 => machine.cores,
        workers => workers,
    };
    let listen = written.top.listen.as_ref().map_or(([0, 0, 0, 0], 8080).into(), |g| g.value.0);
    let admin_listen =
        written.admin.listen.as_ref().map_or(([127, 0, 0, 1], 9180).into(), |g| g.value.0);
    if listen == admin_listen && listen.port() != 0 {
        let place = match &written.admin.listen {
            Some(given) => given.place.clone(),
            None => written.place("listen"),
        };
        check.refuse(&place, format!("`listen` and `admin.listen` are both {listen}"));
    }
    let admin = Admin {
        listen: admin_listen,
        token: written.admin.token.as_ref().map(|g| g.value.clone()),
        hosts: value(&written.admin.hosts, Vec::new()),
    };
    if !admin.listen.ip().is_loopback() && admin.token.is_none() {
        check.warnings.push(format!(
            "`admin.listen` is {admin_listen} and `admin.token` is not set: / and /api/ answer \
             this machine only"
        ));
    }
    let trusted = TRUSTED_DEFAULT.iter().filter_map(|network| network.parse::<IpNet>().ok());
    let trusted_proxies = written
        .top
        .trusted_proxies
        .as_ref()
        .map_or_else(|| trusted.collect(), |g| g.value.0.clone());
    let drain = Duration::from_secs(20);
    let drain_timeout =
        check.wait("drain_timeout", &written.top.drain_timeout, drain, Duration::ZERO..=HOUR);
    let cache = check.cache(written, machine);
    let upstream = check.upstream(written);
    let compression = Compression {
        codings: value(&written.compression.codings, vec![Coding::Gzip]),
        min_size: check.bytes("compression.min_size", &written.compression.min_size, 1024, 0..=GIB),
        level: check.amount("compression.level", &written.compression.level, 6, 1..=9) as u32,
    };
    let log = Log {
        access: value(&written.log.access, AccessTarget::Stdout),
        format: value(&written.log.format, LogFormat::Json),
        level: written.log.level.as_ref().map_or_else(|| "info".to_owned(), |g| g.value.0.clone()),
    };
    let mut limits = check.limits(written);
    if let Some(upstream) = &upstream {
        check.descriptors(written, machine, &cache, upstream, &mut limits);
    }
    Some(Snapshot {
        listen,
        upstream: Arc::new(upstream?),
        workers,
        trusted_proxies,
        drain_timeout,
        debug_headers: value(&written.top.debug_headers, false),
        admin,
        cache,
        compression,
        log,
        limits,
        require_upstream: value(&written.readyz.require_upstream, false),
    })
}

fn value<T: Clone>(given: &Option<Given<T>>, default: T) -> T {
    given.as_ref().map_or(default, |given| given.value.clone())
}

struct Check<'a> {
    source: Option<&'a SourceText>,
    mistakes: &'a mut Vec<Mistake>,
    warnings: &'a mut Vec<String>,
}

impl Check<'_> {
    fn refuse(&mut self, place: &Place, what: String) {
        self.mistakes.push(match self.source {
            Some(source) => source.mistake_at(place, what),
            None => Mistake::new(place.clone(), what),
        });
    }

    fn bytes(
        &mut self,
        key: &str,
        given: &Option<Given<Size>>,
        default: u64,
        bounds: RangeInclusive<u64>,
    ) -> u64 {
        let Some(given) = given else { return default };
        if !bounds.contains(&given.value.0) {
            let (found, least, most) =
                (show_bytes(given.value.0), show_bytes(*bounds.start()), show_bytes(*bounds.end()));
            self.refuse(
                &given.place,
                format!("`{key}` is {found}; it must be from {least} to {most}"),
            );
        }
        given.value.0
    }

    fn amount(
        &mut self,
        key: &str,
        given: &Option<Given<Amount>>,
        default: usize,
        bounds: RangeInclusive<u64>,
    ) -> usize {
        let Some(given) = given else { return default };
        let number = given.value.0;
        if !bounds.contains(&number) {
            let (least, most) = (bounds.start(), bounds.end());
            self.refuse(
                &given.place,
                format!("`{key}` is {number}; it must be from {least} to {most}"),
            );
        }
        usize::try_from(number).unwrap_or(usize::MAX)
    }

    fn wait(
        &mut self,
        key: &str,
        given: &Option<Given<Duration>>,
        default: Duration,
        bounds: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(given) = given else { return default };
        if !bounds.contains(&given.value) {
            let (found, least, most) = (
                show_duration(given.value),
                show_duration(*bounds.start()),
                show_duration(*bounds.end()),
            );
            self.refuse(
                &given.place,
                format!("`{key}` is {found}; it must be from {least} to {most}"),
            );
        }
        given.value
    }

    fn upstream(&mut self, written: &File) -> Option<Upstream> {
        let up = &written.upstream;
        let max = self.amount("upstream.max_connections", &up.max_connections, 1024, 1..=65_536);
        let connect =
            self.wait("upstream.connect_timeout", &up.connect_timeout, 5 * SECOND, ANY_WAIT);
        let first =
            self.wait("upstream.first_byte_timeout", &up.first_byte_timeout, MINUTE, ANY_WAIT);
        let between = self.wait(
            "upstream.between_bytes_timeout",
            &up.between_bytes_timeout,
            MINUTE,
            ANY_WAIT,
        );
        // Node closes idle connections after 5 s; whoever is later loses the race.
        let idle =
            self.wait("upstream.idle_timeout", &up.idle_timeout, 4 * SECOND, Duration::ZERO..=DAY);
        let Some(url) = &up.url else {
            // After other mistakes it may be one of them.
            if self.mistakes.is_empty() {
                let place = self.source.map_or(Place::Default, SourceText::whole);
                self.mistakes.push(Mistake::new(
                    place,
                    "no upstream: tell Larder where the app is, by --upstream \
                     http://127.0.0.1:3000, by LARDER_UPSTREAM, or by upstream = \"…\" in a file \
                     named by --config",
                ));
            }
            return None;
        };
        Some(Upstream {
            name: up.name.as_ref().map_or_else(|| "default".to_owned(), |g| g.value.0.clone()),
            url: url.value.written.clone(),
            address: url.value.address.clone(),
            host: up.host.as_ref().map(|g| g.value.clone()),
            max_connections: max,
            connect_timeout: connect,
            first_byte_timeout: first,
            between_bytes_timeout: between,
            idle_timeout: idle,
        })
    }

    fn cache(&mut self, written: &File, machine: &Machine) -> Cache {
        let given = &written.cache;
        let (memory, memory_is_auto) = self.memory(&given.memory, machine);
        let disk = self.disk(&given.disk);
        let block_size = self.block_size(&given.block_size, disk);
        let segment_size =
            self.segment_size(&given.segment_size, memory, memory_is_auto, disk, block_size);
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
            disk,
            block_size,
            max_object,
            segment_size,
            default_ttl: self.wait(
                "cache.default_ttl",
                &given.default_ttl,
                Duration::ZERO,
                Duration::ZERO..=year,
            ),
            keep_stale: self.wait(
                "cache.keep_stale",
                &given.keep_stale,
                DAY,
                Duration::ZERO..=year,
            ),
            client_directives: value(&given.client_directives, ClientDirectives::Limit),
            share_set_cookie: value(&given.share_set_cookie, false),
            store_wait: self.wait(
                "cache.store_wait",
                &given.store_wait,
                Duration::from_millis(250),
                Duration::ZERO..=10 * SECOND,
            ),
            max_variants: self.amount("cache.max_variants", &given.max_variants, 64, 1..=10_000),
            max_uncacheable: self.amount(
                "cache.max_uncacheable",
                &given.max_uncacheable,
                50_000,
                0..=10_000_000,
            ),
            uncacheable_ttl: self.wait(
                "cache.uncacheable_ttl",
                &given.uncacheable_ttl,
                2 * MINUTE,
                Duration::ZERO..=DAY,
            ),
            window: self.bytes("cache.window", &given.window, 4 * MIB, 64 * KIB..=GIB),
            max_wait: self.wait("cache.max_wait", &given.max_wait, 30 * SECOND, ANY_WAIT),
        }
    }

    /// `auto`: 64 MiB, but no more than a quarter of what the process may have.
    fn memory(&mut self, given: &Option<Given<MemorySize>>, machine: &Machine) -> (u64, bool) {
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
            Some(Given { value: MemorySize::Auto, .. }) | None => {
                let quarter = machine.memory.map_or(u64::MAX, |limit| limit / 4 / MIB * MIB);
                (quarter.clamp(MIB, MEMORY_DEFAULT), true)
            }
        }
    }

    fn disk(&mut self, given: &Option<Given<Size>>) -> u64 {
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
        given.as_ref().map_or(GIB, |given| given.value.0)
    }

    /// 16 MiB, less where the disk is small: it is reclaimed a block at a time.
    fn block_size(&mut self, given: &Option<Given<Size>>, disk: u64) -> u64 {
        let default = if disk == 0 {
            BLOCK_DEFAULT
        } else {
            // The largest power of two that is no more than a sixteenth of the disk.
            let sixteenth = (disk / 16).max(MIB);
            (1 << sixteenth.ilog2()).min(BLOCK_DEFAULT)
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
            } else if disk > 0 && size > disk / 4 {
                let most = show_bytes(disk / 4);
                let what = format!(
                    "`cache.block_size` is {found}; it must be at most a quarter of `cache.disk`, {most}"
                );
                self.refuse(&given.place, what);
            }
        }
        size
    }

    fn segment_size(
        &mut self,
        given: &Option<Given<Size>>,
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

    fn limits(&mut self, written: &File) -> Limits {
        let given = &written.limits;
        let head = self.bytes("limits.head_size", &given.head_size, 64 * KIB, KIB..=MIB);
        Limits {
            connections: self.amount(
                "limits.connections",
                &given.connections,
                20_000,
                1..=10_000_000,
            ),
            head_size: head as usize,
            head_fields: self.amount("limits.head_fields", &given.head_fields, 100, 1..=10_000),
            uri_size: self.bytes("limits.uri_size", &given.uri_size, (16 * KIB).min(head), 64..=MIB)
                as usize,
            body_size: self.bytes("limits.body_size", &given.body_size, 0, 0..=u64::MAX),
            header_timeout: self.wait(
                "limits.header_timeout",
                &given.header_timeout,
                30 * SECOND,
                ANY_WAIT,
            ),
            body_timeout: self.wait("limits.body_timeout", &given.body_timeout, MINUTE, ANY_WAIT),
            write_timeout: self.wait(
                "limits.write_timeout",
                &given.write_timeout,
                MINUTE,
                ANY_WAIT,
            ),
            idle_timeout: self.wait("limits.idle_timeout", &given.idle_timeout, MINUTE, ANY_WAIT),
            tunnel_timeout: self.wait(
                "limits.tunnel_timeout",
                &given.tunnel_timeout,
                HOUR,
                ANY_WAIT,
            ),
        }
    }

    /// Fewer client connections where descriptors are short: one each, one for each connection
    /// to the upstream, one for each block of the disk.
    fn descriptors(
        &mut self,
        written: &File,
        machine: &Machine,
        cache: &Cache,
        upstream: &Upstream,
        limits: &mut Limits,
    ) {
        let Some(descriptors) = machine.descriptors else { return };
        let blocks = if cache.disk > 0 { cache.disk / cache.block_size.max(1) } else { 0 };
        let kept = DESCRIPTORS_KEPT + blocks;
        let left = descriptors.saturating_sub(kept);
        let to_upstream = (upstream.max_connections as u64).min(left / 2);
        let possible = usize::try_from((left - to_upstream).max(16)).unwrap_or(usize::MAX);
        if limits.connections > possible {
            let asked = limits.connections;
            let origin = match written.place("limits.connections") {
                Place::Default => "the default".to_owned(),
                place => place.to_string(),
            };
            self.warnings.push(format!(
                "`limits.connections` is {possible} instead of {asked} ({origin}): this process may \
                 open {descriptors} descriptors (raise it with ulimit -n or LimitNOFILE=)"
            ));
            limits.connections = possible;
        }
    }
}

/// The warning that a cache directory deserves for what it lies on; looks at the nearest
/// existing directory above it.
pub fn directory_warning(dir: &Path) -> Option<String> {
    let existing = dir.ancestors().find(|ancestor| ancestor.is_dir())?;
    let warning = sys::file_system(existing).ok()?.warning()?;
    Some(format!("the cache directory {} {warning}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::{Flags, Loaded, Sources, load_bytes};

    fn machine() -> Machine {
        Machine { cores: 4, memory: None, descriptors: None, cache_dir: Some("/c".into()) }
    }

    fn on(machine: Machine, text: &str) -> Loaded {
        let flags = Flags { upstream: Some("http://a".to_owned()), ..Flags::default() };
        let sources = Sources { file: Some("c.toml".into()), environment: vec![], flags, machine };
        load_bytes(sources, Some(Ok(text.as_bytes().to_vec()))).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn defaults_are_those_of_the_design() {
        let snapshot = on(machine(), "").snapshot;
        assert_eq!(snapshot.listen.to_string(), "0.0.0.0:8080");
        assert_eq!(snapshot.admin.listen.to_string(), "127.0.0.1:9180");
        assert_eq!(snapshot.workers, 4);
        assert_eq!(snapshot.cache.memory, 64 * MIB);
        assert_eq!(snapshot.cache.disk, GIB);
        assert_eq!(snapshot.cache.block_size, 16 * MIB);
        assert_eq!(snapshot.cache.max_object, 128 * MIB);
        assert_eq!(snapshot.cache.segment_size, 256 * KIB);
        assert_eq!(snapshot.limits.connections, 20_000);
        assert_eq!(snapshot.upstream.max_connections, 1024);
        assert_eq!(snapshot.trusted_proxies.len(), TRUSTED_DEFAULT.len());
        let waits = [
            snapshot.upstream.connect_timeout,
            snapshot.upstream.first_byte_timeout,
            snapshot.upstream.between_bytes_timeout,
            snapshot.upstream.idle_timeout,
            snapshot.limits.header_timeout,
            snapshot.limits.body_timeout,
            snapshot.limits.write_timeout,
            snapshot.limits.idle_timeout,
            snapshot.cache.max_wait,
            snapshot.cache.store_wait,
        ];
        assert!(waits.iter().all(|wait| *wait <= MINUTE), "{waits:?}");
    }

    #[test]
    fn a_small_cgroup_means_little_memory_and_small_segments() {
        for (limit, memory, segment) in [
            (1024 * MIB, 64 * MIB, 256 * KIB),
            (128 * MIB, 32 * MIB, 256 * KIB),
            (32 * MIB, 8 * MIB, 64 * KIB),
            (MIB, MIB, 8 * KIB),
        ] {
            let cache = on(Machine { memory: Some(limit), ..machine() }, "").snapshot.cache.clone();
            assert_eq!((cache.memory, cache.segment_size), (memory, segment), "limit {limit}");
        }
        let small = Machine { memory: Some(32 * MIB), ..machine() };
        let loaded = on(small, "[cache]\nsegment_size = \"256KiB\"\n");
        assert_eq!(loaded.snapshot.cache.segment_size, 64 * KIB);
        assert_eq!(
            loaded.warnings,
            ["`cache.segment_size` is 256KiB; 64KiB is used, a sixteenth of a memory shard (`cache.memory` is 8MiB)"]
        );
    }

    #[test]
    fn a_small_disk_has_small_blocks() {
        for (disk, block) in [("16MiB", MIB), ("64MiB", 4 * MIB), ("100MB", 4 * MIB), ("2GiB", 16 * MIB)] {
            let loaded = on(machine(), &format!("[cache]\ndisk = \"{disk}\"\n"));
            assert_eq!(loaded.snapshot.cache.block_size, block, "{disk}");
        }
    }

    #[test]
    fn no_disk_means_objects_by_memory_and_no_directory() {
        let cache = on(machine(), "[cache]\ndisk = 0\n").snapshot.cache.clone();
        assert_eq!((cache.disk, cache.dir, cache.max_object), (0, None, 8 * MIB));
        let homeless = on(Machine { cache_dir: None, ..machine() }, "");
        assert_eq!((homeless.snapshot.cache.disk, &homeless.snapshot.cache.dir), (0, &None));
        assert!(homeless.warnings[0].starts_with("there is no cache directory"));
    }

    #[test]
    fn few_descriptors_mean_few_connections_and_a_warning() {
        let loaded = on(Machine { descriptors: Some(4096), ..machine() }, "");
        assert_eq!(loaded.snapshot.limits.connections, 4096 - 256 - 64 - 1024);
        assert_eq!(
            loaded.warnings,
            ["`limits.connections` is 2752 instead of 20000 (the default): this process may open \
              4096 descriptors (raise it with ulimit -n or LimitNOFILE=)"]
        );
        assert!(on(Machine { descriptors: Some(10), ..machine() }, "").snapshot.limits.connections > 0);
    }

    #[test]
    fn an_open_admin_port_without_token_is_warned_of() {
        let loaded = on(machine(), "[admin]\nlisten = \"0.0.0.0:9180\"\n");
        assert!(loaded.warnings[0].contains("`admin.token` is not set"));
        let text = "[admin]\nlisten = \"0.0.0.0:9180\"\ntoken = \"x\"\n";
        assert!(on(machine(), text).warnings.is_empty());
    }

    #[test]
    fn the_cache_directory_is_systemds_or_roots_or_the_users() {
        let dir = |environment: &[(&str, &str)], root| {
            let environment: Vec<_> =
                environment.iter().map(|(n, v)| ((*n).to_owned(), OsString::from(v))).collect();
            default_cache_dir(&environment, root).map(|dir| dir.display().to_string())
        };
        let home = ("HOME", "/home/a");
        for (case, environment, root, want) in [
            ("service", &[("CACHE_DIRECTORY", "/var/cache/larder:/x"), home][..], false, Some("/var/cache/larder")),
            ("root", &[home], true, Some("/var/cache/larder")),
            ("XDG", &[("XDG_CACHE_HOME", "/x"), home], false, Some("/x/larder")),
            ("XDG must be absolute", &[("XDG_CACHE_HOME", "x"), home], false, Some("/home/a/.cache/larder")),
            ("nobody", &[], false, None),
        ] {
            assert_eq!(dir(environment, root).as_deref(), want, "{case}");
        }
    }
}
