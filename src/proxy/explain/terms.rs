//! What is asked of an explanation, and what it says.

use http::{HeaderMap, Method};

use crate::cache::tiers::Seen;
use crate::proxy::ask::Ask;
use crate::semantics::cache_status;
use crate::semantics::decision::{Decision, Fwd, Outcome};

/// A request that is asked about.
#[derive(Debug, Clone)]
pub struct Question {
    /// Its method.
    pub method: Method,
    /// The whole URL, as the client asks for it.
    pub url: http::Uri,
    /// Its header fields beside Host.
    pub headers: HeaderMap,
    /// Ask the origin what it would answer now; nothing of that is stored.
    pub fetch: bool,
}

/// What would be done with it, and why.
#[derive(Debug)]
pub struct Explanation {
    /// The true reason, in one line.
    pub answer: String,
    /// The decision; of a request that goes to the origin as far as it can be known before.
    pub decision: Decision,
    /// As Cache-Status would tell it.
    pub cache_status: String,
    /// The primary key, and how it came about.
    pub key: Vec<u8>,
    /// How it came about.
    pub key_from: Vec<String>,
    /// The rule that was met, or that none was.
    pub rule: String,
    /// What each tier has.
    pub tiers: Vec<String>,
    /// The stored response that was found, purged or not.
    pub stored: Option<Seen>,
    /// The arithmetic of its freshness.
    pub freshness: Vec<String>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
    /// What the origin answered.
    pub fetched: Option<Fetched>,
}

/// What the origin answered when it was asked for the explanation's sake.
#[derive(Debug)]
pub struct Fetched {
    /// Its status code; `None`: it gave none.
    pub status: Option<u16>,
    /// Would it be stored, or why not, in one line.
    pub answer: String,
    /// What of its header fields decided.
    pub fields: Vec<String>,
    /// The arithmetic of its freshness.
    pub freshness: Vec<String>,
}

impl Explanation {
    pub(super) fn empty(decision: Decision, key: Vec<u8>) -> Self {
        let status = cache_status::value(&decision, None);
        Self {
            answer: String::new(),
            decision,
            cache_status: status.to_str().unwrap_or_default().to_owned(),
            key,
            key_from: Vec::new(),
            rule: String::new(),
            tiers: Vec::new(),
            stored: None,
            freshness: Vec::new(),
            notes: Vec::new(),
            fetched: None,
        }
    }

    pub(super) fn new(ask: &Ask, key: Vec<u8>) -> Self {
        let mut told = Self::empty(Decision::forwarded(Outcome::Miss, Fwd::UriMiss), key);
        let told_so = "as a trusted proxy says (X-Forwarded-Proto)";
        let scheme = if ask.is_trusted() { told_so } else { "the listener's" };
        told.key_from = vec![
            format!("scheme {}: {scheme}", ask.scheme.as_str()),
            format!(
                "authority {}: of Host, in lower case, without a default port",
                ask.client().authority
            ),
        ];
        let host = ask.authority();
        if !host.eq_ignore_ascii_case(&ask.client().authority)
            && ask.view.snapshot.upstream.host.is_none()
        {
            told.key_from.push(format!("Host {host}: forwarded, and not the authority above"));
        }
        told
    }
}
