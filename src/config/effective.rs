//! A snapshot as a list of keys: for `larder check`, and to tell what a reload changed.

use std::fmt::{self, Write as _};

use crate::config::load::Loaded;
use crate::config::mistake::Place;
use crate::config::route::tell::{self, RouteChange};
use crate::config::snapshot::{AccessTarget, ClientDirectives, LogFormat, Snapshot, Upstream};
use crate::config::value::{show_bytes, show_duration};

/// Whether a running Larder takes a new value of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// From the next request on.
    Live,
    /// Only by a restart.
    Restart,
}

/// One key with its value as TOML writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path (`cache.memory`).
    pub key: &'static str,
    /// The value; `None`: not set. Secrets are hidden.
    pub value: Option<String>,
    /// Whether it takes a restart.
    pub change: Change,
}

/// Every key of `snapshot`, in the order of the reference. (`admin.token_file` has none: what it
/// held is in `admin.token`.)
pub fn entries(snapshot: &Snapshot) -> Vec<Entry> {
    use Change::{Live, Restart};
    let Snapshot { upstream, admin, cache, compression, log, limits, .. } = snapshot;
    let rows = [
        ("listen", text(snapshot.listen), Restart),
        ("workers", snapshot.workers.to_string(), Restart),
        ("trusted_proxies", list(&snapshot.trusted_proxies), Live),
        ("purge_networks", list(&snapshot.purge_networks), Live),
        ("deploy_id", option(snapshot.deploy_id.as_ref()), Restart),
        ("drain_timeout", text(show_duration(snapshot.drain_timeout)), Live),
        ("debug_headers", snapshot.debug_headers.to_string(), Live),
    ];
    let rows = rows.into_iter().chain(upstream_rows(upstream)).chain([
        ("admin.listen", text(admin.listen), Restart),
        ("admin.token", option(admin.token.as_ref().map(|_| HIDDEN)), Live),
        ("admin.hosts", list(&admin.hosts), Live),
        ("cache.dir", option(cache.dir.as_ref().map(|dir| dir.display())), Restart),
        ("cache.memory", text(show_bytes(cache.memory)), Restart),
        ("cache.disk", text(show_bytes(cache.disk)), Restart),
        ("cache.block_size", text(show_bytes(cache.block_size)), Restart),
        ("cache.max_object", text(show_bytes(cache.max_object)), Live),
        ("cache.segment_size", text(show_bytes(cache.segment_size)), Restart),
        ("cache.default_ttl", text(show_duration(cache.default_ttl)), Live),
        ("cache.heuristic_errors", text(show_duration(cache.heuristic_errors)), Live),
        ("cache.keep_stale", text(show_duration(cache.keep_stale)), Live),
        ("cache.client_directives", text(directives(cache.client_directives)), Live),
        ("cache.share_set_cookie", cache.share_set_cookie.to_string(), Live),
        ("cache.keep_tags", cache.keep_tags.to_string(), Live),
        ("cache.drop_unkeyed", list(&cache.drop_unkeyed), Live),
        ("cache.allow_unkeyed", list(&cache.allow_unkeyed), Live),
        ("cache.targeted", list(&cache.targeted), Live),
        ("cache.store_wait", text(show_duration(cache.store_wait)), Live),
        ("cache.max_variants", cache.max_variants.to_string(), Live),
        ("cache.vary_language", cache.vary_language.to_string(), Live),
        ("cache.query_body", text(show_bytes(cache.query_body)), Live),
        ("cache.max_uncacheable", cache.max_uncacheable.to_string(), Restart),
        ("cache.uncacheable_ttl", text(show_duration(cache.uncacheable_ttl)), Live),
        ("cache.window", text(show_bytes(cache.window)), Live),
        ("cache.max_wait", text(show_duration(cache.max_wait)), Live),
        ("compression.codings", list(compression.codings.iter().map(|c| c.as_str())), Live),
        ("compression.min_size", text(show_bytes(compression.min_size)), Live),
        ("compression.level", compression.levels.gzip.to_string(), Live),
        ("compression.br_level", compression.levels.br.to_string(), Live),
        ("compression.zstd_level", compression.levels.zstd.to_string(), Live),
        ("compression.max_decoded", text(show_bytes(compression.max_decoded)), Live),
        ("log.access", text(access(&log.access)), Restart),
        ("log.format", text(format_name(log.format)), Restart),
        ("log.level", text(&log.level), Live),
        ("limits.connections", limits.connections.to_string(), Live),
        ("limits.head_size", text(show_bytes(limits.head_size as u64)), Live),
        ("limits.head_fields", limits.head_fields.to_string(), Live),
        ("limits.uri_size", text(show_bytes(limits.uri_size as u64)), Live),
        ("limits.body_size", text(show_bytes(limits.body_size)), Live),
        ("limits.header_timeout", text(show_duration(limits.header_timeout)), Live),
        ("limits.body_timeout", text(show_duration(limits.body_timeout)), Live),
        ("limits.write_timeout", text(show_duration(limits.write_timeout)), Live),
        ("limits.idle_timeout", text(show_duration(limits.idle_timeout)), Live),
        ("limits.tunnel_timeout", text(show_duration(limits.tunnel_timeout)), Live),
        ("readyz.require_upstream", snapshot.require_upstream.to_string(), Live),
    ]);
    rows.map(|(key, value, change)| Entry {
        key,
        value: (!value.is_empty()).then_some(value),
        change,
    })
    .collect()
}

fn upstream_rows(upstream: &Upstream) -> [(&'static str, String, Change); 8] {
    use Change::Live;
    [
        ("upstream.name", text(&upstream.name), Live),
        ("upstream.url", text(&upstream.url), Live),
        ("upstream.host", option(upstream.host.as_ref().and_then(|host| host.to_str().ok())), Live),
        ("upstream.max_connections", upstream.max_connections.to_string(), Live),
        ("upstream.connect_timeout", text(show_duration(upstream.connect_timeout)), Live),
        ("upstream.first_byte_timeout", text(show_duration(upstream.first_byte_timeout)), Live),
        (
            "upstream.between_bytes_timeout",
            text(show_duration(upstream.between_bytes_timeout)),
            Live,
        ),
        ("upstream.idle_timeout", text(show_duration(upstream.idle_timeout)), Live),
    ]
}

const HIDDEN: &str = "[secret]";

/// A TOML string; a number of bytes without unit is written as a number.
fn text(value: impl fmt::Display) -> String {
    let value = value.to_string();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        return value;
    }
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn option(value: Option<impl fmt::Display>) -> String {
    value.map(text).unwrap_or_default()
}

fn list(items: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let items: Vec<String> = items.into_iter().map(text).collect();
    format!("[{}]", items.join(", "))
}

fn directives(value: ClientDirectives) -> &'static str {
    match value {
        ClientDirectives::Honour => "honour",
        ClientDirectives::Limit => "limit",
        ClientDirectives::Ignore => "ignore",
    }
}

fn format_name(value: LogFormat) -> &'static str {
    match value {
        LogFormat::Json => "json",
        LogFormat::Human => "human",
    }
}

fn access(value: &AccessTarget) -> String {
    match value {
        AccessTarget::Off => "off".to_owned(),
        AccessTarget::Stdout => "stdout".to_owned(),
        AccessTarget::File(path) => path.display().to_string(),
    }
}

/// One key that a reload changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The path (`cache.keep_stale`).
    pub key: &'static str,
    /// What it was.
    pub old: String,
    /// What it is.
    pub new: String,
    /// Whether it takes a restart.
    pub change: Change,
}

/// What a reload changed; empty where nothing did. Secrets are hidden.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// Key by key, in the order of the reference.
    pub changes: Vec<Changed>,
    /// What became of the rules.
    pub routes: Vec<RouteChange>,
    /// Those of `[[upstream]]` beside the first that are new, gone or different, by name.
    pub upstreams: Vec<String>,
}

impl Diff {
    /// From `old` to `new`.
    pub fn between(old: &Snapshot, new: &Snapshot) -> Self {
        let shown = |value: Option<String>| value.unwrap_or_else(|| "not set".to_owned());
        let pairs = entries(old).into_iter().zip(entries(new));
        let changes = pairs.filter_map(|(before, after)| {
            let renewed = before.key == "admin.token" && old.admin.token != new.admin.token;
            let (key, change) = (after.key, after.change);
            (renewed || before.value != after.value).then(|| Changed {
                key,
                old: shown(before.value),
                new: shown(after.value),
                change,
            })
        });
        let lacking = |these: &Snapshot, those: &Snapshot| -> Vec<String> {
            let lacks = these.upstreams.iter().filter(|one| !those.upstreams.contains(one));
            lacks.map(|one| one.name.clone()).collect()
        };
        let mut upstreams = [lacking(old, new), lacking(new, old)].concat();
        upstreams.sort();
        upstreams.dedup();
        let routes = tell::changes(&old.routes, &new.routes);
        Self { changes: changes.collect(), routes, upstreams }
    }

    /// A line for each change.
    pub fn lines(&self) -> Vec<String> {
        let keys =
            self.changes.iter().map(|one| format!("{}: {} -> {}", one.key, one.old, one.new));
        let upstreams = self.upstreams.iter().map(|name| format!("upstream {name}: changed"));
        keys.chain(upstreams).chain(self.routes.iter().map(ToString::to_string)).collect()
    }

    /// Nothing changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.routes.is_empty() && self.upstreams.is_empty()
    }

    /// Those that a running Larder cannot take.
    pub fn needing_restart(&self) -> impl Iterator<Item = &Changed> {
        self.changes.iter().filter(|changed| changed.change == Change::Restart)
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing changed");
        }
        f.write_str(&self.lines().join("; "))
    }
}

/// The effective configuration as a file that would load, each value with the place it is from.
pub fn render(loaded: &Loaded) -> String {
    let mut lines = Vec::new();
    let mut section = "";
    for entry in entries(&loaded.snapshot) {
        let (table, key) = entry.key.split_once('.').unwrap_or(("", entry.key));
        if table != section {
            let header =
                if table == "upstream" { "[[upstream]]".to_owned() } else { format!("[{table}]") };
            lines.push((String::new(), None));
            lines.push((header, None));
            section = table;
        }
        let line = match entry.value {
            Some(_) if entry.key == "admin.token" => "# token = [secret]".to_owned(),
            Some(value) => format!("{key} = {value}"),
            None => format!("# {key} is not set"),
        };
        lines.push((line, Some(loaded.written.place(entry.key))));
    }
    let width =
        lines.iter().filter(|(_, place)| place.is_some()).map(|(line, _)| line.chars().count());
    let width = width.filter(|width| *width <= 60).max().unwrap_or(0);
    let mut rendered = String::new();
    for (line, place) in lines {
        let _ = match place {
            Some(place) => writeln!(rendered, "{line:width$}  # {}", place_name(&place)),
            None => writeln!(rendered, "{line}"),
        };
    }
    for upstream in &loaded.snapshot.upstreams {
        rendered.push_str("\n[[upstream]]\n");
        for (key, value, _) in upstream_rows(upstream).into_iter().filter(|row| !row.1.is_empty()) {
            let key = key.trim_start_matches("upstream.");
            let _ = writeln!(rendered, "{key} = {value}");
        }
    }
    rendered.push_str(&tell::render(&loaded.snapshot.routes));
    rendered
}

fn place_name(place: &Place) -> String {
    match place {
        // The column helps with a mistake, not here.
        Place::File(at) => format!("{}:{}", at.path.display(), at.line),
        place => place.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::File;
    use crate::config::load::{Flags, Sources, load, load_bytes};
    use crate::config::machine::Machine;

    fn sources() -> Sources {
        let machine = Machine {
            cores: 4,
            memory: None,
            descriptors: None,
            cache_dir: Some("/var/cache/larder".into()),
        };
        let upstream = Some("http://127.0.0.1:3000".to_owned());
        let flags = Flags { upstream, ..Flags::default() };
        Sources { file: None, environment: vec![], flags, machine }
    }

    #[test]
    fn every_key_of_the_file_is_told() {
        let loaded = load(sources()).unwrap();
        let told: Vec<_> = entries(&loaded.snapshot).into_iter().map(|entry| entry.key).collect();
        let keys: Vec<_> =
            File::paths().into_iter().filter(|path| path != "admin.token_file").collect();
        assert_eq!(told, keys);
    }

    #[test]
    fn what_check_prints_loads_as_the_same_configuration() {
        let loaded = load(sources()).unwrap();
        let rendered = render(&loaded);
        let mut again = sources();
        again.flags.upstream = None;
        again.file = Some("rendered.toml".into());
        let reloaded = load_bytes(again, Some(Ok(rendered.clone().into_bytes())))
            .unwrap_or_else(|error| panic!("{error}\n{rendered}"));
        let mut want = (*loaded.snapshot).clone();
        want.cache.dir_is_explicit = true;
        assert_eq!(*reloaded.snapshot, want, "{rendered}");
    }

    #[test]
    fn a_diff_hides_secrets_and_still_sees_them_change() {
        let with_token = |token: &str| {
            let mut sources = sources();
            sources.environment = vec![("LARDER_ADMIN__TOKEN".to_owned(), token.into())];
            load(sources).unwrap().snapshot
        };
        let diff = Diff::between(&with_token("abcdef"), &with_token("ghijkl"));
        assert_eq!(diff.to_string(), "admin.token: \"[secret]\" -> \"[secret]\"");
        assert_eq!(
            Diff::between(&with_token("a"), &with_token("a")).to_string(),
            "nothing changed"
        );
    }
}
