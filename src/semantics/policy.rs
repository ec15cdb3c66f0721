//! The settings that decisions depend on, as plain values.

use std::time::Duration;

use http::HeaderName;

use super::route::overrides::Overrides;

/// What the user decided, where the RFCs leave a choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Heuristic freshness where the origin gives none and has no Last-Modified; zero: off.
    /// Bounded like every heuristic freshness.
    pub default_ttl: Duration,
    /// The longest guess for an error (4xx, 5xx) with a Last-Modified; zero: errors are stored by
    /// explicit freshness only.
    pub heuristic_errors: Duration,
    /// How long past its freshness a response is kept, and may be served when the origin
    /// cannot be reached.
    pub keep_stale: Duration,
    /// Store responses with Set-Cookie for everybody.
    pub share_set_cookie: bool,
    /// Send tags ([`super::tags`]) on to clients.
    pub keep_tags: bool,
    /// What request directives may do.
    pub client_directives: ClientDirectives,
    /// Fields that speak to this cache: the first that is there and says something outranks
    /// Cache-Control and Expires (RFC 9213).
    pub targeted: Vec<HeaderName>,
    /// What the route says against the origin.
    pub route: Overrides,
}

#[cfg(test)]
impl Policy {
    /// Nothing is guessed, and nothing kept beyond its time.
    pub(crate) const BARE: Self = Self {
        default_ttl: Duration::ZERO,
        heuristic_errors: Duration::ZERO,
        keep_stale: Duration::ZERO,
        share_set_cookie: false,
        keep_tags: false,
        client_directives: ClientDirectives::Limit,
        targeted: Vec::new(),
        route: Overrides::NONE,
    };
}

/// What the directives of a request's Cache-Control may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientDirectives {
    /// As RFC 9111 §5.2.1 says, each time.
    Honour,
    /// Honoured, but a client forces the origin to be asked at most once a second an object.
    Limit,
    /// As if not sent.
    Ignore,
}
