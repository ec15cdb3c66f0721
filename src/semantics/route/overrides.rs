//! What a rule changes of storing and freshness, against what the origin says.

use std::time::Duration;

use super::super::stored::Stored;
use super::super::time::DeltaSeconds;

/// Of one rule; nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Freshness lifetime of successes and permanent redirects, from when they arrive.
    pub ttl: Option<Duration>,
    /// The same of other status codes, the first that fits; outranks `ttl`.
    pub status_ttl: Vec<(Statuses, Duration)>,
    /// RFC 5861 §3, instead of what the origin says.
    pub stale_while_revalidate: Option<DeltaSeconds>,
    /// RFC 5861 §4, instead of what the origin says.
    pub stale_if_error: Option<DeltaSeconds>,
    /// Stored whatever the origin or the request says against it.
    pub force: bool,
}

/// A status code, or all of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statuses {
    /// This one.
    One(u16),
    /// `4xx`: those of its hundred.
    Class(u16),
}

impl Statuses {
    /// As it is written: `404` or `5xx`.
    pub fn new(text: &str) -> Option<Self> {
        let class = text.strip_suffix("xx").and_then(|class| class.parse().ok());
        match class {
            Some(class) if (2..=5).contains(&class) => Some(Self::Class(class)),
            Some(_) => None,
            None => text.parse().ok().filter(|code| (200..600).contains(code)).map(Self::One),
        }
    }

    fn contain(self, status: u16) -> bool {
        match self {
            Self::One(code) => code == status,
            Self::Class(class) => class == status / 100,
        }
    }
}

impl Overrides {
    /// None at all.
    pub const NONE: Self = Self {
        ttl: None,
        status_ttl: Vec::new(),
        stale_while_revalidate: None,
        stale_if_error: None,
        force: false,
    };

    /// The lifetime that the rule gives an answer with this status code.
    pub fn lifetime(&self, status: u16) -> Option<Duration> {
        let by_status = self.status_ttl.iter().find(|(statuses, _)| statuses.contain(status));
        let success = matches!(status, 200..=299 | 301 | 308);
        by_status.map(|(_, ttl)| *ttl).or(self.ttl.filter(|_| success))
    }

    /// Puts the rule's lifetime and windows in the place of the origin's. A lifetime counts from
    /// now, whatever Age the answer came with.
    pub fn apply(&self, stored: &mut Stored) {
        if let Some(ttl) = self.lifetime(stored.status)
            && !stored.no_cache
        {
            stored.lifetime = stored.initial_age.saturating_add(ttl);
        }
        if self.stale_while_revalidate.is_some() {
            stored.stale_while_revalidate = self.stale_while_revalidate;
        }
        if self.stale_if_error.is_some() {
            stored.stale_if_error = self.stale_if_error;
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};

    use super::super::super::policy::Policy;
    use super::super::super::request::Asked;
    use super::super::super::storable::{NoStore, storable};
    use super::super::super::stored::tests::{POLICY, at};
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v))).collect()
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn status_codes_as_written() {
        for (text, want) in [
            ("404", Some(Statuses::One(404))),
            ("5xx", Some(Statuses::Class(5))),
            ("200", Some(Statuses::One(200))),
            ("599", Some(Statuses::One(599))),
            ("199", None),
            ("2xx", Some(Statuses::Class(2))),
            ("6xx", None),
            ("1xx", None),
            ("600", None),
            ("99", None),
            ("xx", None),
            ("404 ", None),
        ] {
            assert_eq!(Statuses::new(text), want, "{text}");
        }
    }

    #[test]
    fn lifetimes_of_a_rule() {
        let hour = Overrides { ttl: Some(secs(3600)), ..Overrides::NONE };
        let negative = Overrides {
            status_ttl: vec![(Statuses::One(404), secs(10)), (Statuses::Class(5), secs(1))],
            ..Overrides::NONE
        };
        let none = Overrides { ttl: Some(Duration::ZERO), ..Overrides::NONE };
        let force = Overrides { force: true, ..hour.clone() };
        let (cc, cookie) = ("cache-control", ("cookie", "s=1"));
        for (case, route, status, request, response, want) in [
            ("over max-age", &hour, 200, &[][..], &[(cc, "max-age=5")][..], Ok(3600)),
            ("where nothing is said", &hour, 200, &[], &[], Ok(3600)),
            ("from now on", &hour, 200, &[], &[(cc, "max-age=5"), ("age", "100")], Ok(3600)),
            ("a moved page", &hour, 301, &[], &[], Ok(3600)),
            ("no error", &hour, 404, &[], &[], Err(NoStore::NoLifetime)),
            ("not over no-store", &hour, 200, &[], &[(cc, "no-store")], Err(NoStore::NoStore)),
            ("not over private", &hour, 200, &[], &[(cc, "private")], Err(NoStore::Private)),
            ("not over no-cache", &hour, 200, &[], &[(cc, "no-cache"), ("etag", "\"a\"")], Ok(0)),
            ("a cookie, nothing said", &hour, 200, &[cookie], &[], Err(NoStore::Cookie)),
            (
                "a cookie, not fresh",
                &hour,
                200,
                &[cookie],
                &[(cc, "max-age=0")],
                Err(NoStore::Cookie),
            ),
            ("not fresh", &hour, 200, &[], &[(cc, "public, max-age=0")], Ok(3600)),
            ("a cookie, and shared", &hour, 200, &[cookie], &[(cc, "max-age=5")], Ok(3600)),
            ("not at all", &none, 200, &[], &[(cc, "max-age=5")], Err(NoStore::NoLifetime)),
            ("negative", &negative, 404, &[], &[], Ok(10)),
            ("a class", &negative, 503, &[], &[(cc, "max-age=60")], Ok(1)),
            ("not of others", &negative, 200, &[], &[(cc, "max-age=60")], Ok(60)),
            ("forced", &force, 200, &[], &[(cc, "no-store, private, no-cache")], Ok(3600)),
            (
                "no cookies for all",
                &force,
                200,
                &[],
                &[("set-cookie", "a")],
                Err(NoStore::SetCookie),
            ),
        ] {
            let policy = Policy { route: route.clone(), ..POLICY };
            let asked = Asked::of(&Method::GET, &map(request), false);
            let got = storable(&asked, status, &map(response), &policy, at(0), at(0));
            let left = |stored: Stored| stored.remaining(at(0)).max(0);
            assert_eq!(got.map(left), want, "{case}: {status} {response:?}");
        }
    }

    #[test]
    fn status_codes_with_a_lifetime() {
        let route = Overrides {
            ttl: Some(secs(9)),
            status_ttl: vec![(Statuses::One(404), secs(1)), (Statuses::Class(4), secs(2))],
            ..Overrides::NONE
        };
        for (status, want) in [
            (199, None),
            (200, Some(9)),
            (299, Some(9)),
            (300, None),
            (301, Some(9)),
            (302, None),
            (308, Some(9)),
            (404, Some(1)),
            (410, Some(2)),
            (500, None),
        ] {
            assert_eq!(route.lifetime(status), want.map(secs), "{status}");
        }
    }

    #[test]
    fn windows_of_a_rule() {
        let window = |secs| Some(DeltaSeconds::new(secs));
        let route = Overrides {
            stale_while_revalidate: window(9),
            stale_if_error: window(8),
            ..Overrides::NONE
        };
        let said = [("cache-control", "max-age=5, stale-if-error=70")];
        let asked = Asked::of(&Method::GET, &map(&[]), false);
        let policy = Policy { route, ..POLICY };
        let stored = storable(&asked, 200, &map(&said), &policy, at(0), at(0)).unwrap();
        assert_eq!((stored.stale_while_revalidate, stored.stale_if_error), (window(9), window(8)));
    }
}
