//! Which cookies count, and for what.

use std::sync::LazyLock;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use super::pattern::Glob;

/// Cookies that scripts of analytics and consent set and read in the browser.
pub const ANALYTICS: [&str; 24] = [
    "_ga",
    "_ga_*",
    "_gid",
    "_gat*",
    "_gcl_*",
    "_gac_*",
    "__utm*",
    "_fbp",
    "_fbc",
    "_hj*",
    "_clck",
    "_clsk",
    "_uet*",
    "_pk_*",
    "_pin_unauth",
    "_ttp",
    "_tt_*",
    "__hstc",
    "__hssc",
    "hubspotutk",
    "ajs_*",
    "amplitude_*",
    "mp_*_mixpanel",
    "OptanonConsent",
];

static KNOWN: LazyLock<Vec<Glob>> =
    LazyLock::new(|| ANALYTICS.iter().map(|name| Glob::new(name)).collect());

/// What is done with cookies of [`ANALYTICS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Analytics {
    /// They are forwarded, and make no request personal.
    #[default]
    Ignore,
    /// They are dropped: as if not sent at all.
    Drop,
    /// They count like any other.
    Count,
}

/// What a rule says of cookies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cookies {
    /// Dropped from requests whose answer may be stored: as if not sent. But for those that the
    /// next two name.
    pub ignore: Vec<Glob>,
    /// Their values are part of the key.
    pub vary: Vec<Box<str>>,
    /// A request with one of these goes past the cache.
    pub bypass: Vec<Glob>,
    /// The built-in list.
    pub analytics: Analytics,
}

impl Cookies {
    /// Something is to be dropped.
    pub fn drops(&self) -> bool {
        !self.ignore.is_empty() || self.analytics == Analytics::Drop
    }

    fn is_dropped(&self, name: &str) -> bool {
        let ignored =
            among(&self.ignore, name) || (self.analytics == Analytics::Drop && among(&KNOWN, name));
        ignored && !self.is_named(name)
    }

    /// Keyed, or leading past the cache, by its name: to ignore the rest (`*`) does not take it
    /// away. A bare `*` of [`Self::bypass`] names none.
    fn is_named(&self, name: &str) -> bool {
        let mut named = self.bypass.iter().filter(|glob| !glob.is_star());
        self.vary.iter().any(|own| **own == *name) || named.any(|glob| glob.matches(name))
    }

    /// Drops what is as if not sent.
    pub fn drop_from(&self, headers: &mut HeaderMap) {
        let kept: Vec<String> = headers
            .get_all(COOKIE)
            .iter()
            .map(|line| {
                // What cannot be read is kept as it is, but for what can.
                let text = String::from_utf8_lossy(line.as_bytes());
                let left: Vec<&str> =
                    pairs(&text).filter(|pair| !self.is_dropped(name(pair))).collect();
                left.join("; ")
            })
            .filter(|line| !line.is_empty())
            .collect();
        headers.remove(COOKIE);
        for line in kept {
            if let Ok(value) = HeaderValue::from_str(&line) {
                headers.append(COOKIE, value);
            }
        }
    }

    /// A request with these fields goes past the cache.
    pub fn bypasses(&self, headers: &HeaderMap) -> bool {
        !self.bypass.is_empty()
            && any(headers, |name| among(&self.bypass, name) && !self.is_ignored(name))
    }

    /// A request with these fields is personal: it has a cookie that is neither keyed nor known to
    /// be nobody's business.
    pub fn are_personal(&self, headers: &HeaderMap) -> bool {
        let keyed = |name: &str| self.vary.iter().any(|own| **own == *name);
        any(headers, |name| !keyed(name) && !self.is_ignored(name))
    }

    fn is_ignored(&self, name: &str) -> bool {
        self.analytics != Analytics::Count && among(&KNOWN, name)
    }

    /// The values of the cookies that are part of the key, the first of each name; `None`: it was
    /// not sent.
    pub fn keyed<'a>(
        &'a self,
        headers: &'a HeaderMap,
    ) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        self.vary.iter().map(move |wanted| {
            let mut lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
            let found = lines.find_map(|line| {
                pairs(line)
                    .find(|pair| name(pair) == &**wanted)
                    .map(|pair| pair.split_once('=').map_or("", |(_, value)| value))
            });
            (&**wanted, found)
        })
    }
}

fn among(globs: &[Glob], name: &str) -> bool {
    globs.iter().any(|glob| glob.matches(name))
}

/// Some cookie's name is so. What cannot be read is some name.
fn any(headers: &HeaderMap, is: impl Fn(&str) -> bool) -> bool {
    headers.get_all(COOKIE).iter().any(|line| match line.to_str() {
        Ok(text) => pairs(text).any(|pair| is(name(pair))),
        Err(_) => is("\u{fffd}"),
    })
}

fn pairs(line: &str) -> impl Iterator<Item = &str> {
    line.split(';').map(str::trim).filter(|pair| !pair.is_empty())
}

fn name(pair: &str) -> &str {
    pair.split('=').next().unwrap_or_default().trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        headers
    }

    fn globs(names: &[&str]) -> Vec<Glob> {
        names.iter().map(|name| Glob::new(name)).collect()
    }

    #[test]
    fn what_makes_a_request_personal() {
        let default = Cookies::default();
        let keyed = Cookies { vary: vec!["ab".into()], ..Cookies::default() };
        let count = Cookies { analytics: Analytics::Count, ..Cookies::default() };
        for (case, rule, lines, want) in [
            ("analytics", &default, &["_ga=1; _gid=2", "_fbp=x"][..], false),
            ("one more", &default, &["_ga=1; session=2"], true),
            ("a name like theirs", &default, &["_gab=1"], true),
            ("nothing in it", &default, &[" ; "], false),
            ("not ASCII", &default, &["\u{e9}=1"], true),
            ("keyed", &keyed, &["ab=1"], false),
            ("keyed and another", &keyed, &["ab=1; s"], true),
            ("counted", &count, &["_ga=1"], true),
        ] {
            assert_eq!(rule.are_personal(&sent(lines)), want, "{case}: {lines:?}");
        }
    }

    #[test]
    fn what_has_something_to_drop() {
        let drop = Cookies { analytics: Analytics::Drop, ..Cookies::default() };
        let named = Cookies { ignore: globs(&["ad_*"]), ..Cookies::default() };
        let both = Cookies { ignore: globs(&["ad_*"]), ..drop.clone() };
        assert!(drop.drops() && named.drops() && both.drops());
        let count = Cookies { analytics: Analytics::Count, ..Cookies::default() };
        assert!(!Cookies::default().drops() && !count.drops());
    }

    #[test]
    fn what_is_dropped_keyed_and_passed_by() {
        let rule = Cookies {
            ignore: globs(&["ad_*"]),
            vary: vec!["ab".into(), "lang".into()],
            bypass: globs(&["wp_logged_in_*"]),
            analytics: Analytics::Drop,
        };
        let mut headers = sent(&["_ga=1; ad_x=2; ab=3=4", "ad_y=1", "ab=5; s=6"]);
        let keyed: Vec<_> = rule.keyed(&headers).collect();
        assert_eq!(keyed, [("ab", Some("3=4")), ("lang", None)]);
        rule.drop_from(&mut headers);
        assert_eq!(headers, sent(&["ab=3=4", "ab=5; s=6"]));
        assert!(!rule.bypasses(&headers) && rule.bypasses(&sent(&["a=b; wp_logged_in_1=x"])));
        let mut none = sent(&["_ga=1"]);
        rule.drop_from(&mut none);
        assert!(none.is_empty());
    }

    #[test]
    fn to_ignore_the_rest_keeps_what_is_named() {
        let rest = Cookies {
            ignore: globs(&["*"]),
            vary: vec!["ab".into()],
            bypass: globs(&["session_*"]),
            analytics: Analytics::Ignore,
        };
        let any = Cookies { ignore: globs(&["ad_*"]), bypass: globs(&["*"]), ..Cookies::default() };
        for (case, rule, line, left, past) in [
            ("keyed", &rest, "ad_x=1; ab=2", "ab=2", false),
            ("past the cache", &rest, "session_1=x; ad_x=1", "session_1=x", true),
            ("neither", &rest, "session=x; ad_x=1", "", false),
            ("a bare star names none", &any, "ad_x=1", "", false),
            ("and means the others", &any, "ad_x=1; b=2", "b=2", true),
        ] {
            let mut headers = sent(&[line]);
            rule.drop_from(&mut headers);
            let kept = if left.is_empty() { HeaderMap::new() } else { sent(&[left]) };
            assert_eq!(headers, kept, "{case}: {line}");
            assert_eq!(rule.bypasses(&headers), past, "{case}: {line}");
        }
    }
}
