//! File, environment and flags laid over each other: flags win over the environment, that over
//! the file, that over the defaults. One run reports every mistake.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::file::{File, Given};
use crate::config::machine::Machine;
use crate::config::mistake::{ConfigError, Mistake, Place, SourceText, nearest};
use crate::config::snapshot::{Secret, Snapshot};
use crate::config::validate::validate;
use crate::config::value::{Raw, Setting, show_bytes};

/// A configuration file is at most this large; nobody writes more, and /dev/zero ends.
const FILE_LIMIT: u64 = 1 << 20;

/// What the command line says; the values are checked with all others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<String>,
    /// `--upstream`.
    pub upstream: Option<String>,
    /// `--admin`.
    pub admin: Option<String>,
}

/// Everything that a configuration is made of. Kept for reloads, in which only files change.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The configuration file, if there is one.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Vec<(String, OsString)>,
    /// The command line.
    pub flags: Flags,
    /// What the defaults follow from.
    pub machine: Machine,
}

impl Sources {
    /// The sources of this process: its environment, these flags, and the file that `--config`
    /// or `LARDER_CONFIG` names (no file is read that nobody named).
    pub fn of_process(flags: Flags) -> Self {
        let environment: Vec<_> = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
            .collect();
        let named =
            environment.iter().find(|(name, value)| name == "LARDER_CONFIG" && !value.is_empty());
        let file = flags.config.clone().or_else(|| named.map(|(_, value)| PathBuf::from(value)));
        let machine = Machine::here(&environment);
        Self { file, environment, flags, machine }
    }

    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().find(|(n, _)| n == name).and_then(|(_, value)| value.to_str())
    }
}

/// A configuration that holds.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the code reads.
    pub snapshot: Arc<Snapshot>,
    /// What was written, and where.
    pub written: File,
    /// What is odd, but no reason to refuse.
    pub warnings: Vec<String>,
    /// What it was made of.
    pub sources: Sources,
}

/// Reads and validates.
pub fn load(sources: Sources) -> Result<Loaded, ConfigError> {
    let bytes = sources.file.as_deref().map(read_bounded);
    load_bytes(sources, bytes)
}

/// The same of a file that has been read already (or could not be).
pub(crate) fn load_bytes(
    sources: Sources,
    bytes: Option<io::Result<Vec<u8>>>,
) -> Result<Loaded, ConfigError> {
    let mut reader = Reader { sources: &sources, mistakes: Vec::new(), warnings: Vec::new() };
    let mut written = File::default();
    let source = match (&sources.file, bytes) {
        (Some(path), Some(bytes)) => reader.source(path, bytes),
        _ => None,
    };
    // After a mistake of syntax the tables are guesswork: only that is reported of the file.
    if let Some(source) = &source {
        reader.file(source, &mut written);
    }
    reader.environment(&mut written);
    reader.flags(&mut written);
    reader.token(&mut written);
    let Reader { mut mistakes, mut warnings, .. } = reader;
    // What is missing is only missed where everything given was understood.
    let snapshot =
        validate(&written, source.as_ref(), &sources.machine, &mut mistakes, &mut warnings);
    match snapshot {
        Some(snapshot) if mistakes.is_empty() => {
            Ok(Loaded { snapshot: Arc::new(snapshot), written, warnings, sources })
        }
        _ => {
            mistakes.sort_by_key(|mistake| match &mistake.place {
                Place::File(at) => (0, at.line, at.column),
                Place::Environment(_) => (1, 0, 0),
                Place::Flag(_) => (2, 0, 0),
                Place::Default => (3, 0, 0),
            });
            Err(ConfigError { mistakes })
        }
    }
}

/// The bytes of a file, refused where they are too many.
pub(crate) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_LIMIT {
        let limit = show_bytes(FILE_LIMIT);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {limit}")));
    }
    Ok(bytes)
}

/// Gathers what was written and every mistake in it; `document` reads the file for it.
pub(super) struct Reader<'a> {
    pub(super) sources: &'a Sources,
    pub(super) mistakes: Vec<Mistake>,
    warnings: Vec<String>,
}

impl Reader<'_> {
    fn source(&mut self, path: &Path, bytes: io::Result<Vec<u8>>) -> Option<SourceText> {
        let whole = SourceText::new(path, "").whole();
        match bytes.map(String::from_utf8) {
            Ok(Ok(text)) => Some(SourceText::new(path, &text)),
            Ok(Err(error)) => {
                let valid = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(error.as_bytes());
                let place = SourceText::new(path, &text).place(valid);
                self.mistakes.push(Mistake::new(place, "this byte is not UTF-8"));
                None
            }
            Err(error) => {
                let what = format!("cannot read the configuration file: {error}");
                self.mistakes.push(Mistake::new(whole, what));
                None
            }
        }
    }

    fn environment(&mut self, written: &mut File) {
        let known: Vec<(String, String)> =
            File::paths().into_iter().map(|path| (variable_name(&path), path)).collect();
        for (name, value) in &self.sources.environment {
            if !name.starts_with("LARDER_") || name == "LARDER_CONFIG" {
                continue;
            }
            let path = match known.iter().find(|(known, _)| known == name) {
                Some((_, path)) => path.as_str(),
                None if name == "LARDER_UPSTREAM" => "upstream.url",
                None => {
                    let near = nearest(name, known.iter().map(|(known, _)| known.as_str()));
                    let hint = near.map_or(String::new(), |near| format!(", did you mean {near}?"));
                    self.warnings.push(format!("environment {name} is no setting of Larder{hint}"));
                    continue;
                }
            };
            let place = Place::Environment(name.clone());
            let Some(text) = value.to_str() else {
                self.mistakes.push(Mistake::new(place, "its value is not UTF-8"));
                continue;
            };
            let (section, key) = path.split_once('.').unwrap_or(("", path));
            let Some(table) = written.section_mut(section) else { continue };
            if let Err(what) = table.set(key, &Raw::Text(text), place.clone()) {
                self.mistakes.push(Mistake::new(place, what));
            }
        }
    }

    fn flags(&mut self, written: &mut File) {
        let flags = &self.sources.flags;
        for (name, value, section, key) in [
            ("--listen", &flags.listen, "", "listen"),
            ("--upstream", &flags.upstream, "upstream", "url"),
            ("--admin", &flags.admin, "admin", "listen"),
        ] {
            let (Some(value), Some(table)) = (value, written.section_mut(section)) else {
                continue;
            };
            if let Err(what) = table.set(key, &Raw::Text(value), Place::Flag(name)) {
                self.mistakes.push(Mistake::new(Place::Flag(name), what));
            }
        }
    }

    /// Reads `admin.token_file`, unless a token of a higher layer outranks it.
    fn token(&mut self, written: &mut File) {
        let Some(file) = &written.admin.token_file else { return };
        if let Some(token) = &written.admin.token {
            let from_environment = |place: &Place| matches!(place, Place::Environment(_));
            match (from_environment(&token.place), from_environment(&file.place)) {
                (true, false) => return,
                (false, true) => {}
                _ => {
                    let what = "`admin.token` and `admin.token_file` are both given; keep one";
                    self.mistakes.push(Mistake::new(file.place.clone(), what));
                    return;
                }
            }
        }
        let text = read_bounded(&file.value).map(String::from_utf8);
        let token = match &text {
            Ok(Ok(text)) => Secret::read(&Raw::Text(text)),
            Ok(Err(_)) => Err("it is not UTF-8".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        match token {
            Ok(value) => written.admin.token = Some(Given { value, place: file.place.clone() }),
            Err(what) => {
                let what = format!("`admin.token_file` {}: {what}", file.value.display());
                self.mistakes.push(Mistake::new(file.place.clone(), what));
            }
        }
    }
}

/// The environment variable of the setting with this path.
pub fn variable_name(path: &str) -> String {
    format!("LARDER_{}", path.replace('.', "__").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::Section;
    use crate::config::route::written::Keys;
    use crate::config::snapshot::{AccessTarget, Address};
    use std::time::Duration;

    fn machine() -> Machine {
        Machine { cores: 2, memory: None, descriptors: None, cache_dir: Some("/c".into()) }
    }

    fn sources(environment: &[(&str, &str)]) -> Sources {
        Sources {
            file: Some("config.toml".into()),
            environment: environment.iter().map(|(n, v)| ((*n).to_owned(), v.into())).collect(),
            flags: Flags::default(),
            machine: machine(),
        }
    }

    fn load_text(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
        load_bytes(sources(environment), Some(Ok(text.as_bytes().to_vec())))
    }

    fn mistakes(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
        match load_text(text, environment) {
            Ok(_) => vec![],
            Err(error) => error.mistakes.iter().map(ToString::to_string).collect(),
        }
    }

    const UPSTREAM: &str = "upstream = \"http://127.0.0.1:3000\"\n";

    #[test]
    fn every_mistake_is_named_with_its_place_and_what_would_be_right() {
        for (case, text, want) in [
            (
                "misspelt",
                "[cache]\nmemroy = 1\n",
                "config.toml:3:1: unknown key `memroy` in [cache], did you mean `memory`?",
            ),
            (
                "misspelt table",
                "[cahce]\n",
                "config.toml:2:2: unknown key `cahce`, did you mean `cache`?",
            ),
            (
                "wrong table",
                "[admin]\nmemory = 1\n",
                "config.toml:3:1: unknown key `memory` in [admin], it belongs in [cache]",
            ),
            (
                "top key in a table",
                "[cache]\nworkers = 1\n",
                "config.toml:3:1: unknown key `workers` in [cache], it belongs at the top of the file, above the first [table]",
            ),
            (
                "nothing like it",
                "[readyz]\nzebra = 1\n",
                "config.toml:3:1: unknown key `zebra` in [readyz]; known are require_upstream",
            ),
            (
                "later",
                "[redis]\nurl = \"x\"\n",
                "config.toml:2:2: `redis` is not supported yet; it comes in a later version",
            ),
            (
                "no table",
                "cache = 1\n",
                "config.toml:2:1: `cache` is a table: write [cache] on a line of its own",
            ),
            (
                "wrong type",
                "workers = \"two\"\n",
                "config.toml:2:11: `workers`: expected a whole number, found \"two\"",
            ),
            (
                "negative",
                "workers = -1\n",
                "config.toml:2:11: `workers`: expected a whole number, found -1",
            ),
            (
                "too many",
                "workers = 5000\n",
                "config.toml:2:11: `workers` is 5000; it must be from 0 to 1024",
            ),
            (
                "no unit",
                "drain_timeout = 20\n",
                "config.toml:2:17: `drain_timeout`: expected a duration such as \"250ms\", \"30s\" or \"1h\", found 20; a number needs its unit: \"20s\"?",
            ),
            (
                "no size",
                "[cache]\ndisk = \"lots\"\n",
                "config.toml:3:8: `cache.disk`: expected a size in bytes such as 65536, \"64KiB\" or \"10MB\", found \"lots\"",
            ),
            (
                "too small",
                "[cache]\ndisk = \"1MiB\"\n",
                "config.toml:3:8: `cache.disk` is 1MiB; it must be 0 (off) or from 16MiB to 65536GiB",
            ),
            (
                "out of bounds",
                "[limits]\nheader_timeout = \"0s\"\n",
                "config.toml:3:18: `limits.header_timeout` is 0s; it must be from 1ms to 1day",
            ),
            (
                "segment",
                "[cache]\nmemory = \"64MiB\"\nsegment_size = \"1MiB\"\n",
                "config.toml:4:16: `cache.segment_size` is 1MiB; it must be at most 512KiB, a sixteenth of a memory shard (`cache.memory` is 64MiB)",
            ),
            (
                "same port",
                "listen = \"127.0.0.1:9180\"\n",
                "config.toml:2:10: `listen` and `admin.listen` are both 127.0.0.1:9180",
            ),
            (
                "unset variable",
                "[log]\naccess = \"${NOWHERE}/x\"\n",
                "config.toml:3:10: `log.access`: environment variable `NOWHERE` is not set",
            ),
            (
                "open variable",
                "[log]\naccess = \"${NOWHERE\"\n",
                "config.toml:3:10: `log.access`: `${` without its `}`; write `$${` for the characters themselves",
            ),
        ] {
            assert_eq!(mistakes(&format!("{UPSTREAM}{text}"), &[]), [want], "{case}");
        }
    }

    #[test]
    fn one_run_reports_all_mistakes_in_the_order_of_the_file() {
        let text = "workers = true\n[cache]\nmemroy = 1\ndisk = -5\n[admin]\nlisten = 9180\n";
        let found = mistakes(text, &[("LARDER_LIMITS__CONNECTIONS", "many")]);
        assert_eq!(
            found,
            [
                "config.toml:1:11: `workers`: expected a whole number, found true",
                "config.toml:3:1: unknown key `memroy` in [cache], did you mean `memory`?",
                "config.toml:4:8: `cache.disk`: expected a size in bytes such as 65536, \"64KiB\" or \"10MB\", found -5",
                "config.toml:6:10: `admin.listen`: expected an address and port such as \"127.0.0.1:8080\" or \"[::]:8080\", found 9180; every address is \"0.0.0.0:9180\"",
                "environment LARDER_LIMITS__CONNECTIONS: expected a whole number, found \"many\"",
            ]
        );
    }

    #[test]
    fn a_mistake_shows_its_line() {
        let error =
            load_text(&format!("{UPSTREAM}[cache]\nmemroy = \"64MiB\"\n"), &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "config.toml:3:1: unknown key `memroy` in [cache], did you mean `memory`?\n  3 | memroy = \"64MiB\"\n    | ^^^^^^"
        );
        let error = load_text(&format!("{UPSTREAM}workers = 5000 # many\n"), &[]).unwrap_err();
        assert!(
            error.to_string().ends_with("  2 | workers = 5000 # many\n    |           ^^^^"),
            "{error}"
        );
    }

    #[test]
    fn broken_files_are_mistakes_with_a_line() {
        for (case, bytes, want) in [
            ("syntax", &b"upstream = \"http://a\"\nlisten = \n"[..], "config.toml:2:"),
            ("cut off", b"upstream = \"http://a\"\n[cac", "config.toml:2:"),
            ("twice", b"workers = 1\nworkers = 2\n", "config.toml:2:1: duplicate key"),
            ("not UTF-8", b"workers = 1\n# \xff\n", "config.toml:2:3: this byte is not UTF-8"),
            ("binary", b"\0\0\0", "config.toml:1:"),
        ] {
            let error = load_bytes(sources(&[]), Some(Ok(bytes.to_vec()))).unwrap_err();
            let first = error.mistakes.first().map(ToString::to_string).unwrap_or_default();
            assert!(first.starts_with(want), "{case}: {first}");
        }
    }

    #[test]
    fn a_missing_or_endless_file_is_refused() {
        let mut sources = sources(&[]);
        sources.file = Some("/nonexistent/larder.toml".into());
        let error = load(sources.clone()).unwrap_err().to_string();
        assert!(
            error.starts_with(
                "/nonexistent/larder.toml: cannot read the configuration file: No such file"
            ),
            "{error}"
        );
        sources.file = Some("/dev/zero".into());
        assert!(load(sources).unwrap_err().to_string().contains("larger than 1MiB"));
    }

    #[test]
    fn no_upstream_says_where_to_name_one() {
        assert_eq!(
            mistakes("", &[]),
            [
                "config.toml: no upstream: tell Larder where the app is, by --upstream http://127.0.0.1:3000, by LARDER_UPSTREAM, or by upstream = \"…\" in a file named by --config"
            ]
        );
        let mut bare = sources(&[]);
        bare.file = None;
        let error = load(bare).unwrap_err().to_string();
        assert!(error.starts_with("no upstream: tell Larder"), "{error}");
    }

    #[test]
    fn an_upstream_is_a_url_or_one_table() {
        let table = "[[upstream]]\nurl = \"unix:/run/app.sock\"\nhost = \"app.example.org\"\n";
        let upstream = &load_text(table, &[]).unwrap().snapshot.upstream;
        assert_eq!(upstream.address, Address::Unix("/run/app.sock".into()));
        assert_eq!(upstream.host.as_ref().unwrap(), "app.example.org");
        for (case, text, want) in [
            (
                "two, one without a name",
                "[[upstream]]\nurl = \"http://a\"\n[[upstream]]\nurl = \"http://b\"\n",
                "config.toml:3:1: one of several [[upstream]] needs a `name`, by which routes say it",
            ),
            (
                "two of one name",
                "[[upstream]]\nurl = \"http://a\"\n[[upstream]]\nurl = \"http://b\"\nname = \"default\"\n",
                "config.toml:3:1: two [[upstream]] have the name \"default\"",
            ),
            (
                "no url",
                "[[upstream]]\nname = \"a\"\n",
                "config.toml:1:1: [[upstream]] has no `url`; write url = \"http://127.0.0.1:3000\"",
            ),
            (
                "one bracket",
                "[upstream]\nurl = \"http://a\"\n",
                "config.toml:1:1: expected upstream = \"http://127.0.0.1:3000\" or [[upstream]] tables (with two brackets)",
            ),
            (
                "misspelt",
                "[[upstream]]\nurl = \"http://a\"\nhots = \"b\"\n",
                "config.toml:3:1: unknown key `hots` in [[upstream]], did you mean `host`?",
            ),
            (
                "TLS",
                "upstream = \"https://a\"\n",
                "config.toml:1:12: `upstream`: TLS to the upstream is not supported yet (it comes in a later version); use \"http://…\" or \"unix:/path\", found \"https://a\"",
            ),
            (
                "a number",
                "upstream = 3000\n",
                "config.toml:1:12: `upstream`: expected a URL such as \"http://127.0.0.1:3000\" or \"unix:/run/app.sock\", found 3000",
            ),
        ] {
            assert_eq!(mistakes(text, &[]), [want], "{case}");
        }
    }

    #[test]
    fn mistakes_in_rules_have_their_lines() {
        for (case, text, want) in [
            (
                "misspelt",
                "[[route]]\ntll = \"1h\"\n",
                "config.toml:3:1: unknown key `tll` in [[route]], did you mean `ttl`?",
            ),
            (
                "one bracket",
                "[route]\nttl = \"1h\"\n",
                "config.toml:2:1: rules are tables: write [[route]] (with two brackets) on a line of its own",
            ),
            (
                "a host with a path",
                "[[route]]\nhost = \"a.org/x\"\n",
                "config.toml:3:8: `route.host`: expected hosts such as \"example.org\" or \"*.example.org\", found \"a.org/x\" in it",
            ),
            (
                "a path with a query",
                "[[route]]\npath = [\"/a\", \"/a?b\"]\n",
                "config.toml:3:8: `route.path`: expected paths such as \"/about\", \"/api/*\" or \"*.css\", found \"/a?b\" in it",
            ),
            (
                "no duration",
                "[[route]]\nttl = 5\n",
                "config.toml:3:7: `route.ttl`: expected a duration such as \"250ms\", \"30s\" or \"1h\", found 5; a number needs its unit: \"5s\"?",
            ),
            (
                "no status",
                "[[route]]\nstatus_ttl = [\"40: 1s\"]\n",
                "config.toml:3:14: `route.status_ttl`: expected status codes with a duration such as \"404: 10s\" or \"5xx: 1s\", found \"40: 1s\" in it",
            ),
            (
                "two of a name",
                "[[route]]\nname = \"a\"\nttl = \"1s\"\npath = \"/x\"\n[[route]]\nname = \"a\"\nttl = \"1s\"\n",
                "config.toml:7:8: route `a`: that is the name of the one at config.toml:3:8, too; choose another",
            ),
            (
                "the name of no rule",
                "[[route]]\nname = \"default\"\nttl = \"1s\"\n",
                "config.toml:3:8: route `default`: that is what requests without a route are called; choose another",
            ),
            (
                "for how long",
                "[[route]]\ncache = \"force\"\n",
                "config.toml:3:9: `route.cache` is \"force\", and nothing says for how long; add ttl = \"…\"",
            ),
            (
                "no such upstream",
                "[[route]]\nupstream = \"b\"\n",
                "config.toml:3:12: `route.upstream`: there is no [[upstream]] of the name \"b\"; known are default",
            ),
            (
                "a redirect to anywhere",
                "[[route]]\nredirect = \"{uri}\"\n",
                "config.toml:3:12: `route.redirect`: expected a URL such as \"https://example.org{uri}\" or a path such as \"/new/{rest}\", whose host no client can choose",
            ),
            (
                "no rest",
                "[[route]]\npath = \"/a\"\nrewrite = \"/b/{rest}\"\n",
                "config.toml:4:11: `route.rewrite`: {rest} needs a path that ends in its only star",
            ),
            (
                "framing",
                "[[route]]\nset_request_headers = [\"Host: a\"]\n",
                "config.toml:3:23: `route.set_request_headers`: host is Larder's own to write; [[upstream]] has a key `host`",
            ),
            (
                "half an answer",
                "[[route]]\nanswer_body = \"x\"\n",
                "config.toml:3:15: an answer needs its status: answer = 200",
            ),
        ] {
            assert_eq!(mistakes(&format!("{UPSTREAM}{text}"), &[]), [want], "{case}");
        }
    }

    #[test]
    fn a_rule_that_never_matches_is_warned_of() {
        let text = "[[route]]\nname = \"all\"\npath = \"/a/*\"\nttl = \"1h\"\n[[route]]\nname = \"css\"\npath = \"/a/*.css\"\nttl = \"1h\"\n[[route]]\npath = \"/b\"\n";
        let warnings = load_text(&format!("{UPSTREAM}{text}"), &[]).unwrap().warnings;
        assert_eq!(
            warnings,
            [
                "route `css` (config.toml:6:1) never matches: `all` before it is for all of its requests",
                "route `route-3` (config.toml:10:1) changes nothing",
            ]
        );
    }

    #[test]
    fn flags_win_over_environment_over_file_over_defaults() {
        let mut sources = sources(&[
            ("LARDER_LISTEN", "127.0.0.1:2"),
            ("LARDER_UPSTREAM", "http://environment"),
            ("LARDER_CACHE__KEEP_STALE", "2h"),
            ("LARDER_TRUSTED_PROXIES", "10.0.0.0/8,::1"),
        ]);
        sources.flags.listen = Some("127.0.0.1:3".to_owned());
        let text = "listen = \"127.0.0.1:1\"\nupstream = \"http://file\"\ndrain_timeout = \"5s\"\n";
        let loaded = load_bytes(sources, Some(Ok(text.as_bytes().to_vec()))).unwrap();
        let snapshot = &loaded.snapshot;
        assert_eq!(snapshot.listen.to_string(), "127.0.0.1:3");
        assert_eq!(snapshot.upstream.url, "http://environment");
        assert_eq!(snapshot.cache.keep_stale, Duration::from_hours(2));
        assert_eq!(snapshot.drain_timeout, Duration::from_secs(5));
        assert_eq!(snapshot.trusted_proxies.len(), 2);
        let places = ["listen", "upstream.url", "drain_timeout", "workers"];
        assert_eq!(
            places.map(|key| loaded.written.place(key).to_string()),
            ["--listen", "environment LARDER_UPSTREAM", "config.toml:3:17", "default"]
        );
    }

    #[test]
    fn foreign_larder_variables_are_warnings() {
        let loaded = load_text(
            UPSTREAM,
            &[("LARDER_PORT", "tcp://10.0.0.1:80"), ("LARDER_CACHE_MEMORY", "1MiB"), ("PATH", "/")],
        )
        .unwrap();
        assert_eq!(
            loaded.warnings,
            [
                "environment LARDER_PORT is no setting of Larder",
                "environment LARDER_CACHE_MEMORY is no setting of Larder, did you mean LARDER_CACHE__MEMORY?",
            ]
        );
    }

    #[test]
    fn variables_in_strings_are_put_in() {
        let environment = [("N", "3"), ("DIR", "/var/log"), ("HOST", "app")];
        let text = "upstream = \"http://${HOST}:80\"\nworkers = \"${N}\"\n[log]\naccess = \"${DIR}/$${x}.log\"\n[admin]\nhosts = [\"${HOST}\"]\n";
        let snapshot = load_text(text, &environment).unwrap().snapshot;
        assert_eq!(snapshot.workers, 3);
        assert_eq!(snapshot.upstream.url, "http://app:80");
        assert_eq!(snapshot.log.access, AccessTarget::File("/var/log/${x}.log".into()));
        assert_eq!(snapshot.admin.hosts, ["app"]);
    }

    #[test]
    fn the_token_may_be_in_a_file_but_in_one_place_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "hunter2\n").unwrap();
        let text = format!("{UPSTREAM}[admin]\ntoken_file = \"{}\"\n", path.display());
        let token =
            |loaded: &Loaded| loaded.snapshot.admin.token.as_ref().unwrap().reveal().to_owned();
        let loaded = load_text(&text, &[]).unwrap();
        assert_eq!(token(&loaded), "hunter2");
        assert!(!format!("{loaded:?}").contains("hunter2"));
        let loaded = load_text(&text, &[("LARDER_ADMIN__TOKEN", "other")]).unwrap();
        assert_eq!(token(&loaded), "other");
        let both = mistakes(&format!("{text}token = \"x\"\n"), &[]);
        assert_eq!(
            both,
            ["config.toml:3:14: `admin.token` and `admin.token_file` are both given; keep one"]
        );
        std::fs::write(&path, "").unwrap();
        assert!(mistakes(&text, &[])[0].contains("printable ASCII"));
    }

    /// The examples of rules in the reference hold as they stand, all together.
    #[test]
    fn the_rules_of_the_reference_load() {
        let reference = include_str!("../../config.toml");
        let (_, rules) = reference.split_once("# Rules by route.").unwrap();
        let mut text = UPSTREAM.replace("upstream =", "[[upstream]]\nurl =");
        text.push_str("[[upstream]]\nname = \"blog\"\nurl = \"http://127.0.0.1:3001\"\n");
        let mut begun = false;
        for line in rules.lines() {
            let Some(line) = line.strip_prefix("# ") else { continue };
            begun |= line == "[[route]]";
            let is_setting = line.split(" = ").next().is_some_and(|key| {
                line.contains(" = ") && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            });
            if line == "[[route]]" || (begun && is_setting) {
                text.push_str(line);
                text.push('\n');
            }
        }
        let loaded = load_text(&text, &[]).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert!(loaded.snapshot.routes.rules.len() > 5, "{text}");
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    }

    #[test]
    fn the_reference_loads_as_it_stands_and_names_every_key_with_its_default() {
        let reference = include_str!("../../config.toml");
        let bare = load_text(UPSTREAM, &[]).unwrap();
        let loaded = load_text(reference, &[]).unwrap();
        assert_eq!(loaded.snapshot, bare.snapshot);
        // Every commented setting, taken in: `# key = value`.
        let mut taken_in = String::new();
        let mut named = Vec::new();
        let mut section = "";
        for line in reference.lines() {
            let setting = line.strip_prefix("# ").unwrap_or(line);
            let key = setting.split(" = ").next().unwrap_or("");
            let is_setting = setting.contains(" = ")
                && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
                && !key.is_empty();
            if let Some(name) = setting.strip_prefix("[[").and_then(|s| s.strip_suffix("]]")) {
                section = name;
            } else if let Some(name) = line.strip_prefix('[').and_then(|s| s.strip_suffix(']')) {
                section = name;
                taken_in.push_str(line);
                taken_in.push('\n');
            } else if is_setting {
                let path =
                    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
                named.push(if path == "upstream" { "upstream.url".to_owned() } else { path });
                // These have no default to repeat.
                let unset = ["token", "token_file", "host", "deploy_id"].contains(&key);
                if section != "upstream" && section != "route" && !unset {
                    taken_in.push_str(setting);
                    taken_in.push('\n');
                }
            }
        }
        let of_routes = Keys::default().keys().iter().map(|key| format!("route.{key}"));
        for path in File::paths().into_iter().chain(of_routes) {
            assert!(named.contains(&path), "config.toml does not name `{path}`");
        }
        let taken_in = load_text(&taken_in, &[]).unwrap_or_else(|e| panic!("{e}"));
        let mut want = (*bare.snapshot).clone();
        want.cache.dir = Some("/var/cache/larder".into());
        want.cache.dir_is_explicit = true;
        assert_eq!(*taken_in.snapshot, want);
    }
}
