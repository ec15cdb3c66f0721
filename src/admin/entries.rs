//! A stored response as `GET /api/entries` and `larder cache explain` show it.

use bytes::Bytes;
use http::header::VARY;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use serde::Serialize;

use crate::admin::problem::Problem;
use crate::admin::query::bad;
use crate::cache::purge::{Class, Verdict, What};
use crate::cache::tiers::Seen;
use crate::semantics::time::Timestamp;
use crate::semantics::{date, key};

/// The metadata of one stored response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EntryShown {
    /// Its URL, as keys have it.
    pub url: String,
    /// The rest of its key, if there is one: the Host that is forwarded, a variant, a QUERY's content.
    pub key_rest: Option<String>,
    /// fresh, stale, soft-purged or purged.
    pub state: &'static str,
    /// Where it is: memory, disk.
    pub tiers: Vec<&'static str>,
    /// Status code.
    pub status: u16,
    /// Current age in seconds (RFC 9111 §4.2.3).
    pub age: u64,
    /// Freshness lifetime in seconds.
    pub lifetime: u64,
    /// The lifetime is a guess.
    pub heuristic: bool,
    /// Freshness left in seconds; negative once stale.
    pub fresh_for: i64,
    /// When it came, or was validated last.
    pub since: String,
    /// Length of the body in bytes.
    pub size: u64,
    /// False: held in part only.
    pub whole: bool,
    /// What it takes in memory, in bytes.
    pub weight: usize,
    /// Codings that Larder has made of it.
    pub codings: Vec<&'static str>,
    /// Tags to purge it by.
    pub tags: Vec<String>,
    /// Cache groups (RFC 9875).
    pub groups: Vec<String>,
    /// Its ETag.
    pub etag: Option<String>,
    /// Its Last-Modified.
    pub last_modified: Option<String>,
    /// The request header fields that select it.
    pub vary: Vec<String>,
    /// Where the purge log stood when its fetch began.
    pub position: String,
    /// Up to where the purge log does not concern it.
    pub checked_to: String,
}

impl EntryShown {
    /// What was seen, as it stands `now`.
    pub fn of(seen: &Seen, now: Timestamp) -> Self {
        let (entry, stored) = (&seen.entry, &seen.entry.stored);
        let url = key::url_part(&seen.key);
        let rest = seen.key.get(url.len()..).unwrap_or_default();
        let time = |at| date::format(at).to_str().unwrap_or_default().to_owned();
        let vary = entry.fields.get_all(&VARY).filter_map(|line| line.to_str().ok());
        let places = [(seen.in_memory, "memory"), (seen.on_disk, "disk")];
        Self {
            url: String::from_utf8_lossy(url).into_owned(),
            key_rest: (!rest.is_empty()).then(|| readable(rest)),
            state: match seen.verdict {
                Verdict::Purged => "purged",
                Verdict::Stale => "soft-purged",
                Verdict::Valid if stored.is_fresh(now) => "fresh",
                Verdict::Valid => "stale",
            },
            tiers: places.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect(),
            status: stored.status,
            age: stored.age(now).as_secs(),
            lifetime: stored.lifetime.as_secs(),
            heuristic: stored.heuristic,
            fresh_for: stored.remaining(now),
            since: time(stored.response_time),
            size: entry.identity.len(),
            whole: entry.identity.is_whole(),
            weight: entry.weight(),
            codings: entry.coded.iter().map(|(coding, _)| coding.as_str()).collect(),
            tags: stored.tags.iter().map(ToOwned::to_owned).collect(),
            groups: stored.groups.clone(),
            etag: stored.etag.as_ref().map(|tag| String::from_utf8_lossy(tag.as_bytes()).into()),
            last_modified: stored.last_modified.map(time),
            vary: vary
                .flat_map(|line| line.split(','))
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty())
                .collect(),
            position: entry.position.to_string(),
            checked_to: entry.checked_to().to_string(),
        }
    }
}

/// Bytes of a key as text: what is no printable ASCII is escaped.
pub fn readable(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Which entries are to be listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// All of these must match.
    pub filters: Vec<What>,
    /// Only what comes behind this key.
    pub after: Option<Bytes>,
    /// At most so many.
    pub limit: usize,
}

/// A page of entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entries {
    /// By their keys.
    pub entries: Vec<EntryShown>,
    /// The parameter `after` of the next page, where there is one.
    pub next: Option<String>,
    /// What of the stored is not listed.
    pub note: Option<String>,
}

/// The cursor behind `key`.
pub fn cursor(key: &[u8]) -> String {
    percent_encode(key, NON_ALPHANUMERIC).to_string()
}

impl Listing {
    /// From the parameters of a query.
    ///
    /// # Errors
    /// One of them is none.
    pub fn read(
        [host, prefix, tag]: [Option<String>; 3],
        after: Option<String>,
        limit: usize,
    ) -> Result<Self, Problem> {
        let named = [(Class::Host, host), (Class::Prefix, prefix), (Class::Tag, tag)];
        let filters: Vec<What> = named
            .into_iter()
            .filter_map(|(class, name)| Some((class, name?)))
            .map(|(class, name)| match class {
                Class::Host => What::Named(class, name.to_ascii_lowercase().into_bytes()),
                Class::Prefix => What::Named(class, key::prefix(&name)),
                _ => What::Named(class, name.into_bytes()),
            })
            .collect();
        for filter in &filters {
            filter.check().map_err(|error| bad(format!("host, prefix or tag: {error}")))?;
        }
        let after = after.map(|after| percent_decode_str(&after).collect::<Vec<u8>>().into());
        Ok(Self { filters, after, limit })
    }
}
