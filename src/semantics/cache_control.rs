//! Cache-Control of requests and responses, parsed once (RFC 9111 §5.2, RFC 5861).

use http::header::{
    AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE,
    CONTENT_TYPE, DATE, ETAG, EXPIRES, LAST_MODIFIED, PRAGMA, TRANSFER_ENCODING, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::time::DeltaSeconds;

/// What a request's Cache-Control (or Pragma) says. An argument that is no number counts as not
/// sent; of several the strictest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestDirectives {
    /// Not without successful validation.
    pub no_cache: bool,
    /// Store nothing of this request or its answer.
    pub no_store: bool,
    /// Content is to be left as it is.
    pub no_transform: bool,
    /// Stored or 504.
    pub only_if_cached: bool,
    /// At most this old.
    pub max_age: Option<DeltaSeconds>,
    /// At most this long past its freshness; without an argument: however long.
    pub max_stale: Option<DeltaSeconds>,
    /// Fresh for at least this much longer.
    pub min_fresh: Option<DeltaSeconds>,
    /// RFC 5861 §4.
    pub stale_if_error: Option<DeltaSeconds>,
}

impl RequestDirectives {
    /// Of a request's header fields. Pragma: no-cache counts where Cache-Control is absent.
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        let mut lines = headers.get_all(CACHE_CONTROL).iter().peekable();
        if lines.peek().is_none() {
            headers.get_all(PRAGMA).iter().for_each(|line| directives.add_pragma(line));
        }
        lines.for_each(|line| directives.add_line(line));
        directives
    }

    /// Takes in one line of Cache-Control.
    pub(super) fn add_line(&mut self, line: &HeaderValue) {
        for directive in Directives::of(line) {
            let name = directive.name;
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            if is("no-cache") {
                self.no_cache = true;
            } else if is("no-store") {
                self.no_store = true;
            } else if is("no-transform") {
                self.no_transform = true;
            } else if is("only-if-cached") {
                self.only_if_cached = true;
            } else if is("max-age") {
                self.max_age = smaller(self.max_age, directive.seconds());
            } else if is("max-stale") {
                let limit = match directive.argument {
                    Argument::Absent => Some(DeltaSeconds::FOREVER),
                    _ => directive.seconds(),
                };
                self.max_stale = smaller(self.max_stale, limit);
            } else if is("min-fresh") {
                self.min_fresh = self.min_fresh.max(directive.seconds());
            } else if is("stale-if-error") {
                self.stale_if_error = smaller(self.stale_if_error, directive.seconds());
            }
        }
    }

    /// Takes in one line of Pragma; only where there is no Cache-Control (RFC 9111 §5.4).
    pub(super) fn add_pragma(&mut self, line: &HeaderValue) {
        self.no_cache |= Directives::of(line).any(|d| d.name.eq_ignore_ascii_case(b"no-cache"));
    }
}

/// What a response's Cache-Control says to a shared cache.
///
/// Freshness that is no number, or is given without one, counts as zero, of several values the
/// smallest counts (RFC 9111 §4.2.1: rather stale). `private` and `no-cache` with field names
/// keep those fields out of the store, and nothing else; where one is no name, or one that what
/// is stored hangs on, they count as without (§5.2.2.4 and §5.2.2.7 allow it).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResponseDirectives {
    /// May be stored although something else says no.
    pub public: bool,
    /// For one user.
    pub private: bool,
    /// Not to be stored.
    pub no_store: bool,
    /// Not to be used without successful validation.
    pub no_cache: bool,
    /// Content is to be left as it is.
    pub no_transform: bool,
    /// Never to be used stale.
    pub must_revalidate: bool,
    /// Never to be used stale by a shared cache.
    pub proxy_revalidate: bool,
    /// To be stored only where the status code is understood; outranks `no_store` then.
    pub must_understand: bool,
    /// Does not change while it is fresh (RFC 8246).
    pub immutable: bool,
    /// Freshness lifetime.
    pub max_age: Option<DeltaSeconds>,
    /// Freshness lifetime for shared caches.
    pub s_maxage: Option<DeltaSeconds>,
    /// RFC 5861 §3.
    pub stale_while_revalidate: Option<DeltaSeconds>,
    /// RFC 5861 §4.
    pub stale_if_error: Option<DeltaSeconds>,
    /// Fields that are not stored: named by `private` or `no-cache`.
    pub withheld: Vec<HeaderName>,
}

/// What caching and framing hang on: a response without one of these would not be what the origin
/// sent.
const KEPT: [HeaderName; 13] = [
    AGE,
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_LOCATION,
    CONTENT_RANGE,
    CONTENT_TYPE,
    DATE,
    ETAG,
    EXPIRES,
    LAST_MODIFIED,
    TRANSFER_ENCODING,
    VARY,
];

impl ResponseDirectives {
    /// Of a response's header fields.
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        headers.get_all(CACHE_CONTROL).iter().for_each(|line| directives.add_line(line));
        directives
    }

    /// As if nothing had been said against storing it, for others or at all.
    pub fn allow_storing(&mut self) {
        (self.private, self.no_store, self.no_cache, self.must_understand) = Default::default();
    }

    /// Never to be served stale by this cache (RFC 9111 §4.2.4); s-maxage implies
    /// proxy-revalidate (§5.2.2.10).
    pub fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.s_maxage.is_some()
    }

    fn add_line(&mut self, line: &HeaderValue) {
        for directive in Directives::of(line) {
            let Ok(name) = std::str::from_utf8(directive.name) else { continue };
            let names = match directive.argument {
                Argument::Given(names) => Some(names),
                // Not one field, or not known which: all of them.
                Argument::Absent | Argument::Malformed => None,
            };
            if !self.set_flag(name, names) {
                self.set_seconds(name, || directive.seconds());
            }
        }
    }

    /// Sets the flag `name`, in any letter case, with its argument. False: it is none.
    pub(super) fn set_flag(&mut self, name: &str, argument: Option<&[u8]>) -> bool {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("public") {
            self.public = true;
        } else if is("private") {
            self.private |= !self.withholds(argument);
        } else if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache |= !self.withholds(argument);
        } else if is("no-transform") {
            self.no_transform = true;
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is("must-understand") {
            self.must_understand = true;
        } else if is("immutable") {
            self.immutable = true;
        } else {
            return false;
        }
        true
    }

    /// Sets the span `name`, in any letter case; one that is no number makes stale, or opens no
    /// window. False: it is none.
    pub(super) fn set_seconds(
        &mut self,
        name: &str,
        seconds: impl FnOnce() -> Option<DeltaSeconds>,
    ) -> bool {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let (place, default) = if is("max-age") {
            (&mut self.max_age, Some(DeltaSeconds::ZERO))
        } else if is("s-maxage") {
            (&mut self.s_maxage, Some(DeltaSeconds::ZERO))
        } else if is("stale-while-revalidate") {
            (&mut self.stale_while_revalidate, None)
        } else if is("stale-if-error") {
            (&mut self.stale_if_error, None)
        } else {
            return false;
        };
        *place = smaller(*place, seconds().or(default));
        true
    }

    /// Takes the names of fields from the argument of `private` or `no-cache`. False: it holds
    /// for all of the response.
    fn withholds(&mut self, argument: Option<&[u8]>) -> bool {
        let members = argument.unwrap_or_default().split(|b| *b == b',').map(<[u8]>::trim_ascii);
        let names: Result<Vec<_>, _> =
            members.filter(|name| !name.is_empty()).map(HeaderName::from_bytes).collect();
        match names {
            Ok(names) if !names.is_empty() && !names.iter().any(|name| KEPT.contains(name)) => {
                self.withheld.extend(names);
                true
            }
            _ => false,
        }
    }
}

/// The smaller of two that are there.
fn smaller(one: Option<DeltaSeconds>, other: Option<DeltaSeconds>) -> Option<DeltaSeconds> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Argument<'a> {
    Absent,
    Given(&'a [u8]),
    /// There is one, but not as the grammar has it.
    Malformed,
}

struct Directive<'a> {
    name: &'a [u8],
    argument: Argument<'a>,
}

impl Directive<'_> {
    fn seconds(&self) -> Option<DeltaSeconds> {
        match self.argument {
            Argument::Given(text) => DeltaSeconds::parse(std::str::from_utf8(text).ok()?),
            Argument::Absent | Argument::Malformed => None,
        }
    }
}

/// The directives of one line, in order. Quoted strings may hold commas; one that never ends
/// does not hide the directives behind it.
struct Directives<'a> {
    rest: &'a [u8],
}

impl<'a> Directives<'a> {
    fn of(line: &'a HeaderValue) -> Self {
        Self { rest: line.as_bytes() }
    }

    /// Splits off what lies before the next comma.
    fn up_to_comma(&mut self) -> &'a [u8] {
        let comma = self.rest.iter().position(|b| *b == b',').unwrap_or(self.rest.len());
        let (before, after) = self.rest.split_at(comma);
        self.rest = after;
        before
    }

    fn argument(&mut self) -> Argument<'a> {
        if let Some(inner) = self.rest.strip_prefix(b"\"")
            && let Some(end) = closing_quote(inner)
            && let (Some(text), Some(after)) = (inner.get(..end), inner.get(end + 1..))
        {
            self.rest = after;
            let behind = self.up_to_comma();
            return match behind.trim_ascii() {
                [] => Argument::Given(text),
                _ => Argument::Malformed,
            };
        }
        match self.up_to_comma().trim_ascii_end() {
            [b'"' | b' ' | b'\t', ..] => Argument::Malformed,
            token => Argument::Given(token),
        }
    }
}

impl<'a> Iterator for Directives<'a> {
    type Item = Directive<'a>;

    fn next(&mut self) -> Option<Directive<'a>> {
        while let [b',' | b' ' | b'\t', after @ ..] = self.rest {
            self.rest = after;
        }
        if self.rest.is_empty() {
            return None;
        }
        let end =
            self.rest.iter().position(|b| matches!(b, b',' | b'=')).unwrap_or(self.rest.len());
        let (written, after) = self.rest.split_at(end);
        self.rest = after;
        let name = written.trim_ascii_end();
        let argument = match self.rest.strip_prefix(b"=") {
            None => Argument::Absent,
            Some(after) => {
                self.rest = after;
                let argument = self.argument();
                if name.len() == written.len() { argument } else { Argument::Malformed }
            }
        };
        Some(Directive { name, argument })
    }
}

fn closing_quote(inner: &[u8]) -> Option<usize> {
    let mut escaped = false;
    inner.iter().position(|byte| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    #[test]
    fn max_age_of_responses() {
        for (case, lines, want) in [
            ("plain", &["max-age=60"][..], Some(60)),
            ("capitals", &["MAX-AGE=60"], Some(60)),
            ("quoted", &["max-age=\"60\""], Some(60)),
            ("leading zeros", &["max-age=0060"], Some(60)),
            ("several, smallest", &["max-age=60, max-age=5"], Some(5)),
            ("several lines", &["max-age=5", "max-age=60"], Some(5)),
            ("one invalid", &["max-age=60, max-age=x"], Some(0)),
            ("a fraction", &["max-age=60.5"], Some(0)),
            ("negative", &["max-age=-60"], Some(0)),
            ("letters behind", &["max-age=60a"], Some(0)),
            ("single quotes", &["max-age='60'"], Some(0)),
            ("space before =", &["max-age =60"], Some(0)),
            ("space behind =", &["max-age= 60"], Some(0)),
            ("no argument", &["max-age"], Some(0)),
            ("empty argument", &["max-age="], Some(0)),
            ("larger than 2^31", &["max-age=99999999999"], Some(1 << 31)),
            ("another's quoted string", &["x=\"max-age=1\", max-age=60"], Some(60)),
            ("escaped quote", &[r#"x="\",max-age=1", max-age=60"#], Some(60)),
            ("open quote hides nothing", &["x=\"y, max-age=7"], Some(7)),
            ("open quote itself", &["max-age=\"60"], Some(0)),
            ("behind the quotes", &["max-age=\"60\"1"], Some(0)),
            ("misspelt", &["maxage=60, max_age=60, s-max-age=60"], None),
            ("empty", &[""], None),
            ("only commas", &[",, ,"], None),
        ] {
            let got = ResponseDirectives::parse(&headers(lines)).max_age;
            assert_eq!(got.map(DeltaSeconds::as_secs), want, "{case}: {lines:?}");
        }
    }

    #[test]
    fn flags_of_responses() {
        type Flag = fn(&ResponseDirectives) -> bool;
        for (case, line, flag) in [
            ("public", "public", (|d| d.public) as Flag),
            ("private", "Private", |d| d.private),
            ("private with names", "private=\"set-cookie, x\"", |d| {
                !d.private && d.withheld == ["set-cookie", "x"]
            }),
            ("no-cache with a name", "no-cache=\"A\", max-age=1", |d| {
                !d.no_cache && d.withheld == ["a"] && d.max_age.is_some()
            }),
            ("a name without quotes", "private=x", |d| !d.private && d.withheld == ["x"]),
            ("with and without names", "no-cache=\"a\", no-cache", |d| d.no_cache),
            ("no name at all", "private=\"\"", |d| d.private),
            ("what is no name", "private=\"a, b c\"", |d| d.private && d.withheld.is_empty()),
            ("what the store hangs on", "no-cache=\"x, Vary\"", |d| d.no_cache),
            ("an open quote", "private=\"a", |d| d.private),
            ("immutable", "max-age=1, immutable", |d| d.immutable),
            ("no-store with an argument", "no-store=1", |d| d.no_store),
            ("no-store behind tabs", "a\t,\tno-store\t", |d| d.no_store),
            ("no-store before =", "no-store =x", |d| d.no_store),
            ("behind an open quote", "private=\"a, no-store", |d| d.no_store && d.private),
            ("s-maxage forbids stale", "s-maxage=5", |d| d.forbids_stale()),
            ("within quotes is none", "x=\"no-store\"", |d| !d.no_store),
            ("a longer name is another", "no-stores", |d| !d.no_store),
            ("must-understand", "must-understand, no-store", |d| d.must_understand && d.no_store),
        ] {
            assert!(flag(&ResponseDirectives::parse(&headers(&[line]))), "{case}: {line}");
        }
    }

    #[test]
    fn requests() {
        let secs = |n| Some(DeltaSeconds::new(n));
        let none = RequestDirectives::default();
        for (case, line, want) in [
            ("no-cache", "no-cache", RequestDirectives { no_cache: true, ..none }),
            ("max-age", "max-age=0", RequestDirectives { max_age: secs(0), ..none }),
            ("bad max-age is none", "max-age=x", none),
            (
                "max-stale without limit",
                "max-stale",
                RequestDirectives { max_stale: Some(DeltaSeconds::FOREVER), ..none },
            ),
            ("max-stale", "max-stale=9", RequestDirectives { max_stale: secs(9), ..none }),
            ("bad max-stale is none", "max-stale=x", none),
            (
                "min-fresh: the larger",
                "min-fresh=3, min-fresh=9",
                RequestDirectives { min_fresh: secs(9), ..none },
            ),
            (
                "only-if-cached",
                "only-if-cached, no-store",
                RequestDirectives { only_if_cached: true, no_store: true, ..none },
            ),
        ] {
            assert_eq!(RequestDirectives::parse(&headers(&[line])), want, "{case}: {line}");
        }
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        let mut fields = HeaderMap::new();
        fields.insert(PRAGMA, HeaderValue::from_static("x, No-Cache"));
        assert!(RequestDirectives::parse(&fields).no_cache);
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("max-stale"));
        assert!(!RequestDirectives::parse(&fields).no_cache);
    }

    proptest! {
        #[test]
        fn no_store_is_found_behind_anything(
            before in "[ -~&&[^\"]]{0,30}", after in "[ -~]{0,30}", quotes in 0..2_usize,
        ) {
            let quote = &"\"\""[..quotes]; // none, or one that never ends
            let after = after.replace('"', "");
            let line = format!("{before}={quote}x,no-store,{after}");
            let found = ResponseDirectives::parse(&headers(&[&line]));
            prop_assert!(found.no_store, "{line}");
        }

        #[test]
        fn any_bytes_are_parsed(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut fields = HeaderMap::new();
                fields.insert(CACHE_CONTROL, value);
                let _ = ResponseDirectives::parse(&fields);
                let _ = RequestDirectives::parse(&fields);
            }
        }
    }
}
