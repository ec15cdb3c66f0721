//! Fields that are not stored (RFC 9111 §3.1, §5.2.2.4, §5.2.2.7).

use http::HeaderMap;
use http::header::{SET_COOKIE, WARNING};

use super::policy::Policy;
use super::targeted::Said;
use super::time::Timestamp;

/// Takes what is not stored out of a response that may be: the fields that `private` and
/// `no-cache` name, and Warning, which told of another cache's copy (obsolete: §5.5).
/// They are for the client alone whose request brought them.
#[must_use]
pub fn take(headers: &mut HeaderMap, policy: &Policy) -> HeaderMap {
    // Points in time say nothing about names.
    let said = Said::of(headers, &policy.targeted, Timestamp::EPOCH);
    let mut taken = HeaderMap::new();
    for name in said.directives.withheld.into_iter().chain([WARNING]) {
        move_field(&name, headers, &mut taken);
    }
    taken
}

/// The same of what a 304 makes of a stored response. What it validates is no less shareable for
/// a cookie that the 304 sets; the cookie is.
#[must_use]
pub fn take_after_304(merged: &mut HeaderMap, policy: &Policy) -> HeaderMap {
    let mut taken = take(merged, policy);
    if !policy.share_set_cookie {
        move_field(&SET_COOKIE, merged, &mut taken);
    }
    taken
}

fn move_field(name: &http::HeaderName, from: &mut HeaderMap, to: &mut HeaderMap) {
    let http::header::Entry::Occupied(lines) = from.entry(name) else { return };
    let (name, lines) = lines.remove_entry_mult();
    for line in lines {
        to.append(name.clone(), line);
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::super::stored::tests::POLICY;
    use super::*;

    fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn named_fields_and_warnings_are_taken_out() {
        let said = ("cache-control", "max-age=9, no-cache=\"a\", private=\"b, c\"");
        let mut fields = map(&[
            said,
            ("a", "1"),
            ("a", "2"),
            ("b", "3"),
            ("d", "4"),
            ("warning", "110 - \"x\""),
        ]);
        let taken = take(&mut fields, &POLICY);
        assert_eq!(taken, map(&[("a", "1"), ("a", "2"), ("b", "3"), ("warning", "110 - \"x\"")]));
        assert_eq!(fields, map(&[said, ("d", "4")]));
    }

    #[test]
    fn a_targeted_field_has_the_last_word() {
        let lines = [
            ("cache-control", "private=\"a\""),
            ("cdn-cache-control", "private=\"b\""),
            ("a", "1"),
            ("b", "2"),
        ];
        let targeted = vec![HeaderName::from_static("cdn-cache-control")];
        let mut fields = map(&lines);
        let taken = take(&mut fields, &Policy { targeted, ..POLICY });
        assert_eq!(taken, map(&[("b", "2")]));
    }

    #[test]
    fn a_304_sets_cookies_for_one_client_only() {
        let cookies = [("set-cookie", "a=1"), ("set-cookie", "b=2")];
        let mut fields = map(&cookies);
        assert_eq!(take(&mut fields, &POLICY), map(&[]), "a whole answer is judged by them");
        assert_eq!(take_after_304(&mut fields, &POLICY), map(&cookies));
        assert!(fields.is_empty());
        let mut fields = map(&cookies);
        let shared = Policy { share_set_cookie: true, ..POLICY };
        assert_eq!(take_after_304(&mut fields, &shared), map(&[]));
        assert_eq!(fields, map(&cookies));
    }
}
