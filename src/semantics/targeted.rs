//! Fields that speak to this cache alone, and outrank Cache-Control and Expires (RFC 9213).
//!
//! The list of them is the user's. All are Structured Fields, a dictionary of the directives of
//! Cache-Control, but two that are older than that: Surrogate-Control (the Edge Architecture
//! Specification of 2001) and X-Accel-Expires (nginx).

use http::{HeaderMap, HeaderName, HeaderValue};
use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};

use super::cache_control::ResponseDirectives;
use super::time::{DeltaSeconds, Timestamp};

/// What the origin says to this cache, and whether it says so in a targeted field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The directives that hold here.
    pub directives: ResponseDirectives,
    /// They are a targeted field's: Expires does not count, nor does anything in Cache-Control,
    /// but for no-transform, which is no directive of caching.
    pub targeted: bool,
}

impl Said {
    /// The first of `targets` that is there and says something, else Cache-Control (§2.2). `date`
    /// is the response's, for points in time.
    pub fn of(headers: &HeaderMap, targets: &[HeaderName], date: Timestamp) -> Self {
        let general = ResponseDirectives::parse(headers);
        let found = targets.iter().find_map(|name| match name.as_str() {
            "surrogate-control" => surrogate_control(headers, name),
            "x-accel-expires" => x_accel_expires(headers.get(name)?, date),
            _ => structured(headers, name),
        });
        let Some(mut directives) = found else {
            return Self { directives: general, targeted: false };
        };
        directives.no_transform |= general.no_transform;
        Self { directives, targeted: true }
    }
}

/// A dictionary of directives. `None`: it is not there, empty, or malformed, which makes it count
/// as not there (§2.1); so does a span that is no integer.
fn structured(headers: &HeaderMap, name: &HeaderName) -> Option<ResponseDirectives> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    let members: Dictionary = Parser::new(&lines.join(&b", "[..])).parse().ok()?;
    if members.is_empty() {
        return None;
    }
    let mut directives = ResponseDirectives::default();
    for (key, value) in &members {
        // Parameters have no meaning here.
        let value = match value {
            ListEntry::Item(Item { bare_item, .. }) => Some(bare_item),
            ListEntry::InnerList(_) => None,
        };
        if let Some(BareItem::Boolean(false)) = value {
            continue; // says that it is not said
        }
        let names = match value {
            Some(BareItem::String(names)) => Some(names.as_str().as_bytes()),
            Some(BareItem::Token(name)) => Some(name.as_str().as_bytes()),
            _ => None,
        };
        if directives.set_flag(key.as_str(), names) {
            continue;
        }
        let seconds = match value {
            Some(BareItem::Integer(number)) => u64::try_from(i64::from(*number)).ok(),
            _ => None,
        };
        let integer = matches!(value, Some(BareItem::Integer(_)));
        if directives.set_seconds(key.as_str(), || seconds.map(DeltaSeconds::new)) && !integer {
            return None;
        }
    }
    Some(directives)
}

/// `max-age=60+30`, fresh for 60 seconds and to be served stale for 30 more while it is being
/// validated, or `no-store`; what is aimed at another surrogate (`;name`) does not count. `None`:
/// neither is said.
fn surrogate_control(headers: &HeaderMap, name: &HeaderName) -> Option<ResponseDirectives> {
    let mut directives = ResponseDirectives::default();
    let mut said = false;
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    for member in lines.flat_map(|line| line.split(',')) {
        let (directive, target) = match member.split_once(';') {
            Some((directive, target)) => (directive.trim(), Some(target.trim())),
            None => (member.trim(), None),
        };
        if target.is_some_and(|target| !target.eq_ignore_ascii_case("larder")) {
            continue;
        }
        if directive.eq_ignore_ascii_case("no-store") {
            said = true;
            directives.no_store = true;
        } else if let Some((name, span)) = directive.split_once('=')
            && name.eq_ignore_ascii_case("max-age")
        {
            said = true;
            let (fresh, more) = span.split_once('+').map_or((span, None), |(f, m)| (f, Some(m)));
            directives.set_seconds("max-age", || DeltaSeconds::parse(fresh));
            if let Some(more) = more {
                directives.set_seconds("stale-while-revalidate", || DeltaSeconds::parse(more));
            }
        }
    }
    said.then_some(directives)
}

/// Seconds, or `@` and seconds since the epoch; 0 and less: not to be stored. `None`: neither.
fn x_accel_expires(value: &HeaderValue, date: Timestamp) -> Option<ResponseDirectives> {
    let text = value.to_str().ok()?.trim();
    let number = |text: &str| text.parse::<i64>().ok();
    let seconds = match text.strip_prefix('@') {
        Some(moment) => number(moment)?.saturating_sub(i64::try_from(date.as_secs()).ok()?),
        None => number(text)?,
    };
    let mut directives = ResponseDirectives::default();
    match u64::try_from(seconds) {
        Ok(seconds @ 1..) => directives.max_age = Some(DeltaSeconds::new(seconds)),
        _ => directives.no_store = true,
    }
    Some(directives)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(lines: &[(&'static str, &str)]) -> Said {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let targets = ["cdn-cache-control", "surrogate-control", "x-accel-expires"];
        Said::of(&headers, &targets.map(HeaderName::from_static), Timestamp::from_secs(1000))
    }

    fn max_age(lines: &[(&'static str, &str)]) -> (bool, Option<u32>) {
        let said = said(lines);
        (said.targeted, said.directives.max_age.map(DeltaSeconds::as_secs))
    }

    const CC: (&str, &str) = ("cache-control", "max-age=1, private");
    const CDN: &str = "cdn-cache-control";

    #[test]
    fn the_field_that_counts() {
        for (case, lines, want) in [
            ("none", &[CC][..], (false, Some(1))),
            ("outranks", &[CC, (CDN, "max-age=60")], (true, Some(60))),
            ("two lines are one field", &[(CDN, "foo"), (CDN, "max-age=60")], (true, Some(60))),
            ("no word on freshness", &[CC, (CDN, "foo")], (true, None)),
            ("parameters mean nothing", &[CC, (CDN, "max-age=60;a=b")], (true, Some(60))),
            ("the last counts", &[CC, (CDN, "max-age=60, max-age=5")], (true, Some(5))),
            ("2^31", &[CC, (CDN, "max-age=2147483648")], (true, Some(1 << 31))),
            ("larger", &[CC, (CDN, "max-age=99999999999")], (true, Some(1 << 31))),
            ("negative is stale", &[CC, (CDN, "max-age=-1")], (true, Some(0))),
            ("empty", &[CC, (CDN, "")], (false, Some(1))),
            ("no type", &[CC, (CDN, "max-age=60, &&&&")], (false, Some(1))),
            ("another type", &[CC, (CDN, "max-age=\"60\"")], (false, Some(1))),
            ("a fraction", &[CC, (CDN, "max-age=60.0")], (false, Some(1))),
            ("no number", &[CC, (CDN, "max-age")], (false, Some(1))),
            ("a space", &[CC, (CDN, "max-age =60")], (false, Some(1))),
            ("capitals are no key", &[CC, (CDN, "Max-Age=60")], (false, Some(1))),
            (
                "a malformed one hides none behind it",
                &[CC, (CDN, "%"), ("surrogate-control", "max-age=7")],
                (true, Some(7)),
            ),
            ("the first", &[(CDN, "max-age=5"), ("x-accel-expires", "7")], (true, Some(5))),
        ] {
            assert_eq!(max_age(lines), want, "{case}: {lines:?}");
        }
    }

    #[test]
    fn directives_without_a_number() {
        let flags = said(&[(CDN, "private, no-cache=\"a\", no-store=?0, must-revalidate=5")]);
        let directives = flags.directives;
        assert!(directives.private && !directives.no_cache && !directives.no_store);
        assert!(directives.must_revalidate);
        assert_eq!(directives.withheld, ["a"]);
        let token = said(&[(CDN, "no-cache=x-a")]).directives;
        assert!(!token.no_cache && token.withheld == ["x-a"], "a token names one, too");
        let whole = said(&[("cache-control", "no-transform"), (CDN, "no-cache=(a b)")]).directives;
        assert!(whole.no_cache, "an argument that is no name holds for all");
        assert!(whole.no_transform, "no directive of caching");
    }

    #[test]
    fn surrogate_control() {
        const SC: &str = "surrogate-control";
        let window = |text| said(&[(SC, text)]).directives.stale_while_revalidate;
        assert_eq!(max_age(&[CC, (SC, "content=\"ESI/1.0\", Max-Age=60")]), (true, Some(60)));
        assert_eq!(max_age(&[CC, (SC, "max-age=60;another, max-age=9;Larder")]), (true, Some(9)));
        assert_eq!(max_age(&[CC, (SC, "max-age=60;another")]), (false, Some(1)));
        assert_eq!(max_age(&[CC, (SC, "content=\"ESI/1.0\"")]), (false, Some(1)));
        assert_eq!(max_age(&[CC, (SC, "max-age=x")]), (true, Some(0)));
        assert_eq!(max_age(&[CC, (SC, "max-age=60+30")]), (true, Some(60)));
        assert_eq!(window("max-age=60+30"), Some(DeltaSeconds::new(30)));
        assert!(said(&[(SC, "no-store")]).directives.no_store);
    }

    #[test]
    fn x_accel_expires() {
        const XAE: &str = "x-accel-expires";
        assert_eq!(max_age(&[CC, (XAE, "60")]), (true, Some(60)));
        assert_eq!(max_age(&[CC, (XAE, "@1060")]), (true, Some(60)));
        assert_eq!(max_age(&[CC, (XAE, "soon")]), (false, Some(1)));
        for passed in ["0", "-1", "@1000", "@0", "@-9223372036854775808"] {
            let said = said(&[CC, (XAE, passed)]);
            assert!(said.targeted && said.directives.no_store, "{passed}");
        }
    }
}
