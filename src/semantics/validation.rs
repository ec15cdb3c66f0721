//! Validation both ways: what the origin is asked (RFC 9111 §4.3.1), what its 304 changes
//! (§4.3.4), and what clients ask of us (RFC 9110 §13).

use http::header::{
    AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, HeaderName};

use super::date;
use super::etag::{self, EntityTag};
use super::headers;
use super::time::Timestamp;

/// Turns a request into the one that validates what is stored: its own preconditions and Range go
/// (they are answered from what validation brings), the origin's validators come, as the origin
/// sent them. False: there is none, the request asks for everything.
pub fn conditional(stored: &HeaderMap, request: &mut HeaderMap) -> bool {
    for name in [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE, RANGE] {
        request.remove(name);
    }
    let mut any = false;
    if let Some(tag) = stored.get(ETAG) {
        request.insert(IF_NONE_MATCH, tag.clone());
        any = true;
    }
    // A Last-Modified that is no date is none (RFC 9110 §13.1.3).
    if let Some(modified) = stored.get(LAST_MODIFIED).filter(|value| date::parse(value).is_some()) {
        request.insert(IF_MODIFIED_SINCE, modified.clone());
        any = true;
    }
    any
}

/// Whether a 304 speaks of what is stored: a validator that differs is another response's, and
/// freshens nothing (RFC 9111 §4.3.4). Without validators it answers the ones that were sent.
pub fn matches_304(stored: &HeaderMap, update: &HeaderMap) -> bool {
    let opaque = |tag: &http::HeaderValue| etag::opaque(tag.as_bytes()).to_vec();
    let same_date = match (stored.get(LAST_MODIFIED), update.get(LAST_MODIFIED)) {
        (Some(one), Some(other)) => Some(one == other),
        _ => None,
    };
    match (stored.get(ETAG), update.get(ETAG)) {
        (Some(one), Some(other)) => opaque(one) == opaque(other),
        (None, Some(_)) => same_date == Some(true),
        (_, None) => same_date != Some(false),
    }
}

/// Whether the 200 that answers a HEAD speaks of what is stored, whose content has `len` bytes (RFC
/// 9111 §4.3.5): every validator that it has is the stored one, and it has one; so is its length,
/// if it tells that.
pub fn matches_head(stored: &HeaderMap, len: u64, update: &HeaderMap) -> bool {
    let validators = || [ETAG, LAST_MODIFIED].into_iter().filter(|name| update.contains_key(name));
    let same = |name: &HeaderName| stored.get(name) == update.get(name);
    let length = update.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    validators().next().is_some()
        && validators().all(|name| same(&name))
        && same(&CONTENT_ENCODING)
        && length.is_none_or(|length| length.trim().parse() == Ok(len))
}

/// The stored header fields with those of a 304 put over them (RFC 9111 §3.2). What describes the
/// stored content stays, Age and Date are the 304's only: a stored Age would count twice.
pub fn merge_304(stored: &HeaderMap, update: &HeaderMap) -> HeaderMap {
    let mut merged = stored.clone();
    merged.remove(AGE);
    merged.remove(DATE);
    let update = headers::end_to_end(update);
    for name in update.keys().filter(|name| !describes_content(name)) {
        let mut lines = update.get_all(name).iter();
        if let Some(first) = lines.next() {
            merged.insert(name, first.clone());
        }
        for line in lines {
            merged.append(name, line.clone());
        }
    }
    merged
}

fn describes_content(name: &HeaderName) -> bool {
    *name == CONTENT_LENGTH || *name == CONTENT_ENCODING || *name == CONTENT_RANGE
}

/// What a request's preconditions come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Precondition {
    /// None, or they hold: answer in full.
    Proceed,
    /// 304: the client has it.
    NotModified,
    /// 412; a cache lets the origin say so (RFC 9111 §4.3.2).
    Failed,
}

/// Evaluates preconditions in the order of RFC 9110 §13.2.2, for a stored 2xx answer. `modified`
/// as [`super::stored::Stored::modified`] tells it.
pub fn precondition(
    request: &HeaderMap,
    etag: Option<&EntityTag>,
    modified: Timestamp,
    is_get_or_head: bool,
) -> Precondition {
    let date_of = |name| request.get(name).and_then(date::parse);
    if request.contains_key(IF_MATCH) {
        let hit = any_tag(request, IF_MATCH, |tag| etag.is_some_and(|own| own.strong_eq(tag)));
        if !hit {
            return Precondition::Failed;
        }
    } else if date_of(IF_UNMODIFIED_SINCE).is_some_and(|since| modified > since) {
        return Precondition::Failed;
    }
    if request.contains_key(IF_NONE_MATCH) {
        let hit = any_tag(request, IF_NONE_MATCH, |tag| etag.is_some_and(|own| own.weak_eq(tag)));
        return match (hit, is_get_or_head) {
            (false, _) => Precondition::Proceed,
            (true, true) => Precondition::NotModified,
            (true, false) => Precondition::Failed,
        };
    }
    if is_get_or_head && date_of(IF_MODIFIED_SINCE).is_some_and(|since| modified <= since) {
        return Precondition::NotModified;
    }
    Precondition::Proceed
}

/// `*` or any entity tag that `hit` likes, over all lines.
fn any_tag(request: &HeaderMap, name: HeaderName, hit: impl Fn(&[u8]) -> bool) -> bool {
    request.get_all(name).iter().any(|line| {
        let list = line.as_bytes();
        list.trim_ascii() == b"*" || etag::members(list).any(&hit)
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NEW: &str = "Mon, 07 Nov 1994 08:49:37 GMT";

    #[test]
    fn the_origin_is_asked_with_its_own_validators() {
        let stored = map(&[("etag", "W/\"a\""), ("last-modified", OLD)]);
        let client = [
            ("if-none-match", "\"b\""),
            ("if-match", "*"),
            ("range", "bytes=0-1"),
            ("accept", "x"),
        ];
        let mut request = map(&client);
        assert!(conditional(&stored, &mut request));
        let want =
            map(&[("accept", "x"), ("if-none-match", "W/\"a\""), ("if-modified-since", OLD)]);
        assert_eq!(request, want);
        let mut request = map(&client);
        assert!(!conditional(&map(&[("last-modified", "lately")]), &mut request));
        assert_eq!(request, map(&[("accept", "x")]));
    }

    #[test]
    fn a_foreign_304_freshens_nothing() {
        for (case, stored, update, want) in [
            ("same tag", &[("etag", "\"a\"")][..], &[("etag", "\"a\"")][..], true),
            ("weak and strong", &[("etag", "W/\"a\"")], &[("etag", "\"a\"")], true),
            ("another tag", &[("etag", "\"a\"")], &[("etag", "\"b\"")], false),
            ("no validator", &[("etag", "\"a\"")], &[], true),
            ("same date", &[("last-modified", OLD)], &[("last-modified", OLD)], true),
            ("another date", &[("last-modified", OLD)], &[("last-modified", NEW)], false),
            ("tag where none was", &[("last-modified", OLD)], &[("etag", "\"a\"")], false),
            (
                "tag where none was, same date",
                &[("last-modified", OLD)],
                &[("etag", "\"a\""), ("last-modified", OLD)],
                true,
            ),
            (
                "the tag decides",
                &[("etag", "\"a\""), ("last-modified", OLD)],
                &[("etag", "\"a\""), ("last-modified", NEW)],
                true,
            ),
        ] {
            assert_eq!(matches_304(&map(stored), &map(update)), want, "{case}");
        }
    }

    #[test]
    fn a_head_speaks_of_what_is_stored() {
        let (tag, dated) = (("etag", "\"a\""), ("last-modified", OLD));
        let length = |text| ("content-length", text);
        for (case, stored, update, want) in [
            ("same tag", &[tag][..], &[tag, length("5")][..], true),
            ("no length", &[tag], &[tag], true),
            ("another length", &[tag], &[tag, length("6")], false),
            ("another tag", &[tag], &[("etag", "\"b\"")], false),
            ("a tag where none was", &[dated], &[dated, tag], false),
            ("same date", &[dated, tag], &[dated], true),
            ("another date", &[dated], &[("last-modified", NEW)], false),
            ("same tag, another date", &[tag, dated], &[tag, ("last-modified", NEW)], false),
            ("no validator", &[tag], &[length("5")], false),
            ("another coding", &[tag], &[tag, ("content-encoding", "gzip")], false),
        ] {
            assert_eq!(matches_head(&map(stored), 5, &map(update)), want, "{case}");
        }
    }

    #[test]
    fn a_304_replaces_fields_but_not_what_describes_the_content() {
        let stored = map(&[
            ("age", "50"),
            ("date", OLD),
            ("content-length", "5"),
            ("content-encoding", "gzip"),
            ("x-a", "1"),
            ("x-a", "2"),
            ("x-kept", "k"),
        ]);
        let update = map(&[
            ("date", NEW),
            ("content-length", "0"),
            ("content-encoding", "br"),
            ("content-range", "bytes 0-1/2"),
            ("connection", "x-hop"),
            ("x-hop", "h"),
            ("x-a", "3"),
            ("x-b", "4"),
            ("x-b", "5"),
        ]);
        let want = map(&[
            ("date", NEW),
            ("content-length", "5"),
            ("content-encoding", "gzip"),
            ("x-a", "3"),
            ("x-b", "4"),
            ("x-b", "5"),
            ("x-kept", "k"),
        ]);
        assert_eq!(merge_304(&stored, &update), want);
    }

    #[test]
    fn preconditions() {
        use Precondition::{Failed, NotModified, Proceed};
        let (inm, ims, im, ius) =
            ("if-none-match", "if-modified-since", "if-match", "if-unmodified-since");
        for (case, lines, get, want) in [
            ("none", &[][..], true, Proceed),
            ("same tag", &[(inm, "\"a\"")], true, NotModified),
            ("weak tag", &[(inm, "W/\"a\"")], true, NotModified),
            ("in a list", &[(inm, "\"x\", \"a\"")], true, NotModified),
            ("in a second line", &[(inm, "\"x\""), (inm, "\"a\"")], true, NotModified),
            ("any", &[(inm, "*")], true, NotModified),
            ("another tag", &[(inm, "\"b\"")], true, Proceed),
            ("without quotes", &[(inm, "a")], true, Proceed),
            ("tag outranks date", &[(inm, "\"b\""), (ims, NEW)], true, Proceed),
            ("not modified since", &[(ims, NEW)], true, NotModified),
            ("at that second", &[(ims, OLD)], true, NotModified),
            ("modified since", &[(ims, "Sat, 05 Nov 1994 08:49:37 GMT")], true, Proceed),
            ("no date", &[(ims, "x")], true, Proceed),
            ("for writes", &[(inm, "\"a\"")], false, Failed),
            ("dates are for reads", &[(ims, NEW)], false, Proceed),
            ("match", &[(im, "\"a\"")], true, Proceed),
            ("match is strong", &[(im, "W/\"a\"")], true, Failed),
            ("no match", &[(im, "\"b\""), (inm, "\"a\"")], true, Failed),
            ("match, then none-match", &[(im, "*"), (inm, "\"a\"")], true, NotModified),
            ("unmodified", &[(ius, OLD)], true, Proceed),
            ("modified", &[(ius, "Sat, 05 Nov 1994 08:49:37 GMT")], true, Failed),
            (
                "match outranks date",
                &[(im, "\"a\""), (ius, "Sat, 05 Nov 1994 08:49:37 GMT")],
                true,
                Proceed,
            ),
        ] {
            let tag = EntityTag::parse(b"\"a\"");
            let modified = date::parse(&HeaderValue::from_static(OLD)).unwrap();
            let got = precondition(&map(lines), tag.as_ref(), modified, get);
            assert_eq!(got, want, "{case}: {lines:?}");
        }
    }
}
