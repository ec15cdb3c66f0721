//! What an unsafe request makes void (RFC 9111 §4.4).

use http::header::{CONTENT_LOCATION, HeaderName, LOCATION};
use http::{HeaderMap, Method};

use super::headers::authority;
use super::key::{self, Scheme};

/// The key URLs to be made void: the target's, and what Location and Content-Location name on the
/// same origin. Empty for safe methods and for errors. `target` is the URL part of the request's
/// key ([`key::url_part`]).
pub fn invalidated(
    method: &Method,
    status: u16,
    target: &[u8],
    headers: &HeaderMap,
) -> Vec<Vec<u8>> {
    if !makes_void(method, status) {
        return Vec::new();
    }
    let mut urls = vec![target.to_vec()];
    for name in [LOCATION, CONTENT_LOCATION] {
        if let Some(url) = named(target, headers, &name)
            && !urls.contains(&url)
        {
            urls.push(url);
        }
    }
    urls
}

/// The answer tells that an unsafe method has changed something.
pub(super) fn makes_void(method: &Method, status: u16) -> bool {
    !method.is_safe() && (200..400).contains(&status)
}

/// The key URL that a field names, where it lies on the target's origin: another's would let one
/// site empty the cache of its neighbour.
pub(super) fn named(target: &[u8], headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let base = Parts::of(std::str::from_utf8(target).ok()?)?;
    let written = headers.get(name)?.to_str().ok()?.trim();
    let reference = written.split('#').next()?;
    let (own_scheme, own_authority) = (base.scheme.as_str(), base.authority);
    let absolute = if let Some(rest) = reference.strip_prefix("//") {
        format!("{own_scheme}://{rest}")
    } else if has_scheme(reference) {
        reference.to_owned()
    } else if reference.starts_with('/') {
        format!("{own_scheme}://{own_authority}{reference}")
    } else if reference.starts_with('?') {
        format!("{own_scheme}://{own_authority}{}{reference}", base.path())
    } else if reference.is_empty() {
        return None; // the target itself
    } else {
        let path = base.path();
        let directory = path.rfind('/').and_then(|slash| path.get(..=slash)).unwrap_or("/");
        format!("{own_scheme}://{own_authority}{directory}{reference}")
    };
    let found = Parts::of(&absolute)?;
    let (path, query) = match found.path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (found.path_and_query, None),
    };
    let mut resolved = without_dots(path);
    if let Some(query) = query {
        resolved.push('?');
        resolved.push_str(query);
    }
    let authority = authority::parse(found.authority)?;
    let mut url = Vec::new();
    key::primary(found.scheme, &authority, &resolved, None, &mut url);
    let mut origin = Vec::new();
    key::primary(base.scheme, own_authority, "/", None, &mut origin);
    url.starts_with(&origin).then_some(url)
}

struct Parts<'a> {
    scheme: Scheme,
    authority: &'a str,
    path_and_query: &'a str,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let scheme = match scheme {
            s if s.eq_ignore_ascii_case("http") => Scheme::Http,
            s if s.eq_ignore_ascii_case("https") => Scheme::Https,
            _ => return None,
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path_and_query) = rest.split_at(end);
        Some(Self { scheme, authority, path_and_query })
    }

    fn path(&self) -> &'a str {
        self.path_and_query.split('?').next().unwrap_or("/")
    }
}

fn has_scheme(reference: &str) -> bool {
    reference.split(['/', '?']).next().is_some_and(|first| first.contains(':'))
}

/// RFC 3986 §5.2.4.
pub(super) fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_with_slash = true;
    for segment in path.split('/').skip(1) {
        ends_with_slash = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            _ => kept.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len() + 1);
    for segment in kept {
        out.push('/');
        out.push_str(segment);
    }
    if out.is_empty() || ends_with_slash {
        out.push('/');
    }
    out
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn urls() {
        let target = "http://a.org:81/x/y?q";
        for (case, method, status, field, want) in [
            ("a write", "POST", 200, None, &[target][..]),
            ("an unknown method", "FOO", 204, None, &[target]),
            ("see other", "PUT", 303, None, &[target]),
            ("an error", "POST", 500, None, &[]),
            ("a refusal", "POST", 404, Some("/b"), &[]),
            ("a read", "GET", 200, Some("/b"), &[]),
            ("safe", "OPTIONS", 200, Some("/b"), &[]),
            ("absolute path", "POST", 201, Some("/b?c#d"), &[target, "http://a.org:81/b?c"]),
            ("relative", "POST", 201, Some("b"), &[target, "http://a.org:81/x/b"]),
            ("dots", "POST", 201, Some("../b/./c/.."), &[target, "http://a.org:81/b/"]),
            ("above the root", "POST", 201, Some("../../../b"), &[target, "http://a.org:81/b"]),
            ("query", "POST", 201, Some("?z"), &[target, "http://a.org:81/x/y?z"]),
            (
                "dots in a query",
                "POST",
                201,
                Some("?a/../b"),
                &[target, "http://a.org:81/x/y?a/../b"],
            ),
            ("itself", "POST", 201, Some("#z"), &[target]),
            ("absolute", "POST", 201, Some("HTTP://A.org:81/b"), &[target, "http://a.org:81/b"]),
            ("no path", "POST", 201, Some("http://a.org:81"), &[target, "http://a.org:81/"]),
            ("no scheme", "POST", 201, Some("//a.org:81/b"), &[target, "http://a.org:81/b"]),
            ("another host", "POST", 201, Some("http://b.org:81/b"), &[target]),
            ("another port", "POST", 201, Some("http://a.org/b"), &[target]),
            ("another scheme", "POST", 201, Some("https://a.org:81/b"), &[target]),
            ("a host in disguise", "POST", 201, Some("http://a.org:81@b.org/"), &[target]),
            ("no URL", "POST", 201, Some("mailto:x"), &[target]),
        ] {
            for name in [LOCATION, CONTENT_LOCATION] {
                let mut headers = HeaderMap::new();
                if let Some(value) = field {
                    headers.insert(name, HeaderValue::from_static(value));
                }
                let method = method.parse().unwrap();
                let got = invalidated(&method, status, target.as_bytes(), &headers);
                let got: Vec<_> = got.into_iter().map(|u| String::from_utf8(u).unwrap()).collect();
                assert_eq!(got, want, "{case}: {field:?}");
            }
        }
    }

    #[test]
    fn schemes_that_have_a_cache() {
        for (url, want) in [
            ("HTTP://a.org/x", Some(Scheme::Http)),
            ("https://a.org/x", Some(Scheme::Https)),
            ("ftp://a.org/x", None),
            ("/x", None),
        ] {
            assert_eq!(Parts::of(url).map(|parts| parts.scheme), want, "{url}");
        }
    }
}
