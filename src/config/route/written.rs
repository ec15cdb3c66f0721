//! A rule as the user writes it.

use std::time::Duration;

use http::HeaderName;

use super::WrittenKey;
use crate::config::file::{Given, Section, section};
use crate::config::mistake::Place;
use crate::config::snapshot::ClientDirectives;
use crate::config::value::route::{
    CacheMode, Conditions, CookieNames, Hosts, Lines, Methods, Names, Paths, StatusTtls,
};
use crate::config::value::{Amount, Name, Raw, Setting, Size};
use crate::semantics::key::Scheme;
use crate::semantics::route::cookies::Analytics;
use crate::semantics::route::template::Template;

section! {
    /// `[[route]]`: what it is for, then what differs. All of it: live.
    Keys {
        /// Its name, the label `route` of `larder_requests_total`.
        name: Name,
        /// Hosts: "example.org", "*.example.org".
        host: Hosts,
        /// Paths: "/about", "/api/*", "*.css".
        path: Paths,
        /// Methods.
        method: Methods,
        /// Header fields: all of "X-A", "!X-A", "X-A: 1".
        header: Conditions,
        /// The scheme that the client used.
        scheme: Scheme,
        /// "on", "off" (past the cache), "force" (stored whatever is said against it).
        cache: CacheMode,
        /// Freshness of successes, instead of what the origin says.
        ttl: Duration,
        /// The same by status code: "404: 10s", "5xx: 1s".
        status_ttl: StatusTtls,
        /// Served while it is being validated (RFC 5861 §3).
        stale_while_revalidate: Duration,
        /// Served when the origin fails (RFC 5861 §4).
        stale_if_error: Duration,
        /// As `cache.keep_stale`.
        keep_stale: Duration,
        /// As `cache.default_ttl`.
        default_ttl: Duration,
        /// As `cache.max_object`.
        max_object: Size,
        /// As `cache.max_variants`.
        max_variants: Amount,
        /// As `cache.client_directives`.
        client_directives: ClientDirectives,
        /// As `cache.share_set_cookie`.
        share_set_cookie: bool,
        /// Larder compresses here.
        compress: bool,
        /// Cookies that are as if not sent.
        ignore_cookies: Names,
        /// Cookies whose values are part of the key.
        vary_cookies: CookieNames,
        /// A request with one of these goes past the cache.
        bypass_cookies: Names,
        /// Cookies of analytics: "ignore", "drop" or "count".
        analytics_cookies: Analytics,
        /// Parameters that are neither keyed nor forwarded.
        drop_query: Names,
        /// The only parameters that are keyed and forwarded.
        keep_query: Names,
        /// The known parameters of tracking are neither keyed nor forwarded.
        drop_tracking: bool,
        /// Parameters are keyed and forwarded in the order of their names.
        sort_query: bool,
        /// Request header fields that are part of the key.
        key_headers: Vec<HeaderName>,
        /// Request header fields that the origin gets.
        set_request_headers: Lines,
        /// Request header fields that are as if not sent.
        drop_request_headers: Vec<HeaderName>,
        /// Response header fields, as if the origin had sent them.
        set_response_headers: Lines,
        /// Response header fields that are as if not sent.
        drop_response_headers: Vec<HeaderName>,
        /// The name of the [[upstream]] that is asked.
        upstream: Name,
        /// The path that the origin is asked for.
        rewrite: Template,
        /// Where clients are sent.
        redirect: Template,
        /// How: 301, 302, 307 or 308.
        redirect_status: Amount,
        /// Answered with this status code, without asking anybody.
        answer: Amount,
        /// Its Content-Type.
        answer_type: String,
        /// Its content.
        answer_body: String,
    }
}

/// One `[[route]]`.
#[derive(Debug, Clone)]
pub struct Route {
    /// Where it begins.
    pub place: Place,
    /// Its keys, understood.
    pub keys: Keys,
    /// Its keys as they stand in the file.
    pub written: Vec<WrittenKey>,
}
