//! From the settings as written to the [`Snapshot`]: bounds, defaults, and what follows from
//! the machine and from other settings.

mod cache;
mod route;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::file::{self, File, Given};
use crate::config::machine::Machine;
use crate::config::memory::MemoryPlan;
use crate::config::mistake::{Mistake, Place, SourceText};
use crate::config::snapshot::{
    AccessTarget, Admin, Cache, Compression, Levels, Limits, Log, LogFormat, Snapshot, Upstream,
};
use crate::config::value::{Amount, Size, show_bytes, show_duration};
use crate::semantics::coding::Coding;

pub use cache::MEMORY_SHARDS;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Descriptors kept back for listeners, logs, the admin port and what libraries open.
const DESCRIPTORS_KEPT: u64 = 256;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
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
    let workers = match check.amount("workers", written.top.workers.as_ref(), 0, 0..=1024) {
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
        hosts: value(written.admin.hosts.as_ref(), Vec::new()),
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
    let drain_timeout = check.wait(
        "drain_timeout",
        written.top.drain_timeout.as_ref(),
        drain,
        Duration::ZERO..=HOUR,
    );
    let cache = check.cache(written, machine);
    let upstream = check.upstream(written);
    let upstreams = check.upstreams(written, upstream.as_ref());
    let compression = Compression {
        codings: value(written.compression.codings.as_ref(), vec![Coding::Gzip]),
        min_size: check.bytes(
            "compression.min_size",
            written.compression.min_size.as_ref(),
            1024,
            0..=GIB,
        ),
        levels: check.levels(written),
        max_decoded: check.bytes(
            "compression.max_decoded",
            written.compression.max_decoded.as_ref(),
            GIB,
            0..=u64::MAX,
        ),
    };
    let log = Log {
        access: value(written.log.access.as_ref(), AccessTarget::Stdout),
        format: value(written.log.format.as_ref(), LogFormat::Json),
        level: written.log.level.as_ref().map_or_else(|| "info".to_owned(), |g| g.value.0.clone()),
    };
    let mut limits = check.limits(written);
    if let Some(upstream) = &upstream {
        let all = std::iter::once(upstream).chain(upstreams.iter().map(Arc::as_ref));
        let connections = all.map(|upstream| upstream.max_connections as u64).sum();
        check.descriptors(written, machine, &cache, connections, &mut limits);
    }
    let plan = MemoryPlan::for_cache(&cache, limits.connections as u64);
    check.warnings.extend(plan.warnings(cache.disk));
    let mut snapshot = Snapshot {
        listen,
        upstream: Arc::new(upstream?),
        upstreams,
        routes: Arc::default(),
        workers,
        trusted_proxies,
        purge_networks: written
            .top
            .purge_networks
            .as_ref()
            .map_or_else(Vec::new, |g| g.value.0.clone()),
        // Build systems set a variable to nothing, too.
        deploy_id: written
            .top
            .deploy_id
            .as_ref()
            .map(|id| id.value.clone())
            .filter(|id| !id.is_empty()),
        drain_timeout,
        debug_headers: value(written.top.debug_headers.as_ref(), false),
        admin,
        cache,
        compression,
        log,
        limits,
        require_upstream: value(written.readyz.require_upstream.as_ref(), false),
    };
    snapshot.routes = Arc::new(check.routes(written, &snapshot));
    Some(snapshot)
}

fn value<T: Clone>(given: Option<&Given<T>>, default: T) -> T {
    given.map_or(default, |given| given.value.clone())
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
        given: Option<&Given<Size>>,
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
        given: Option<&Given<Amount>>,
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
        given: Option<&Given<Duration>>,
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
        let upstream = self.one_upstream(&written.upstream);
        // After other mistakes it may be one of them.
        if upstream.is_none() && self.mistakes.is_empty() {
            let place = self.source.map_or(Place::Default, SourceText::whole);
            self.mistakes.push(Mistake::new(
                place,
                "no upstream: tell Larder where the app is, by --upstream \
                 http://127.0.0.1:3000, by LARDER_UPSTREAM, or by upstream = \"…\" in a file \
                 named by --config",
            ));
        }
        upstream
    }

    /// Those beside the first: each has a name, and the names differ.
    fn upstreams(&mut self, written: &File, first: Option<&Upstream>) -> Vec<Arc<Upstream>> {
        let mut all: Vec<Arc<Upstream>> = Vec::new();
        for (place, up) in &written.upstreams {
            if up.name.is_none() {
                let what = "one of several [[upstream]] needs a `name`, by which routes say it";
                self.refuse(place, what.to_owned());
            }
            let Some(one) = self.one_upstream(up) else { continue };
            let known = first.into_iter().chain(all.iter().map(Arc::as_ref));
            if up.name.is_some() && known.into_iter().any(|other| other.name == one.name) {
                self.refuse(place, format!("two [[upstream]] have the name \"{}\"", one.name));
            }
            all.push(Arc::new(one));
        }
        all
    }

    fn one_upstream(&mut self, up: &file::Upstream) -> Option<Upstream> {
        let max =
            self.amount("upstream.max_connections", up.max_connections.as_ref(), 1024, 1..=65_536);
        let connect = self.wait(
            "upstream.connect_timeout",
            up.connect_timeout.as_ref(),
            5 * SECOND,
            ANY_WAIT,
        );
        let first = self.wait(
            "upstream.first_byte_timeout",
            up.first_byte_timeout.as_ref(),
            MINUTE,
            ANY_WAIT,
        );
        let between = self.wait(
            "upstream.between_bytes_timeout",
            up.between_bytes_timeout.as_ref(),
            MINUTE,
            ANY_WAIT,
        );
        // Node closes idle connections after 5 s; whoever is later loses the race.
        let idle = self.wait(
            "upstream.idle_timeout",
            up.idle_timeout.as_ref(),
            4 * SECOND,
            Duration::ZERO..=DAY,
        );
        let url = up.url.as_ref()?;
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

    fn levels(&mut self, written: &File) -> Levels {
        let given = &written.compression;
        Levels {
            gzip: self.amount("compression.level", given.level.as_ref(), 6, 1..=9) as u32,
            br: self.amount("compression.br_level", given.br_level.as_ref(), 5, 0..=11) as u32,
            zstd: self.amount("compression.zstd_level", given.zstd_level.as_ref(), 3, 1..=19)
                as u32,
        }
    }

    fn limits(&mut self, written: &File) -> Limits {
        let given = &written.limits;
        let head = self.bytes("limits.head_size", given.head_size.as_ref(), 64 * KIB, KIB..=MIB);
        Limits {
            connections: self.amount(
                "limits.connections",
                given.connections.as_ref(),
                20_000,
                1..=10_000_000,
            ),
            head_size: head as usize,
            head_fields: self.amount(
                "limits.head_fields",
                given.head_fields.as_ref(),
                100,
                1..=10_000,
            ),
            uri_size: self.bytes(
                "limits.uri_size",
                given.uri_size.as_ref(),
                (16 * KIB).min(head),
                64..=64 * KIB,
            ) as usize,
            body_size: self.bytes("limits.body_size", given.body_size.as_ref(), 0, 0..=u64::MAX),
            header_timeout: self.wait(
                "limits.header_timeout",
                given.header_timeout.as_ref(),
                30 * SECOND,
                ANY_WAIT,
            ),
            body_timeout: self.wait(
                "limits.body_timeout",
                given.body_timeout.as_ref(),
                MINUTE,
                ANY_WAIT,
            ),
            write_timeout: self.wait(
                "limits.write_timeout",
                given.write_timeout.as_ref(),
                MINUTE,
                ANY_WAIT,
            ),
            idle_timeout: self.wait(
                "limits.idle_timeout",
                given.idle_timeout.as_ref(),
                MINUTE,
                ANY_WAIT,
            ),
            tunnel_timeout: self.wait(
                "limits.tunnel_timeout",
                given.tunnel_timeout.as_ref(),
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
        to_upstreams: u64,
        limits: &mut Limits,
    ) {
        let Some(descriptors) = machine.descriptors else { return };
        let blocks = if cache.disk > 0 { cache.disk / cache.block_size.max(1) } else { 0 };
        let kept = DESCRIPTORS_KEPT + blocks;
        let left = descriptors.saturating_sub(kept);
        let to_upstream = to_upstreams.min(left / 2);
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
            [
                "`cache.segment_size` is 256KiB; 64KiB is used, a sixteenth of a memory shard (`cache.memory` is 8MiB)"
            ]
        );
    }

    #[test]
    fn a_small_disk_has_small_blocks() {
        for (disk, block) in
            [("16MiB", MIB), ("64MiB", 4 * MIB), ("100MB", 4 * MIB), ("2GiB", 16 * MIB)]
        {
            let loaded = on(machine(), &format!("[cache]\ndisk = \"{disk}\"\n"));
            assert_eq!(loaded.snapshot.cache.block_size, block, "{disk}");
        }
    }

    /// Or all of the disk would go at once when there are too many entries.
    #[test]
    fn little_memory_has_small_blocks() {
        for (memory, disk, block) in [
            ("64MiB", "1GiB", 16 * MIB),
            ("16MiB", "1GiB", 8 * MIB),
            ("4MiB", "1GiB", 2 * MIB),
            ("1MiB", "64MiB", MIB),
            ("4MiB", "100GiB", 16 * MIB),
        ] {
            let text = format!("[cache]\nmemory = \"{memory}\"\ndisk = \"{disk}\"\n");
            let loaded = on(machine(), &text);
            assert_eq!(loaded.snapshot.cache.block_size, block, "{memory}, {disk}");
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
        assert!(
            on(Machine { descriptors: Some(10), ..machine() }, "").snapshot.limits.connections > 0
        );
    }

    #[test]
    fn an_open_admin_port_without_token_is_warned_of() {
        let loaded = on(machine(), "[admin]\nlisten = \"0.0.0.0:9180\"\n");
        assert!(loaded.warnings[0].contains("`admin.token` is not set"));
        let text = "[admin]\nlisten = \"0.0.0.0:9180\"\ntoken = \"x\"\n";
        assert!(on(machine(), text).warnings.is_empty());
    }
}
