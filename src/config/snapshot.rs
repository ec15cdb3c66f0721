//! Configuration as meant: validated and immutable; what the code reads.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::config::route::Routes;
use crate::semantics::coding::Coding;
use crate::semantics::route::overrides::Overrides;

/// One validated configuration. A request uses one of these from its beginning to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Where the proxy listens. Change: restart.
    pub listen: SocketAddr,
    /// The origin behind Larder. Change: live.
    pub upstream: Arc<Upstream>,
    /// Further origins, which routes name. Change: live.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Rules by route; none in the configuration of a route. Change: live.
    pub routes: Arc<Routes>,
    /// Worker threads; never 0 here. Change: restart.
    pub workers: usize,
    /// Peers whose X-Forwarded-* fields count. Unix sockets always do. Change: live.
    pub trusted_proxies: Vec<IpNet>,
    /// Clients that may use the method PURGE. Change: live.
    pub purge_networks: Vec<IpNet>,
    /// Names what is deployed behind Larder; never empty. Change: restart.
    pub deploy_id: Option<String>,
    /// How long a graceful end may take. Change: live.
    pub drain_timeout: Duration,
    /// Include the key in Cache-Status. Change: live.
    pub debug_headers: bool,
    /// The admin port.
    pub admin: Admin,
    /// The cache.
    pub cache: Cache,
    /// Compression by Larder.
    pub compression: Compression,
    /// Logging.
    pub log: Log,
    /// Limits and timeouts.
    pub limits: Limits,
    /// What `/readyz` asks for.
    pub require_upstream: bool,
}

/// Where the origin is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// `http://host:port`; the host is a name or an IP literal (IPv6 without brackets).
    Tcp {
        /// Name or address to connect to.
        host: String,
        /// Port to connect to.
        port: u16,
    },
    /// `unix:/path`.
    Unix(PathBuf),
}

/// An origin and how to speak to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Its name in logs and metrics (`default` when it has none).
    pub name: String,
    /// As it was written, for messages.
    pub url: String,
    /// Where it is.
    pub address: Address,
    /// The Host sent to it; `None`: the client's own.
    pub host: Option<HeaderValue>,
    /// Connections to it at most, idle and busy together, all workers.
    pub max_connections: usize,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Time from the request's end to the first byte of the answer.
    pub first_byte_timeout: Duration,
    /// Time between two reads of the answer's body.
    pub between_bytes_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
}

/// `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where the admin port listens. Change: restart.
    pub listen: SocketAddr,
    /// The bearer token, if one is set. Change: live.
    pub token: Option<Secret>,
    /// Hosts beside IP literals and localhost that `/` and `/api/` answer to. Change: live.
    pub hosts: Vec<String>,
}

/// A secret: never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself; for comparing, not for printing.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

/// `[cache]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// The directory of the disk tier; `None`: no disk. Change: restart.
    pub dir: Option<PathBuf>,
    /// True where the user named `dir` (its failure is louder then).
    pub dir_is_explicit: bool,
    /// Bytes of memory for all that grows with use, resolved from `auto`; 0: no memory tier.
    /// Change: restart.
    pub memory: u64,
    /// What is shared out (see `config::memory`): the same, or that of `auto` where it is 0.
    pub memory_budget: u64,
    /// Bytes of the disk tier; 0: off. Change: restart.
    pub disk: u64,
    /// foyer's block size in bytes. Change: restart.
    pub block_size: u64,
    /// The largest body kept, in bytes. Change: live.
    pub max_object: u64,
    /// Bodies larger than this are kept in segments of this size. Change: restart.
    pub segment_size: u64,
    /// Heuristic freshness where the origin gives none and nothing else applies; 0: off. Live.
    pub default_ttl: Duration,
    /// The longest heuristic freshness of an error with Last-Modified; 0: none. Live.
    pub heuristic_errors: Duration,
    /// How long past its freshness a response is kept. Live.
    pub keep_stale: Duration,
    /// What request directives may do. Live.
    pub client_directives: ClientDirectives,
    /// Store responses with Set-Cookie for everybody. Live.
    pub share_set_cookie: bool,
    /// Send Surrogate-Key and Cache-Tag on to clients. Change: live, for what is stored anew.
    pub keep_tags: bool,
    /// Unkeyed request header fields dropped beside the known ones. Live.
    pub drop_unkeyed: Vec<HeaderName>,
    /// Unkeyed request header fields that are let through. Live.
    pub allow_unkeyed: Vec<HeaderName>,
    /// Response fields that outrank Cache-Control here, in their order (RFC 9213). Live.
    pub targeted: Vec<HeaderName>,
    /// What the route of this configuration says against the origin; nothing outside of routes.
    pub route: Overrides,
    /// How long a fill waits for the disk writer before the object stays in memory only. Live.
    pub store_wait: Duration,
    /// Variants of one primary key at most. Live.
    pub max_variants: usize,
    /// A response fetched for another Accept-Language answers where it fits. Live.
    pub vary_language: bool,
    /// The largest content of a QUERY that is part of a key, in bytes; 0: QUERY is passed on. Live.
    pub query_body: u64,
    /// Records of uncacheable keys at most (hit-for-miss). Restart.
    pub max_uncacheable: usize,
    /// How long an uncacheable key is remembered. Live.
    pub uncacheable_ttl: Duration,
    /// How far the fill of an object may be ahead of its slowest reader, in bytes. Live.
    pub window: u64,
    /// How long a follower waits for the head of another's fetch. Live.
    pub max_wait: Duration,
}

impl Cache {
    /// How much of a body under way stays at hand for its readers, in bytes: never so little that a
    /// segment could have left it that is not stored yet.
    pub fn flight_window(&self) -> u64 {
        self.window.max(self.segment_size.saturating_mul(2))
    }
}

/// `cache.client_directives`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientDirectives {
    /// As RFC 9111 §5.2.1 says, each time.
    Honour,
    /// Honoured, but a forced fetch at most once a second an object.
    Limit,
    /// As if not sent.
    Ignore,
}

/// `[compression]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compression {
    /// Codings that Larder makes, best first; empty: none.
    pub codings: Vec<Coding>,
    /// Bodies smaller than this stay as they are, in bytes.
    pub min_size: u64,
    /// How hard each coding tries.
    pub levels: Levels,
    /// What a coded answer of the origin may decode to, in bytes; 0: none is decoded.
    pub max_decoded: u64,
}

/// How hard each coding tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Levels {
    /// 1-9.
    pub gzip: u32,
    /// 0-11.
    pub br: u32,
    /// 1-19: beyond that windows are larger than clients take (RFC 9659).
    pub zstd: u32,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Where access lines go. Restart.
    pub access: AccessTarget,
    /// How lines and events are written. Restart.
    pub format: LogFormat,
    /// The lowest level of events, as `tracing`'s filter reads it. Live.
    pub level: String,
}

/// `log.access`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessTarget {
    /// No access log.
    Off,
    /// Standard output.
    Stdout,
    /// Appended to a file.
    File(PathBuf),
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For reading.
    Human,
}

/// `[limits]`: sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Client connections at most.
    pub connections: usize,
    /// A request head at most (431 beyond it).
    pub head_size: usize,
    /// Header fields of a request at most (431 beyond it).
    pub head_fields: usize,
    /// A request target at most (414 beyond it).
    pub uri_size: usize,
    /// A request body at most (413 beyond it); 0: unlimited.
    pub body_size: u64,
    /// From a request's first byte to the end of its head.
    pub header_timeout: Duration,
    /// Between two reads of a request's body.
    pub body_timeout: Duration,
    /// How long a write to the client may make no progress.
    pub write_timeout: Duration,
    /// How long an idle keep-alive connection is kept.
    pub idle_timeout: Duration,
    /// How long a tunnel or an event stream may be silent.
    pub tunnel_timeout: Duration,
}
