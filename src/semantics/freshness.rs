//! Freshness lifetime and initial age (RFC 9111 §4.2).

use std::time::Duration;

use http::HeaderMap;
use http::header::{AGE, DATE, EXPIRES, LAST_MODIFIED};

use super::date;
use super::policy::Policy;
use super::targeted::Said;
use super::time::{DeltaSeconds, Timestamp};

/// A guess never lasts longer than this.
const HEURISTIC_LIMIT: Duration = Duration::from_hours(24);

/// The response's Date, or when it arrived where that is missing or no date.
pub fn date(headers: &HeaderMap, response_time: Timestamp) -> Timestamp {
    headers.get(DATE).and_then(date::parse).unwrap_or(response_time)
}

/// What the origin said itself: s-maxage, max-age, or Expires minus Date (§4.2.1). An Expires
/// that is no date has passed (§5.3); of several the earliest counts; where a targeted field has
/// spoken it does not count at all. `None`: the origin said nothing.
pub fn explicit_lifetime(said: &Said, headers: &HeaderMap, date: Timestamp) -> Option<Duration> {
    if let Some(secs) = said.directives.s_maxage.or(said.directives.max_age) {
        return Some(secs.as_duration());
    }
    if said.targeted {
        return None;
    }
    let expires = headers.get_all(EXPIRES).iter();
    let earliest = expires.map(|line| date::parse(line).unwrap_or(Timestamp::EPOCH)).min()?;
    Some(earliest.saturating_since(date))
}

/// The guess where the origin said nothing (§4.2.2): a tenth of the time since Last-Modified, or
/// `default_ttl`; a day at most. Whether a guess is allowed is the caller's question.
pub fn heuristic_lifetime(headers: &HeaderMap, date: Timestamp, policy: &Policy) -> Duration {
    let guess = match headers.get(LAST_MODIFIED).and_then(date::parse) {
        Some(modified) => date.saturating_since(modified) / 10,
        None => policy.default_ttl,
    };
    guess.min(HEURISTIC_LIMIT)
}

/// `corrected_initial_age` (§4.2.3): the larger of what Date says, in the whole seconds that it
/// is written in, and what Age and the time the answer took say.
pub fn initial_age(
    headers: &HeaderMap,
    date: Timestamp,
    request_time: Timestamp,
    response_time: Timestamp,
) -> Duration {
    let apparent = Duration::from_secs(response_time.as_secs().saturating_sub(date.as_secs()));
    let delay = response_time.saturating_since(request_time);
    let corrected = age_value(headers).as_duration().saturating_add(delay);
    apparent.max(corrected)
}

/// The Age that came with the response: of a list the first member, and nothing where that is no
/// number (§5.1).
fn age_value(headers: &HeaderMap) -> DeltaSeconds {
    let text = headers.get(AGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let first = text.split(',').next().unwrap_or_default();
    DeltaSeconds::parse(first.trim_matches([' ', '\t'])).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::super::stored::tests::POLICY;
    use super::*;

    /// 2023-11-14T22:13:20Z.
    const THEN: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn explicit(lines: &[(&'static str, &str)]) -> Option<u64> {
        let fields = headers(lines);
        let date = date(&fields, THEN);
        let said = Said::of(&fields, &[HeaderName::from_static("cdn-cache-control")], date);
        explicit_lifetime(&said, &fields, date).map(|span| span.as_secs())
    }

    #[test]
    fn explicit_lifetimes() {
        let (cc, cdn) = ("cache-control", "cdn-cache-control");
        let (now, minute, earlier) = (
            "Tue, 14 Nov 2023 22:13:20 GMT",
            "Tue, 14 Nov 2023 22:14:20 GMT",
            "Tue, 14 Nov 2023 22:12:20 GMT",
        );
        for (case, lines, want) in [
            ("nothing", &[][..], None),
            ("max-age", &[(cc, "max-age=5")], Some(5)),
            ("s-maxage wins", &[(cc, "max-age=60, s-maxage=5")], Some(5)),
            ("max-age outranks Expires", &[(cc, "max-age=5"), ("expires", minute)], Some(5)),
            ("even an invalid one", &[(cc, "max-age=x"), ("expires", minute)], Some(0)),
            ("Expires", &[("date", now), ("expires", minute)], Some(60)),
            ("Expires without Date", &[("expires", minute)], Some(60)),
            ("Expires, Date invalid", &[("date", "x"), ("expires", minute)], Some(60)),
            ("Expires, Date earlier", &[("date", earlier), ("expires", now)], Some(60)),
            ("Expires passed", &[("date", now), ("expires", earlier)], Some(0)),
            ("Expires 0", &[("expires", "0")], Some(0)),
            ("Expires empty", &[("expires", "")], Some(0)),
            ("earliest Expires", &[("expires", minute), ("expires", "0")], Some(0)),
            ("a misspelt directive", &[(cc, "maxage=60")], None),
            ("targeted", &[(cc, "max-age=5"), (cdn, "max-age=9"), ("expires", "0")], Some(9)),
            ("targeted, without a word on freshness", &[(cdn, "foo"), ("expires", minute)], None),
        ] {
            assert_eq!(explicit(lines), want, "{case}: {lines:?}");
        }
    }

    #[test]
    fn guesses() {
        let ttl = Policy { default_ttl: Duration::from_secs(30), ..POLICY };
        let long = Policy { default_ttl: Duration::from_hours(1000), ..POLICY };
        let lm = "last-modified";
        for (case, lines, policy, want) in [
            ("a tenth", &[(lm, "Tue, 14 Nov 2023 22:11:40 GMT")][..], &POLICY, 10),
            ("at most a day", &[(lm, "Sun, 06 Nov 1994 08:49:37 GMT")], &POLICY, 86_400),
            ("in the future", &[(lm, "Tue, 14 Nov 2033 22:11:40 GMT")], &POLICY, 0),
            ("no date", &[(lm, "yesterday")], &POLICY, 0),
            ("nothing", &[], &POLICY, 0),
            ("default_ttl", &[], &ttl, 30),
            ("default_ttl, bounded", &[], &long, 86_400),
            ("Last-Modified first", &[(lm, "Tue, 14 Nov 2023 22:11:40 GMT")], &ttl, 10),
        ] {
            let got = heuristic_lifetime(&headers(lines), THEN, policy);
            assert_eq!(got.as_secs(), want, "{case}: {lines:?}");
        }
    }

    #[test]
    fn initial_ages() {
        let quick = THEN + Duration::from_millis(900);
        let slow = THEN + Duration::from_secs(5);
        for (case, lines, arrived, want) in [
            ("nothing", &[][..], THEN, 0),
            ("Age", &[("age", "7")], THEN, 7),
            ("Age and delay", &[("age", "7")], slow, 12),
            ("Date", &[("date", "Tue, 14 Nov 2023 22:12:20 GMT")], THEN, 60),
            ("larger one", &[("date", "Tue, 14 Nov 2023 22:12:20 GMT"), ("age", "7")], THEN, 60),
            ("Date in the future", &[("date", "Tue, 14 Nov 2023 22:14:20 GMT")], THEN, 0),
            ("Date in whole seconds", &[("date", "Tue, 14 Nov 2023 22:13:20 GMT")], quick, 0),
            ("first line", &[("age", "7"), ("age", "0")], THEN, 7),
            ("first member", &[("age", "7, 0")], THEN, 7),
            ("first member invalid", &[("age", "x, 9")], THEN, 0),
            ("negative", &[("age", "-7")], THEN, 0),
            ("fraction", &[("age", "7.5")], THEN, 0),
            ("large", &[("age", "99999999999")], THEN, 1 << 31),
        ] {
            let fields = headers(lines);
            let date = date(&fields, arrived);
            assert_eq!(initial_age(&fields, date, THEN, arrived).as_secs(), want, "{case}");
        }
    }

    proptest! {
        #[test]
        fn lifetime_and_age_are_never_negative_nor_panic(
            age in "[ -~]{0,12}", expires in "[ -~]{0,30}", cc in "[ -~]{0,30}",
            times in (any::<u64>(), any::<u64>(), any::<u64>()),
        ) {
            let lines = [("age", &*age), ("expires", &*expires), ("cache-control", &*cc)];
            let fields = headers(&lines);
            let [date, asked, arrived] = [times.0, times.1, times.2].map(Timestamp::from_millis);
            let lifetime = explicit_lifetime(&Said::of(&fields, &[], date), &fields, date);
            prop_assert!(lifetime.is_some(), "Expires is there");
            let age = initial_age(&fields, date, asked, arrived);
            prop_assert!(age >= arrived.saturating_since(asked));
        }
    }
}
