//! Cache groups (RFC 9875): names by which an origin ties responses together, to make them void at
//! once.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sfv::{BareItem, Item, List, ListEntry, Parser};

use super::invalidation;

static CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
static INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// As many groups of a response are heeded, and as many bytes of a name: twice and eight times
/// what every cache must heed (§2).
const MAX_GROUPS: usize = 64;
const MAX_NAME: usize = 256;

/// The groups that a response belongs to, on its own origin.
pub fn of_response(headers: &HeaderMap) -> Vec<String> {
    names(headers, &CACHE_GROUPS)
}

/// The groups that the answer to an unsafe request makes void (§3).
pub fn invalidated(method: &Method, status: u16, headers: &HeaderMap) -> Vec<String> {
    if invalidation::makes_void(method, status) {
        names(headers, &INVALIDATION)
    } else {
        Vec::new()
    }
}

/// A list of strings; one that is malformed, or holds anything else, counts as not sent.
fn names(headers: &HeaderMap, field: &HeaderName) -> Vec<String> {
    if !headers.contains_key(field) {
        return Vec::new();
    }
    let lines: Vec<&[u8]> = headers.get_all(field).iter().map(HeaderValue::as_bytes).collect();
    let Ok(list) = Parser::new(&lines.join(&b", "[..])).parse::<List>() else {
        return Vec::new();
    };
    let string = |member: ListEntry| match member {
        ListEntry::Item(Item { bare_item: BareItem::String(name), .. }) => Some(name.into()),
        _ => None,
    };
    let all: Option<Vec<String>> = list.into_iter().map(string).collect();
    let mut names = all.unwrap_or_default();
    names.retain(|name| name.len() <= MAX_NAME);
    names.truncate(MAX_GROUPS);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_strings() {
        let long = format!("\"{}\", \"a\"", "x".repeat(MAX_NAME + 1));
        for (case, lines, want) in [
            ("one", &["\"a\""][..], &["a"][..]),
            ("two, with parameters", &["\"a\";x=1, \"B c\""], &["a", "B c"]),
            ("lines are one list", &["\"a\"", "\"b\""], &["a", "b"]),
            ("tokens are none", &["\"a\", b"], &[]),
            ("malformed", &["\"a\", \""], &[]),
            ("empty", &[""], &[]),
            ("none", &[], &[]),
            ("too long a name", &[&*long], &["a"]),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(&CACHE_GROUPS, HeaderValue::from_str(line).unwrap());
                headers.append(&INVALIDATION, HeaderValue::from_str(line).unwrap());
            }
            assert_eq!(of_response(&headers), want, "{case}");
            assert_eq!(invalidated(&Method::POST, 200, &headers), want, "{case}");
            assert!(invalidated(&Method::GET, 200, &headers).is_empty(), "{case}: safe");
            assert!(invalidated(&Method::POST, 500, &headers).is_empty(), "{case}: failed");
        }
    }

    #[test]
    fn they_are_bounded() {
        let many: Vec<String> = (0..100).map(|n| format!("\"{n}\"")).collect();
        let mut headers = HeaderMap::new();
        headers.insert(&CACHE_GROUPS, HeaderValue::from_str(&many.join(",")).unwrap());
        assert_eq!(of_response(&headers).len(), MAX_GROUPS);
    }
}
