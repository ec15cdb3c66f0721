//! Decisions in words, for `larder cache explain`: what each word of Cache-Status means, and the
//! arithmetic of freshness (RFC 9111 §4.2).

use std::time::Duration;

use super::route::overrides::Overrides;
use super::stored::Stored;
use super::time::Timestamp;

/// Reasons in a word, and in a sentence that goes on after "because" or a colon. docs/explain.md has
/// them all.
pub const REASONS: [(&str, &str); 39] = [
    // Why nothing is stored (`storable`, `guard`, and the fill's own).
    ("method", "only answers to GET are stored"),
    ("request-body", "the request has a body, which is no part of the key"),
    ("request-no-store", "the request says no-store"),
    ("status", "its status code is never stored (206, 304, 412, 416, 417)"),
    ("no-store", "the app says no-store"),
    ("private", "the app says private: it is for one client only"),
    ("must-understand", "the app says must-understand, and its status code is not understood"),
    (
        "authorization",
        "the request tells who asks (Authorization, an API key), and the app does not say public, \
         s-maxage or must-revalidate",
    ),
    ("set-cookie", "the app sets a cookie (Set-Cookie)"),
    ("vary-star", "the app says Vary: *, so that no two requests are alike"),
    ("vary-changed", "a 304 changed what the response is selected by"),
    (
        "cookie",
        "the request has a Cookie, and the app gives no freshness of its own (max-age, s-maxage, \
         Expires): it would be a guess for everybody",
    ),
    (
        "no-lifetime",
        "the app gives no freshness (max-age, s-maxage, Expires), there is none to guess, and \
         nothing to validate it by",
    ),
    ("sender-error", "the error is about who asked or how, not about what was asked for"),
    ("odd-request", "the request's unusual form may have brought the answer about"),
    ("type-mismatch", "it is a page under the name of a file, and its freshness would be a guess"),
    ("path-confusion", "the request is personal, and its path one by which caches are deceived"),
    ("too-large", "it is larger than cache.max_object, or than what the tiers can hold"),
    ("event-stream", "it streams by nature (server-sent events, gRPC)"),
    ("content-range", "the app's Content-Range is not what was asked for"),
    ("not-kept", "the part that came could not be kept"),
    ("origin-error", "the app answered with an error, and a stale response is kept"),
    ("not-shared", "what another's fetch brought may not answer this request"),
    // Why the cache has no part in it.
    ("precondition", "If-Match and If-Unmodified-Since are the app's to judge"),
    ("upgrade", "the request asks for another protocol"),
    ("route-off", "its rule says cache = \"off\""),
    ("route-cookie", "it has a cookie that its rule takes past the cache (bypass_cookies)"),
    // Why what is stored is not used as it is.
    ("no-cache", "the app said no-cache: it is validated before each use"),
    ("purged", "a soft purge made it stale"),
    (
        "heuristic",
        "its freshness is a guess, which does not count for requests with Cookie or Authorization",
    ),
    ("clock", "the clock stands earlier than when it was stored: its age is not known"),
    (
        "must-revalidate",
        "it is stale, and must-revalidate, proxy-revalidate or s-maxage forbid that",
    ),
    ("expired", "it is stale"),
    ("request-no-cache", "the client says no-cache"),
    ("request-max-age", "the client's max-age takes nothing that old"),
    ("request-min-fresh", "the client's min-fresh wants it fresh for longer"),
    ("max-stale", "it is stale, and the client's max-stale takes that"),
    ("stale-while-revalidate", "it is stale, and is validated behind the answer's back"),
    ("only-if-cached", "the client says only-if-cached, and it is not to be had from the cache"),
];

/// What a word of Cache-Status or of the access log means.
pub fn reason(word: &str) -> &str {
    REASONS.iter().find(|(known, _)| *known == word).map_or(word, |(_, sentence)| sentence)
}

/// How fresh `stored` is, step by step; `route`: what the rule says that its request meets.
pub fn freshness(stored: &Stored, route: &Overrides, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    let ruled = route.lifetime(stored.status).map(|ttl| stored.initial_age.saturating_add(ttl));
    let guess = match (stored.heuristic, stored.last_modified) {
        _ if ruled == Some(stored.lifetime) => "from when it came, by its rule (ttl, status_ttl)",
        (false, _) => "as the app said (s-maxage, max-age, Expires)",
        (true, Some(_)) => "a guess: a tenth of the time since Last-Modified, within its bounds",
        (true, None) => "a guess: cache.default_ttl",
    };
    if stored.no_cache {
        lines.push("lifetime 0 s: no-cache".to_owned());
    } else {
        lines.push(format!("lifetime {}: {guess}", secs(stored.lifetime)));
    }
    if !stored.age_is_known(now) {
        lines.push("age not known: the clock stands earlier than when it was stored".to_owned());
        return lines;
    }
    let here = now.saturating_since(stored.response_time);
    let (age, initial) = (stored.age(now), stored.initial_age);
    lines.push(format!("age {} = {} when it came + {} here", secs(age), secs(initial), secs(here)));
    let left = stored.remaining(now);
    lines.push(if stored.is_fresh(now) {
        format!("fresh: {} - {} = another {left} s, rounded down", secs(stored.lifetime), secs(age))
    } else {
        let since = age.saturating_sub(stored.lifetime);
        format!("stale since {}: {} > {}", secs(since), secs(age), secs(stored.lifetime))
    });
    if stored.forbids_stale() {
        lines.push("never served stale: must-revalidate, s-maxage or no-cache".to_owned());
    }
    for (window, name) in [
        (stored.stale_while_revalidate, "stale-while-revalidate"),
        (stored.stale_if_error, "stale-if-error"),
    ] {
        if let Some(window) = window {
            lines.push(format!("{name}: {}", secs(window.as_duration())));
        }
    }
    lines
}

/// Seconds, to the millisecond where they are not whole.
fn secs(span: Duration) -> String {
    match span.subsec_millis() {
        0 => format!("{} s", span.as_secs()),
        millis => format!("{}.{millis:03} s", span.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::storable::NoStore;
    use super::super::stored::tests::{at, minute};
    use super::*;

    #[test]
    fn every_reason_has_its_sentence_and_only_one() {
        use NoStore::{
            Authorization, Cookie, Method, MustUnderstand, NoLifetime, NoStore as Said, OddRequest,
            PathConfusion, Private, RequestBody, RequestNoStore, SenderError, SetCookie, Status,
            TypeMismatch, VaryChanged, VaryStar,
        };
        for why in [
            Method,
            RequestBody,
            RequestNoStore,
            Status,
            Said,
            Private,
            MustUnderstand,
            Authorization,
            SetCookie,
            VaryStar,
            VaryChanged,
            Cookie,
            NoLifetime,
            SenderError,
            OddRequest,
            TypeMismatch,
            PathConfusion,
        ] {
            assert_ne!(reason(why.as_str()), why.as_str(), "{why:?}");
        }
        for (word, _) in REASONS {
            let count = REASONS.iter().filter(|(known, _)| *known == word).count();
            assert_eq!(count, 1, "{word}");
        }
        assert_eq!(reason("unheard-of"), "unheard-of");
    }

    #[test]
    fn what_else_there_is_to_say() {
        use super::super::time::DeltaSeconds;
        let route = Overrides::NONE;
        let said = |stored: &Stored, now| freshness(stored, &route, now).join("\n");
        let guessed = Stored { heuristic: true, last_modified: Some(at(0)), ..minute() };
        assert!(said(&guessed, at(0)).contains("a tenth of the time since Last-Modified"));
        let unsaid = said(&minute(), at(0));
        assert!(!unsaid.contains("never served stale") && !unsaid.contains("stale-"), "{unsaid}");
        let windows = Stored {
            stale_while_revalidate: Some(DeltaSeconds::new(5)),
            stale_if_error: Some(DeltaSeconds::new(7)),
            ..minute()
        };
        let windows = said(&windows, at(0));
        assert!(windows.contains("stale-while-revalidate: 5 s\nstale-if-error: 7 s"), "{windows}");
        let no_cache = said(&Stored { no_cache: true, ..minute() }, at(0));
        assert!(no_cache.starts_with("lifetime 0 s: no-cache"), "{no_cache}");
        assert!(no_cache.contains("never served stale"), "{no_cache}");
        let odd = Stored { initial_age: Duration::from_millis(1_005), ..minute() };
        assert!(said(&odd, at(0)).contains("age 1.005 s = 1.005 s when"), "{}", said(&odd, at(0)));
    }

    #[test]
    fn arithmetic_adds_up() {
        let aged = Stored { initial_age: Duration::from_secs(20), ..minute() };
        let guessed = Stored { heuristic: true, ..minute() };
        let route = Overrides { ttl: Some(Duration::from_secs(20)), ..Overrides::NONE };
        let ruled = Stored { lifetime: Duration::from_secs(20), ..minute() };
        for (case, stored, now, want) in [
            (
                "fresh",
                minute(),
                at(12),
                &[
                    "lifetime 60 s: as the app",
                    "age 12 s = 0 s when it came + 12 s here",
                    "fresh: 60 s - 12 s = another 48 s",
                ][..],
            ),
            (
                "aged",
                aged,
                at(12),
                &["lifetime 60", "age 32 s = 20 s when it came + 12 s", "another 28 s"],
            ),
            (
                "stale",
                minute(),
                at(90),
                &["lifetime 60", "age 90", "stale since 30 s: 90 s > 60 s"],
            ),
            ("guessed", guessed, at(0), &["a guess: cache.default_ttl", "age 0 s", "another 60 s"]),
            (
                "ruled",
                ruled,
                at(0),
                &["lifetime 20 s: from when it came, by its rule", "a", "fresh"],
            ),
        ] {
            let said = freshness(&stored, &route, now);
            assert_eq!(said.len(), want.len(), "{case}: {said:?}");
            for (line, part) in said.iter().zip(want) {
                assert!(line.contains(part), "{case}: {line:?} has no {part:?}");
            }
        }
    }
}
