//! What is remembered of a stored response, already parsed.

use std::time::Duration;

use http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::etag::EntityTag;
use super::policy::Policy;
use super::tags::Tags;
use super::time::{DeltaSeconds, Timestamp};

/// A request notes its time before it looks, so an entry that another worker has just stored
/// may be younger than "now" by as much as this.
const RACE: Duration = Duration::from_millis(100);

/// The facts of a stored response that decisions need (RFC 9111 §3, §4.2). Plain values: the
/// codec writes them as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Status code.
    pub status: u16,
    /// When the request that brought it (or last validated it) was sent.
    pub request_time: Timestamp,
    /// When its head (or that of the last validation) arrived.
    pub response_time: Timestamp,
    /// Its Date, or `response_time` where that is missing or no date.
    pub date: Timestamp,
    /// `corrected_initial_age` (§4.2.3).
    pub initial_age: Duration,
    /// Freshness lifetime (§4.2.1); zero where it must be validated before each use.
    pub lifetime: Duration,
    /// The lifetime is a guess (§4.2.2): not for requests with Cookie or Authorization.
    pub heuristic: bool,
    /// must-revalidate, proxy-revalidate or s-maxage: never to be served stale.
    pub must_revalidate: bool,
    /// no-cache: never without successful validation.
    pub no_cache: bool,
    /// no-transform: the content is left as it is.
    pub no_transform: bool,
    /// immutable: what a client reloads is the same (RFC 8246).
    pub immutable: bool,
    /// RFC 5861 §4.
    pub stale_if_error: Option<DeltaSeconds>,
    /// RFC 5861 §3.
    pub stale_while_revalidate: Option<DeltaSeconds>,
    /// Its ETag, if that is one.
    pub etag: Option<EntityTag>,
    /// Its Last-Modified, if that is a date.
    pub last_modified: Option<Timestamp>,
    /// There is an ETag or Last-Modified that the origin can be asked with.
    pub validator: bool,
    /// The groups that it belongs to on its origin (RFC 9875).
    pub groups: Vec<String>,
    /// The tags by which it can be purged.
    pub tags: Tags,
}

impl Stored {
    /// `current_age` (§4.2.3). Where `now` is before `response_time` the age is not known, and
    /// this is what it is at least.
    pub fn age(&self, now: Timestamp) -> Duration {
        self.initial_age.saturating_add(now.saturating_since(self.response_time))
    }

    /// False where the clock stood earlier than when this was stored: a step back over a restart.
    pub fn age_is_known(&self, now: Timestamp) -> bool {
        self.response_time <= now + RACE
    }

    /// Seconds of freshness left, rounded down; negative once stale, and where the age is not
    /// known.
    pub fn remaining(&self, now: Timestamp) -> i64 {
        if !self.age_is_known(now) {
            return -1;
        }
        let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        millis(self.lifetime).saturating_sub(millis(self.age(now))).div_euclid(1000)
    }

    /// Fresh, as far as its own lifetime goes (§4.2); `no_cache` is another question.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.age_is_known(now) && self.lifetime > self.age(now)
    }

    /// How long it has been stale; zero while fresh, `None` where the age is not known.
    pub fn staleness(&self, now: Timestamp) -> Option<Duration> {
        self.age_is_known(now).then(|| self.age(now).saturating_sub(self.lifetime))
    }

    /// May never be served stale, whatever a client or a failure asks for (§4.2.4).
    pub fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.no_cache
    }

    /// When nothing can be done with it any more: neither used, nor validated, nor served stale.
    pub fn keep_until(&self, policy: &Policy) -> Timestamp {
        let stale = if self.forbids_stale() {
            if self.validator { policy.keep_stale } else { Duration::ZERO }
        } else {
            let window = self.stale_if_error.max(self.stale_while_revalidate);
            policy.keep_stale.max(window.unwrap_or_default().as_duration())
        };
        let fresh = self.lifetime.saturating_sub(self.initial_age);
        self.response_time + fresh.saturating_add(stale)
    }

    /// The same with the tags of `earlier`, where the header fields that it was updated from say
    /// nothing of tags: they are not kept among the fields.
    #[must_use]
    pub fn tagged_as(self, earlier: &Self, updated: &HeaderMap) -> Self {
        if Tags::are_in(updated) {
            return self;
        }
        Self { tags: earlier.tags.clone(), ..self }
    }

    /// What If-Modified-Since is compared with: Last-Modified, else Date (RFC 9111 §4.3.2).
    pub fn modified(&self) -> Timestamp {
        self.last_modified.unwrap_or(self.date)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::policy::ClientDirectives;
    use super::super::route::overrides::Overrides;
    use super::*;

    pub(in super::super) const POLICY: Policy = Policy {
        default_ttl: Duration::ZERO,
        heuristic_errors: Duration::from_secs(7),
        keep_stale: Duration::from_hours(24),
        share_set_cookie: false,
        keep_tags: false,
        client_directives: ClientDirectives::Limit,
        targeted: Vec::new(),
        route: Overrides::NONE,
    };

    /// Stored at second 1,000,000, fresh for a minute.
    pub(in super::super) fn minute() -> Stored {
        let then = at(0);
        Stored {
            status: 200,
            request_time: then,
            response_time: then,
            date: then,
            initial_age: Duration::ZERO,
            lifetime: Duration::from_mins(1),
            heuristic: false,
            must_revalidate: false,
            no_cache: false,
            no_transform: false,
            immutable: false,
            stale_if_error: None,
            stale_while_revalidate: None,
            etag: None,
            last_modified: None,
            validator: false,
            groups: Vec::new(),
            tags: Tags::default(),
        }
    }

    /// `secs` after [`minute`] was stored.
    pub(in super::super) fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + secs)
    }

    #[test]
    fn age_and_what_remains() {
        let aged = Stored { initial_age: Duration::from_secs(20), ..minute() };
        for (case, stored, now, age, remaining, fresh) in [
            ("just stored", minute(), at(0), 0, 60, true),
            ("a second before the end", minute(), at(59), 59, 1, true),
            ("at the end", minute(), at(60), 60, 0, false),
            ("behind it", minute(), at(90), 90, -30, false),
            ("came with an age", aged, at(39), 59, 1, true),
            ("the clock stepped back", minute(), Timestamp::from_secs(999_990), 0, -1, false),
        ] {
            assert_eq!(stored.age(now).as_secs(), age, "age: {case}");
            assert_eq!(stored.remaining(now), remaining, "remaining: {case}");
            assert_eq!(stored.is_fresh(now), fresh, "fresh: {case}");
        }
        let half = at(60) + Duration::from_millis(500);
        assert_eq!(minute().remaining(half), -1, "half a second stale is stale");
        let racing = Timestamp::from_millis(at(0).as_millis() - 5);
        assert!(minute().is_fresh(racing), "stored by another worker since this one looked");
    }

    #[test]
    fn kept_as_long_as_it_is_of_use() {
        let hour = Some(DeltaSeconds::new(3600));
        let days = Some(DeltaSeconds::new(200_000));
        let until = |stored: Stored| stored.keep_until(&POLICY).as_secs() - at(0).as_secs();
        assert_eq!(until(minute()), 60 + 86_400);
        assert_eq!(until(Stored { must_revalidate: true, ..minute() }), 60);
        let asked = Stored { must_revalidate: true, validator: true, ..minute() };
        assert_eq!(until(asked), 60 + 86_400, "it can still be validated");
        assert_eq!(until(Stored { stale_if_error: hour, ..minute() }), 60 + 86_400);
        assert_eq!(until(Stored { stale_if_error: days, ..minute() }), 60 + 200_000);
    }

    proptest! {
        #[test]
        fn age_is_monotone_and_what_was_stale_stays_stale(
            start in 0..u64::MAX / 4, lifetime in 0..1_u64 << 32, initial in 0..1_u64 << 32,
            first in 0..u64::MAX / 4, later in 0..u64::MAX / 4,
        ) {
            let stored = Stored {
                response_time: Timestamp::from_millis(start),
                lifetime: Duration::from_secs(lifetime),
                initial_age: Duration::from_secs(initial),
                ..minute()
            };
            let one = stored.response_time + Duration::from_millis(first);
            let two = one + Duration::from_millis(later);
            prop_assert!(stored.age(two) >= stored.age(one));
            prop_assert!(stored.remaining(two) <= stored.remaining(one));
            prop_assert!(stored.is_fresh(one) || !stored.is_fresh(two));
            prop_assert_eq!(stored.is_fresh(one), stored.staleness(one) == Some(Duration::ZERO)
                && stored.age(one) != stored.lifetime);
        }
    }

    #[test]
    fn modified_or_else_dated() {
        let known = Stored { last_modified: Some(at(3)), date: at(5), ..minute() };
        assert_eq!(known.modified(), at(3));
        assert_eq!(Stored { last_modified: None, ..known }.modified(), at(5));
    }
}
