//! The settings as the user writes them: one struct a table, one field a key, all optional.
//!
//! A field's comment is its reference entry (`config.toml` at the top level carries the same
//! with the defaults); "Change" says whether a running Larder takes a new value.

use std::path::PathBuf;

use http::{HeaderName, HeaderValue};

use crate::config::mistake::Place;
use crate::config::route::written::Route;
use crate::config::snapshot::{AccessTarget, ClientDirectives, LogFormat, Secret};
use crate::config::value::{
    Amount, EventLevel, Listen, MemorySize, Name, Networks, OriginUrl, Raw, Setting, Size,
    UnkeyedNames,
};
use crate::semantics::coding::Coding;
use std::time::Duration;

/// A value and where it was given.
#[derive(Debug, Clone)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// Where it was given.
    pub place: Place,
}

/// One table of the file: its keys by name.
pub trait Section {
    /// The keys that the table knows, in the order of the reference.
    fn keys(&self) -> &'static [&'static str];
    /// Sets the key `key`; `Err`: what would have been right. `Ok(false)`: there is no such key.
    fn set(&mut self, key: &str, raw: &Raw<'_>, place: Place) -> Result<bool, String>;
    /// Where the key was given, if it was.
    fn place(&self, key: &str) -> Option<&Place>;
}

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $( $(#[$key_doc:meta])* $key:ident: $kind:ty, )* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default)]
        pub struct $name { $( $(#[$key_doc])* pub $key: Option<Given<$kind>>, )* }

        impl Section for $name {
            fn keys(&self) -> &'static [&'static str] {
                &[$( stringify!($key) ),*]
            }

            fn set(&mut self, key: &str, raw: &Raw<'_>, place: Place) -> Result<bool, String> {
                match key {
                    $( stringify!($key) => {
                        let value = <$kind as Setting>::read(raw)?;
                        self.$key = Some(Given { value, place });
                        Ok(true)
                    } )*
                    _ => Ok(false),
                }
            }

            fn place(&self, key: &str) -> Option<&Place> {
                match key {
                    $( stringify!($key) => self.$key.as_ref().map(|given| &given.place), )*
                    _ => None,
                }
            }
        }
    };
}

pub(super) use section;

section! {
    /// The keys at the top of the file.
    Top {
        /// Where the proxy listens; port 0 takes a free one. Change: restart.
        listen: Listen,
        /// Worker threads, each with its own runtime and listener; 0: one a core. Change: restart.
        workers: Amount,
        /// Peers whose X-Forwarded-* fields are believed. Unix sockets always are. Change: live.
        trusted_proxies: Networks,
        /// Clients that may use the method PURGE; without any it is refused (405). Change: live.
        purge_networks: Networks,
        /// Names what is deployed behind Larder: with another one than at the last start, HTML is
        /// validated before it is used again. Change: restart.
        deploy_id: String,
        /// How long a graceful end may take. Change: live.
        drain_timeout: Duration,
        /// Show the cache key in Cache-Status. Change: live.
        debug_headers: bool,
    }
}

section! {
    /// `[[upstream]]`, or with its URL alone `upstream = "…"`: the app behind Larder.
    Upstream {
        /// Its name in logs and metrics. Change: live.
        name: Name,
        /// `http://host[:port]` or `unix:/path`. Change: live.
        url: OriginUrl,
        /// The Host sent to it; absent: what the client sent. Change: live.
        host: HeaderValue,
        /// Connections to it at most, idle and busy together. Change: live.
        max_connections: Amount,
        /// Time to connect. Change: live.
        connect_timeout: Duration,
        /// Time from the request's end to the answer's first byte. Change: live.
        first_byte_timeout: Duration,
        /// Time between two reads of the answer's body. Change: live.
        between_bytes_timeout: Duration,
        /// How long an unused connection is kept; below the app's own limit. Change: live.
        idle_timeout: Duration,
    }
}

section! {
    /// `[admin]`: metrics, health and control.
    Admin {
        /// Where the admin port listens. Change: restart.
        listen: Listen,
        /// Bearer token for `/` and `/api/`; without one they answer this machine only. Change: live.
        token: Secret,
        /// A file that holds the token. Change: live.
        token_file: PathBuf,
        /// Host names that `/` and `/api/` answer to, beside IP literals and localhost. Change: live.
        hosts: Vec<String>,
    }
}

section! {
    /// `[cache]`.
    Cache {
        /// Directory of the disk tier, owned by one process. Change: restart.
        dir: PathBuf,
        /// Bytes of the memory tier, or "auto"; 0: off. Change: restart.
        memory: MemorySize,
        /// Bytes of the disk tier; 0: off. Change: restart.
        disk: Size,
        /// Unit in which the disk is written and reclaimed. Change: restart.
        block_size: Size,
        /// The largest body that is kept. Change: live.
        max_object: Size,
        /// Bodies over this are kept in segments of this size. Change: restart.
        segment_size: Size,
        /// Freshness where the origin says nothing (heuristic, RFC 9111 §4.2.2); 0s: off. Change: live.
        default_ttl: Duration,
        /// The longest heuristic freshness of an error (4xx, 5xx) that has a Last-Modified; 0s:
        /// errors are kept by explicit freshness only. Change: live.
        heuristic_errors: Duration,
        /// How long past its freshness a response is kept. Change: live.
        keep_stale: Duration,
        /// "honour", "limit" (once a second an object) or "ignore". Change: live.
        client_directives: ClientDirectives,
        /// Store responses with Set-Cookie for everybody. Change: live.
        share_set_cookie: bool,
        /// Send Surrogate-Key and Cache-Tag on to clients. Change: live, for what is stored anew.
        keep_tags: bool,
        /// Request header fields that are dropped, beside those known to be reflected, from requests
        /// whose answer may be stored. Change: live.
        drop_unkeyed: UnkeyedNames,
        /// Such fields that are let through after all. Change: live.
        allow_unkeyed: UnkeyedNames,
        /// Response fields that outrank Cache-Control here (RFC 9213), the first that says
        /// something. Change: live.
        targeted: Vec<HeaderName>,
        /// How long a store waits for the disk writer before it stays in memory only. Change: live.
        store_wait: Duration,
        /// Variants (Vary) of one URL at most. Change: live.
        max_variants: Amount,
        /// Under `Vary: Accept-Language`, also use what was fetched for another list of languages,
        /// where it fits. Change: live.
        vary_language: bool,
        /// The largest content of a QUERY that is part of a key; 0: QUERY is passed on. Change: live.
        query_body: Size,
        /// Keys remembered as uncacheable at most. Change: restart.
        max_uncacheable: Amount,
        /// How long such a key is remembered. Change: live.
        uncacheable_ttl: Duration,
        /// How far a fetch may be ahead of its slowest reader. Change: live.
        window: Size,
        /// How long a request waits for the head of another's fetch. Change: live.
        max_wait: Duration,
    }
}

section! {
    /// `[compression]`.
    Compression {
        /// Codings that Larder makes; `[]`: none. Change: live.
        codings: Vec<Coding>,
        /// Bodies smaller than this stay as they are. Change: live.
        min_size: Size,
        /// Level of gzip, 1 to 9. Change: live.
        level: Amount,
        /// Level of br, 0 to 11. Change: live.
        br_level: Amount,
        /// Level of zstd, 1 to 19. Change: live.
        zstd_level: Amount,
        /// What a coded answer of the app may decode to, for who cannot take it; 0: never decode.
        /// Change: live.
        max_decoded: Size,
    }
}

section! {
    /// `[log]`.
    Log {
        /// "stdout", "off" or a path. Change: restart.
        access: AccessTarget,
        /// "json" or "human". Change: restart.
        format: LogFormat,
        /// "error", "warn", "info", "debug", "trace", or a filter by module. Change: live.
        level: EventLevel,
    }
}

section! {
    /// `[limits]`.
    Limits {
        /// Client connections at most. Change: live.
        connections: Amount,
        /// A request head at most (431). Change: live.
        head_size: Size,
        /// Header fields of a request at most (431). Change: live.
        head_fields: Amount,
        /// A request target at most (414); at most 64KiB. Change: live.
        uri_size: Size,
        /// A request body at most (413); 0: unlimited. Change: live.
        body_size: Size,
        /// From a request's first byte to the end of its head. Change: live.
        header_timeout: Duration,
        /// Between two reads of a request's body. Change: live.
        body_timeout: Duration,
        /// How long a write to the client may make no progress. Change: live.
        write_timeout: Duration,
        /// How long an idle connection is kept. Change: live.
        idle_timeout: Duration,
        /// How long a tunnel or an event stream may be silent. Change: live.
        tunnel_timeout: Duration,
    }
}

section! {
    /// `[readyz]`.
    Readyz {
        /// Not ready while the upstream cannot be reached. Change: live.
        require_upstream: bool,
    }
}

/// Everything that was written, by table.
#[derive(Debug, Clone, Default)]
pub struct File {
    /// The keys at the top.
    pub top: Top,
    /// `upstream` or `[[upstream]]`.
    pub upstream: Upstream,
    /// Further `[[upstream]]`, each with where it begins.
    pub upstreams: Vec<(Place, Upstream)>,
    /// `[[route]]`, in their order.
    pub routes: Vec<Route>,
    /// `[admin]`.
    pub admin: Admin,
    /// `[cache]`.
    pub cache: Cache,
    /// `[compression]`.
    pub compression: Compression,
    /// `[log]`.
    pub log: Log,
    /// `[limits]`.
    pub limits: Limits,
    /// `[readyz]`.
    pub readyz: Readyz,
}

/// The tables by name; "" holds the keys at the top.
pub const SECTIONS: [&str; 8] =
    ["", "upstream", "admin", "cache", "compression", "log", "limits", "readyz"];

impl File {
    /// The table `name`, one of [`SECTIONS`].
    pub fn section(&self, name: &str) -> Option<&dyn Section> {
        Some(match name {
            "" => &self.top,
            "upstream" => &self.upstream,
            "admin" => &self.admin,
            "cache" => &self.cache,
            "compression" => &self.compression,
            "log" => &self.log,
            "limits" => &self.limits,
            "readyz" => &self.readyz,
            _ => return None,
        })
    }

    /// The table `name`, one of [`SECTIONS`], to write to.
    pub fn section_mut(&mut self, name: &str) -> Option<&mut dyn Section> {
        Some(match name {
            "" => &mut self.top,
            "upstream" => &mut self.upstream,
            "admin" => &mut self.admin,
            "cache" => &mut self.cache,
            "compression" => &mut self.compression,
            "log" => &mut self.log,
            "limits" => &mut self.limits,
            "readyz" => &mut self.readyz,
            _ => return None,
        })
    }

    /// Where the key with this path (`cache.memory`) was given.
    pub fn place(&self, path: &str) -> Place {
        let (section, key) = path.split_once('.').unwrap_or(("", path));
        self.section(section).and_then(|s| s.place(key)).cloned().unwrap_or(Place::Default)
    }

    /// The paths of all keys, in the order of the reference.
    pub fn paths() -> Vec<String> {
        let file = Self::default();
        let mut paths = Vec::new();
        for name in SECTIONS {
            for key in file.section(name).map_or(&[][..], Section::keys) {
                paths.push(if name.is_empty() {
                    (*key).to_owned()
                } else {
                    format!("{name}.{key}")
                });
            }
        }
        paths
    }
}
