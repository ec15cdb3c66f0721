//! May what is stored answer this request? (RFC 9111 §4, RFC 5861)

use std::time::Duration;

use super::decision::{Decision, Fwd, Outcome};
use super::policy::{ClientDirectives, Policy};
use super::request::Asked;
use super::stored::Stored;
use super::time::{DeltaSeconds, Timestamp};

/// How often a client may force the origin to be asked for one object, under
/// [`ClientDirectives::Limit`].
const FORCED_INTERVAL: Duration = Duration::from_secs(1);

/// What a lookup may do with what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Reuse {
    /// Send it.
    Fresh,
    /// Send it: it is stale, and the client's max-stale takes that (RFC 9111 §5.2.1.2).
    StaleAllowed,
    /// Send it, and validate it behind the answer's back (RFC 5861 §3).
    WhileRevalidate,
    /// Ask the origin first. [`Fwd::Request`]: the client forced it, which the caller remembers
    /// as the time of the last forced fetch of this object.
    Validate(Fwd, &'static str),
    /// The client wants nothing but what is stored, and that will not do: 504.
    OnlyIfCached504,
}

impl Reuse {
    /// What is told of it, but for the freshness left.
    pub const fn decision(self) -> Decision {
        match self {
            Self::Fresh => Decision::new(Outcome::Hit),
            Self::StaleAllowed => Decision::new(Outcome::Stale).because("max-stale"),
            Self::WhileRevalidate => {
                Decision::new(Outcome::Stale).because("stale-while-revalidate")
            }
            Self::Validate(fwd, why) => Decision::forwarded(Outcome::Miss, fwd).because(why),
            Self::OnlyIfCached504 => Decision::new(Outcome::Error).because("only-if-cached"),
        }
    }
}

/// Whether `stored` may answer `asked`. `soft_purged`: a purge has made it stale. `last_forced`:
/// when a client last forced the origin to be asked for it.
pub fn reuse(
    stored: &Stored,
    asked: &Asked,
    policy: &Policy,
    soft_purged: bool,
    last_forced: Option<Timestamp>,
    now: Timestamp,
) -> Reuse {
    let answer = decide(stored, asked, policy, soft_purged, last_forced, now);
    match answer {
        Reuse::Validate(..) if asked.only_if_cached(policy) => Reuse::OnlyIfCached504,
        _ => answer,
    }
}

/// Whether `stored`, which another's fetch has just brought, may answer `asked`, which waited for
/// it: as it may from the store (RFC 9111 §4). What the client forces was done for it, but where
/// [`ClientDirectives::Honour`] means each time.
pub fn may_follow(stored: &Stored, asked: &Asked, policy: &Policy, now: Timestamp) -> bool {
    let answer = decide(stored, asked, policy, false, Some(now), now);
    matches!(answer, Reuse::Fresh | Reuse::StaleAllowed | Reuse::WhileRevalidate)
}

/// Whether it is worth waiting for another's validation of `stored`: what must be validated for
/// each request is not.
pub fn may_be_shared(stored: &Stored, asked: &Asked, policy: &Policy) -> bool {
    let now = stored.response_time;
    let anew = Stored { initial_age: Duration::ZERO, ..stored.clone() };
    may_follow(&anew, asked, policy, now)
}

fn decide(
    stored: &Stored,
    asked: &Asked,
    policy: &Policy,
    soft_purged: bool,
    last_forced: Option<Timestamp>,
    now: Timestamp,
) -> Reuse {
    if stored.no_cache {
        return Reuse::Validate(Fwd::Stale, "no-cache");
    }
    if soft_purged {
        return Reuse::Validate(Fwd::Stale, "purged");
    }
    if stored.heuristic && (asked.has_cookie || asked.authorised) {
        return Reuse::Validate(Fwd::Stale, "heuristic");
    }
    let Some(staleness) = stored.staleness(now) else {
        return Reuse::Validate(Fwd::Stale, "clock");
    };
    let fresh = stored.is_fresh(now);
    let obeyed = policy.client_directives != ClientDirectives::Ignore;
    let usable = if fresh {
        Reuse::Fresh
    } else if stored.must_revalidate {
        return Reuse::Validate(Fwd::Stale, "must-revalidate");
    } else if obeyed && within(staleness, asked.directives.max_stale) {
        Reuse::StaleAllowed
    } else if within(staleness, stored.stale_while_revalidate) {
        Reuse::WhileRevalidate
    } else {
        return Reuse::Validate(Fwd::Stale, "expired");
    };
    match forced(stored, asked, fresh, now) {
        Some(why) if obeyed && may_force(policy, last_forced, now) => {
            Reuse::Validate(Fwd::Request, why)
        }
        _ => usable,
    }
}

/// The directive by which the client does not take what could be sent.
fn forced(stored: &Stored, asked: &Asked, fresh: bool, now: Timestamp) -> Option<&'static str> {
    let directives = &asked.directives;
    if directives.no_cache {
        return Some("request-no-cache");
    }
    if directives.max_age.is_none() && directives.min_fresh.is_none() {
        return None;
    }
    let age = stored.age(now);
    // At max-age=0 even an answer of this very millisecond is too old.
    let too_old = directives
        .max_age
        .is_some_and(|limit| limit == DeltaSeconds::ZERO || age > limit.as_duration());
    // A reload brings the same again; no-cache is what asks for more (RFC 8246 §2.1).
    let too_old = too_old && !(stored.immutable && fresh);
    if too_old {
        return Some("request-max-age");
    }
    // max-age without max-stale takes nothing stale (§5.2.1.1).
    if directives.max_age.is_some() && directives.max_stale.is_none() && !fresh {
        return Some("request-max-age");
    }
    let left = stored.lifetime.saturating_sub(age);
    let too_short = directives.min_fresh.is_some_and(|limit| left < limit.as_duration());
    too_short.then_some("request-min-fresh")
}

fn may_force(policy: &Policy, last_forced: Option<Timestamp>, now: Timestamp) -> bool {
    policy.client_directives == ClientDirectives::Honour
        || last_forced.is_none_or(|last| now.saturating_since(last) >= FORCED_INTERVAL)
}

fn within(staleness: Duration, window: Option<DeltaSeconds>) -> bool {
    window.is_some_and(|window| staleness <= window.as_duration() && window > DeltaSeconds::ZERO)
}

/// How the origin failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It could not be reached: no connection, closed, reset, timed out.
    Unreachable,
    /// It answered with this status code.
    Status(u16),
}

/// Whether `stored` may be served although the origin was to be asked and failed (RFC 9111
/// §4.2.4, RFC 5861 §4): when it cannot be reached within `keep_stale` or stale-if-error, when it
/// answers 500, 502, 503 or 504 within stale-if-error alone.
///
/// A client's max-age or no-cache does not prevent it, but for no-cache under
/// [`ClientDirectives::Honour`].
pub fn may_serve_stale(
    stored: &Stored,
    asked: &Asked,
    policy: &Policy,
    failure: Failure,
    now: Timestamp,
) -> bool {
    let refused = asked.directives.no_cache && policy.client_directives == ClientDirectives::Honour;
    if stored.forbids_stale() || refused {
        return false;
    }
    let Some(staleness) = stored.staleness(now) else {
        return false;
    };
    let obeyed = policy.client_directives != ClientDirectives::Ignore;
    let by_request = asked.directives.stale_if_error.filter(|_| obeyed);
    let if_error = within(staleness, stored.stale_if_error) || within(staleness, by_request);
    match failure {
        Failure::Unreachable => if_error || staleness <= policy.keep_stale,
        Failure::Status(500 | 502 | 503 | 504) => if_error,
        Failure::Status(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};
    use proptest::prelude::*;

    use super::super::stored::tests::{POLICY, at, minute};
    use super::*;

    fn get(lines: &[(&'static str, &str)]) -> Asked {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        Asked::of(&Method::GET, &headers, false)
    }

    fn asking(cache_control: &str) -> Asked {
        get(&[("cache-control", cache_control)])
    }

    fn secs(n: u64) -> DeltaSeconds {
        DeltaSeconds::new(n)
    }

    fn stale(why: &'static str) -> Reuse {
        Reuse::Validate(Fwd::Stale, why)
    }

    fn forced_by(why: &'static str) -> Reuse {
        Reuse::Validate(Fwd::Request, why)
    }

    #[test]
    fn request_directives() {
        for (case, directives, now, want) in [
            ("fresh", "", 59, Reuse::Fresh),
            ("expired", "", 60, stale("expired")),
            ("no-cache", "no-cache", 1, forced_by("request-no-cache")),
            ("max-age=0", "max-age=0", 0, forced_by("request-max-age")),
            ("max-age passed", "max-age=10", 11, forced_by("request-max-age")),
            ("max-age kept", "max-age=10", 10, Reuse::Fresh),
            ("max-age beyond freshness", "max-age=100", 70, stale("expired")),
            ("min-fresh too long", "min-fresh=10", 51, forced_by("request-min-fresh")),
            ("min-fresh kept", "min-fresh=10", 50, Reuse::Fresh),
            ("max-stale", "max-stale", 9_000_000, Reuse::StaleAllowed),
            ("max-stale kept", "max-stale=10", 70, Reuse::StaleAllowed),
            ("max-stale passed", "max-stale=10", 71, stale("expired")),
            ("max-age and max-stale", "max-age=100, max-stale", 70, Reuse::StaleAllowed),
            ("only-if-cached, fresh", "only-if-cached", 59, Reuse::Fresh),
            ("only-if-cached, stale", "only-if-cached", 60, Reuse::OnlyIfCached504),
            ("and max-stale", "only-if-cached, max-stale", 60, Reuse::StaleAllowed),
            ("no-store may reuse", "no-store", 1, Reuse::Fresh),
        ] {
            let got = reuse(&minute(), &asking(directives), &POLICY, false, None, at(now));
            assert_eq!(got, want, "{case}: {directives} after {now} s");
        }
    }

    #[test]
    fn stored_directives() {
        let bound = Stored { must_revalidate: true, ..minute() };
        let always = Stored { no_cache: true, ..minute() };
        let window = Stored { stale_while_revalidate: Some(secs(10)), ..minute() };
        let both = Stored { must_revalidate: true, ..window.clone() };
        let zero = Stored { stale_while_revalidate: Some(secs(0)), ..minute() };
        let guess = Stored { heuristic: true, ..minute() };
        let fixed = Stored { immutable: true, ..minute() };
        let cookie = get(&[("cookie", "a=b")]);
        for (case, stored, asked, now, want) in [
            ("must-revalidate, fresh", &bound, get(&[]), 59, Reuse::Fresh),
            (
                "max-stale never overrides",
                &bound,
                asking("max-stale"),
                61,
                stale("must-revalidate"),
            ),
            ("nor no-cache", &always, asking("max-stale"), 1, stale("no-cache")),
            ("while revalidating", &window, get(&[]), 70, Reuse::WhileRevalidate),
            ("not longer", &window, get(&[]), 71, stale("expired")),
            ("not with must-revalidate", &both, get(&[]), 61, stale("must-revalidate")),
            ("a window of nothing", &zero, get(&[]), 60, stale("expired")),
            ("not when forced", &window, asking("no-cache"), 61, forced_by("request-no-cache")),
            (
                "max-age: nothing stale",
                &window,
                asking("max-age=99"),
                61,
                forced_by("request-max-age"),
            ),
            ("immutable, a reload", &fixed, asking("max-age=0"), 1, Reuse::Fresh),
            ("immutable, forced", &fixed, asking("no-cache"), 1, forced_by("request-no-cache")),
            ("immutable, but stale", &fixed, asking("max-age=0"), 60, stale("expired")),
            ("a guess", &guess, get(&[]), 1, Reuse::Fresh),
            ("a guess, not for a Cookie", &guess, cookie, 1, stale("heuristic")),
            ("explicit, for a Cookie", &minute(), cookie, 1, Reuse::Fresh),
        ] {
            let got = reuse(stored, &asked, &POLICY, false, None, at(now));
            assert_eq!(got, want, "{case}");
        }
        let purged = reuse(&window, &asking("max-stale"), &POLICY, true, None, at(1));
        assert_eq!(purged, stale("purged"));
        let back = Timestamp::from_secs(10);
        let stepped = reuse(&window, &asking("max-stale"), &POLICY, false, None, back);
        assert_eq!(stepped, stale("clock"));
    }

    #[test]
    fn force_is_limited_to_once_a_second_an_object() {
        use ClientDirectives::{Honour, Ignore, Limit};
        let half = at(4) + Duration::from_millis(500);
        let force = forced_by("request-no-cache");
        for (case, setting, last, want) in [
            ("first", Limit, None, force),
            ("half a second later", Limit, Some(half), Reuse::Fresh),
            ("a second later", Limit, Some(at(4)), force),
            ("always", Honour, Some(half), force),
            ("never", Ignore, None, Reuse::Fresh),
            ("noted by another worker just now", Limit, Some(at(6)), Reuse::Fresh),
        ] {
            let policy = Policy { client_directives: setting, ..POLICY };
            let got = reuse(&minute(), &asking("no-cache"), &policy, false, last, at(5));
            assert_eq!(got, want, "{case}");
        }
        let ignoring = Policy { client_directives: Ignore, ..POLICY };
        let asked = asking("max-stale, only-if-cached");
        let got = reuse(&minute(), &asked, &ignoring, false, None, at(61));
        assert_eq!(got, stale("expired"), "as if not sent");
    }

    #[test]
    fn stale_on_failure() {
        use Failure::{Status, Unreachable};
        let day = 60 + 86_400;
        let window = Stored { stale_if_error: Some(secs(10)), ..minute() };
        let long = Stored { stale_if_error: Some(secs(200_000)), ..minute() };
        let bound = Stored { must_revalidate: true, ..window.clone() };
        let always = Stored { no_cache: true, ..window.clone() };
        for (case, stored, directives, failure, now, want) in [
            ("within keep_stale", &minute(), "", Unreachable, day, true),
            ("beyond it", &minute(), "", Unreachable, day + 1, false),
            ("stale-if-error longer", &long, "", Unreachable, day + 1, true),
            ("5xx without stale-if-error", &minute(), "", Status(503), 61, false),
            ("5xx within stale-if-error", &window, "", Status(503), 70, true),
            ("beyond stale-if-error", &window, "", Status(503), 71, false),
            ("501 is no failure", &window, "", Status(501), 61, false),
            ("nor 404", &window, "", Status(404), 61, false),
            ("by the request", &minute(), "stale-if-error=10", Status(500), 70, true),
            ("must-revalidate", &bound, "", Unreachable, 61, false),
            ("must-revalidate, asked for", &bound, "stale-if-error=99", Status(500), 61, false),
            ("no-cache", &always, "", Unreachable, 1, false),
            ("a reload in a browser", &minute(), "max-age=0", Unreachable, 61, true),
            ("a forced reload", &minute(), "no-cache", Unreachable, 61, true),
        ] {
            let got = may_serve_stale(stored, &asking(directives), &POLICY, failure, at(now));
            assert_eq!(got, want, "{case}");
        }
        let strict = Policy { client_directives: ClientDirectives::Honour, ..POLICY };
        assert!(!may_serve_stale(&minute(), &asking("no-cache"), &strict, Unreachable, at(61)));
        let back = Timestamp::from_secs(10);
        assert!(!may_serve_stale(&minute(), &get(&[]), &POLICY, Unreachable, back));
    }

    proptest! {
        #[test]
        fn nothing_overrides_what_forbids_stale(
            now in 0..10_000_u64, cc in "(max-stale|max-stale=99|only-if-cached|stale-if-error=99|,){0,4}",
            window in 0..10_000_u64, no_cache: bool, last in proptest::option::of(0..10_000_u64),
        ) {
            let stored = Stored {
                must_revalidate: !no_cache, no_cache, stale_while_revalidate: Some(secs(window)),
                stale_if_error: Some(secs(window)), ..minute()
            };
            let got = reuse(&stored, &asking(&cc), &POLICY, false, last.map(at), at(now));
            let sent = matches!(got, Reuse::Fresh | Reuse::StaleAllowed | Reuse::WhileRevalidate);
            prop_assert_eq!(sent, !no_cache && now < 60);
            prop_assert!(!may_serve_stale(&stored, &asking(&cc), &POLICY, Failure::Unreachable, at(now)));
        }
    }

    #[test]
    fn who_waited_gets_what_came_where_a_lookup_would_give_it() {
        use ClientDirectives::{Honour, Limit};
        let always = Stored { no_cache: true, ..minute() };
        let window = Stored { stale_while_revalidate: Some(secs(10)), ..minute() };
        for (case, stored, directives, setting, now, want) in [
            ("fresh", &minute(), "", Limit, 1, true),
            ("expired", &minute(), "", Limit, 60, false),
            ("in its window", &window, "", Limit, 65, true),
            ("taken stale", &minute(), "max-stale", Limit, 65, true),
            ("to be validated each time", &always, "", Limit, 0, false),
            ("forced: done for it", &minute(), "no-cache", Limit, 0, true),
            ("forced each time", &minute(), "no-cache", Honour, 0, false),
        ] {
            let policy = Policy { client_directives: setting, ..POLICY };
            assert_eq!(may_follow(stored, &asking(directives), &policy, at(now)), want, "{case}");
        }
    }

    #[test]
    fn a_validation_is_waited_for_where_its_result_will_do() {
        let aged = Stored { initial_age: Duration::from_mins(2), ..minute() };
        let always = Stored { no_cache: true, ..minute() };
        let none = Stored { lifetime: Duration::ZERO, ..minute() };
        for (case, stored, want) in [
            ("fresh once validated", &minute(), true),
            ("however old it came", &aged, true),
            ("to be validated each time", &always, false),
            ("stale at once", &none, false),
        ] {
            assert_eq!(may_be_shared(stored, &get(&[]), &POLICY), want, "{case}");
        }
    }
}
