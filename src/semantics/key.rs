//! The bytes that name what is stored (DESIGN D2). The full bytes are the key; equality decides.

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The scheme that the client used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS, here or at a trusted proxy in front.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that is not written.
    const fn default_port(self) -> &'static str {
        match self {
            Self::Http => ":80",
            Self::Https => ":443",
        }
    }
}

/// A URL that a person wrote, as keys have it: the host in lower case, the default port dropped,
/// the fragment cut off. One that begins with `/` stays a path.
pub fn url(written: &str) -> Vec<u8> {
    let written = written.split_once('#').map_or(written, |(url, _)| url);
    for scheme in [Scheme::Http, Scheme::Https] {
        let prefix = written.get(..scheme.as_str().len() + 3);
        let given = prefix.is_some_and(|prefix| {
            prefix.strip_suffix("://").is_some_and(|s| s.eq_ignore_ascii_case(scheme.as_str()))
        });
        let Some(rest) = written.get(scheme.as_str().len() + 3..).filter(|_| given) else {
            continue;
        };
        let path_at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_at);
        let mut key = Vec::with_capacity(written.len() + 1);
        primary(scheme, authority, path, None, &mut key);
        return key;
    }
    written.as_bytes().to_vec()
}

/// The same of what a URL begins with: where the authority is cut off it is only put in lower case.
pub fn prefix(written: &str) -> Vec<u8> {
    let authority_at = written.find("://").map_or(0, |at| at + 3);
    let is_whole = written.get(authority_at..).is_some_and(|rest| rest.contains('/'));
    if is_whole { url(written) } else { glob(written) }
}

/// The same of a glob: scheme and authority in lower case.
pub fn glob(written: &str) -> Vec<u8> {
    let authority_at = written.find("://").map_or(0, |at| at + 3);
    let slash = written.get(authority_at..).and_then(|rest| rest.find('/'));
    let end =
        if authority_at == 0 { 0 } else { slash.map_or(written.len(), |at| authority_at + at) };
    let (head, rest) = written.split_at_checked(end).unwrap_or((written, ""));
    [head.to_ascii_lowercase().as_bytes(), rest.as_bytes()].concat()
}

/// Writes the primary key, `scheme://authority/path?query`, behind what `out` holds. A Host that
/// is forwarded and differs from the authority is appended behind a NUL, which no URL holds.
/// Injective but for what means the same: letter case of hosts, the scheme's default port.
pub fn primary(
    scheme: Scheme,
    authority: &str,
    path_and_query: &str,
    forwarded_host: Option<&str>,
    out: &mut Vec<u8>,
) {
    out.reserve(10 + authority.len() + path_and_query.len());
    out.extend_from_slice(scheme.as_str().as_bytes());
    out.extend_from_slice(b"://");
    let authority = without_default_port(scheme, authority);
    push_lower(authority, out);
    if !path_and_query.starts_with('/') {
        out.push(b'/');
    }
    out.extend_from_slice(path_and_query.as_bytes());
    if let Some(host) = forwarded_host.map(|host| without_default_port(scheme, host))
        && !same(host, authority)
    {
        out.extend_from_slice(b"\0h");
        push_lower(host, out);
    }
}

/// The authority as it is keyed and forwarded: without the port that the scheme implies.
pub fn without_default_port(scheme: Scheme, authority: &str) -> &str {
    authority.strip_suffix(scheme.default_port()).unwrap_or(authority)
}

/// Equal but for letter case; nearly always to the letter.
fn same(one: &str, other: &str) -> bool {
    one == other || one.eq_ignore_ascii_case(other)
}

fn push_lower(text: &str, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(text.as_bytes());
    if text.bytes().any(|b| b.is_ascii_uppercase())
        && let Some(written) = out.get_mut(start..)
    {
        written.make_ascii_lowercase();
    }
}

/// The URL in a key: what lies before the first NUL. Empty for the key of a segment.
pub fn url_part(key: &[u8]) -> &[u8] {
    let end = memchr::memchr(0, key).unwrap_or(key.len());
    key.get(..end).unwrap_or(key)
}

/// The path in a key, and its query.
pub fn target(key: &[u8]) -> &[u8] {
    let url = url_part(key);
    let authority_at = memchr::memmem::find(url, b"://").map_or(0, |at| at + 3);
    let rest = url.get(authority_at..).unwrap_or_default();
    memchr::memchr(b'/', rest).and_then(|at| rest.get(at..)).unwrap_or_default()
}

/// The path in a key, without its query.
pub fn path(key: &[u8]) -> &[u8] {
    let target = target(key);
    let end = memchr::memchr(b'?', target).unwrap_or(target.len());
    target.get(..end).unwrap_or_default()
}

/// Makes the primary key of a URL that of a QUERY to it: with the header fields that tell what its
/// content is, the content itself, and a generation.
pub fn add_content(headers: &HeaderMap, content: &[u8], generation: u64, key: &mut Vec<u8>) {
    let told = |name: &HeaderName| name.as_str().starts_with("content-") && *name != CONTENT_LENGTH;
    let mut fields: Vec<(&HeaderName, &HeaderValue)> =
        headers.iter().filter(|(name, _)| told(name)).collect();
    fields.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str())); // lines in order
    let put = |bytes: &[u8], key: &mut Vec<u8>| {
        key.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        key.extend_from_slice(bytes);
    };
    key.extend_from_slice(b"\0q");
    key.extend_from_slice(&generation.to_be_bytes());
    key.extend_from_slice(&(fields.len() as u64).to_be_bytes());
    for (name, value) in fields {
        put(name.as_str().as_bytes(), key);
        put(value.as_bytes(), key);
    }
    put(content, key);
}

/// A key without its query, and the query (without `?`).
pub fn split_query(key: &[u8]) -> (Vec<u8>, &[u8]) {
    let url = url_part(key);
    let rest = key.get(url.len()..).unwrap_or_default();
    match memchr::memchr(b'?', url).and_then(|at| url.split_at_checked(at)) {
        Some((path, query)) => ([path, rest].concat(), query.get(1..).unwrap_or_default()),
        None => (key.to_vec(), b""),
    }
}

/// The key of all URLs that differ from that of `primary` in nothing that makes a difference by
/// No-Vary-Search: with their canonical query, and the generation of what their path said.
pub fn search_alias(primary: &[u8], canonical: &[u8], generation: u64) -> Bytes {
    let url = url_part(primary);
    let rest = primary.get(url.len()..).unwrap_or_default();
    let end = memchr::memchr(b'?', url).unwrap_or(url.len());
    let mut key = Vec::with_capacity(primary.len() + 11);
    key.extend_from_slice(url.get(..end).unwrap_or_default());
    if !canonical.is_empty() {
        key.push(b'?');
        key.extend_from_slice(canonical);
    }
    key.extend_from_slice(rest);
    key.extend_from_slice(SEARCH);
    key.extend_from_slice(&generation.to_be_bytes());
    key.into()
}

/// What marks an alias by No-Vary-Search.
const SEARCH: &[u8] = b"\0n";

/// Whether a key is an alias by No-Vary-Search, or a variant of one.
pub fn is_search_alias(key: &[u8]) -> bool {
    let rest = key.get(url_part(key).len()..).unwrap_or_default();
    // Neither a Host nor what a route adds holds a NUL.
    let behind = |rest: &'_ [u8], mark: &[u8]| match rest.strip_prefix(mark) {
        Some(part) => memchr::memchr(0, part).map_or(rest.len(), |end| mark.len() + end),
        None => 0,
    };
    let rest = rest.get(behind(rest, b"\0h")..).unwrap_or_default();
    let rest = rest.get(behind(rest, ADDED)..).unwrap_or_default();
    rest.starts_with(SEARCH)
}

/// What marks the part that a route adds.
const ADDED: &[u8] = b"\0k";

/// Something that a route adds to a primary key.
#[derive(Debug, Clone, Copy)]
pub enum Added<'a> {
    /// Its own name, where the URL alone does not tell which route a request meets.
    Route(&'a str),
    /// A header field with its lines.
    Header(&'a HeaderName, &'a HeaderMap),
    /// A cookie with its value; `None`: it was not sent.
    Cookie(&'a str, Option<&'a str>),
}

/// Appends what a route adds to the primary key of a URL: behind the URL and its Host, before all
/// else. Control characters tell the parts apart, which neither names nor values hold.
pub fn add<'a>(parts: impl IntoIterator<Item = Added<'a>>, key: &mut Vec<u8>) {
    for (nth, part) in parts.into_iter().enumerate() {
        key.extend_from_slice(if nth == 0 { ADDED } else { b"" });
        let (kind, name) = match part {
            Added::Route(name) => (b'r', name),
            Added::Header(name, _) => (b'h', name.as_str()),
            Added::Cookie(name, _) => (b'c', name),
        };
        key.extend_from_slice(&[1, kind]);
        key.extend_from_slice(name.as_bytes());
        let mut put = |value: &[u8]| {
            key.push(2);
            key.extend_from_slice(value);
        };
        match part {
            Added::Route(_) | Added::Cookie(_, None) => {}
            Added::Cookie(_, Some(value)) => put(value.as_bytes()),
            Added::Header(name, headers) => {
                headers.get_all(name).iter().for_each(|line| put(line.as_bytes()));
            }
        }
    }
}

/// The name of a cache group on the origin of `key` (RFC 9875), which is no URL's.
pub fn group(key: &[u8], name: &str) -> Vec<u8> {
    let url = url_part(key);
    let authority = memchr::memmem::find(url, b"://").map_or(0, |colon| colon + 3);
    let rest = url.get(authority..).unwrap_or_default();
    let end = authority + memchr::memchr(b'/', rest).unwrap_or(rest.len());
    [url.get(..end).unwrap_or_default(), b"\0g", name.as_bytes()].concat()
}

/// The key of one variant of `primary`: with the generation of its list of selecting fields and
/// their values as [`super::vary::selecting_values`] writes them.
pub fn variant(primary: &[u8], generation: u64, selecting_values: &[u8]) -> Bytes {
    let mut key = Vec::with_capacity(primary.len() + 10 + selecting_values.len());
    key.extend_from_slice(primary);
    key.extend_from_slice(b"\0v");
    key.extend_from_slice(&generation.to_be_bytes());
    key.extend_from_slice(selecting_values);
    key.into()
}

/// The key of one segment of the body `id`. Begins with a NUL, so it is never a URL's.
pub fn segment(id: &[u8; 16], index: u32) -> Bytes {
    let mut key = Vec::with_capacity(22);
    key.extend_from_slice(b"\0s");
    key.extend_from_slice(id);
    key.extend_from_slice(&index.to_be_bytes());
    key.into()
}

/// What a request for the part `range` of `key` is told from others by, on condition `if_range`.
/// Never another key: values of header fields hold no NUL.
pub fn part(key: &[u8], range: &[u8], if_range: &[u8]) -> Bytes {
    [key, b"\0r", range, b"\0", if_range].concat().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Scheme::{Http, Https};
    use super::*;

    fn key(scheme: Scheme, authority: &str, path: &str, host: Option<&str>) -> Vec<u8> {
        let mut out = Vec::new();
        primary(scheme, authority, path, host, &mut out);
        out
    }

    #[test]
    fn primary_keys() {
        for (case, scheme, authority, path, host, want) in [
            ("plain", Http, "a.org", "/x?y=1", None, "http://a.org/x?y=1"),
            ("https", Https, "a.org", "/", None, "https://a.org/"),
            ("port", Http, "a.org:8080", "/", None, "http://a.org:8080/"),
            ("default port", Http, "a.org:80", "/", None, "http://a.org/"),
            ("the other's default port", Https, "a.org:80", "/", None, "https://a.org:80/"),
            ("letter case", Http, "A.Org", "/A", None, "http://a.org/A"),
            ("the same Host", Http, "a.org", "/", Some("A.org:80"), "http://a.org/"),
            ("another Host", Http, "a.org", "/", Some("B.org"), "http://a.org/\0hb.org"),
            ("address", Http, "[::1]:80", "/", None, "http://[::1]/"),
        ] {
            let got = key(scheme, authority, path, host);
            assert_eq!(String::from_utf8(got).unwrap(), want, "{case}");
        }
    }

    #[test]
    fn prefixes_and_globs_as_keys_have_them() {
        for (case, written, as_prefix, as_glob) in [
            ("a path", "/A", "/A", "/A"),
            ("a whole host", "HTTP://A.org:80/B", "http://a.org/B", "http://a.org:80/B"),
            ("half a host", "http://A.or", "http://a.or", "http://a.or"),
            ("half a port", "http://A.org:8", "http://a.org:8", "http://a.org:8"),
            ("any host", "http://*.A?/B", "http://*.a?/B", "http://*.a?/B"),
            ("any scheme", "HTTP*://A/B", "HTTP*://A/B", "http*://a/B"),
            ("anywhere", "**/A", "**/A", "**/A"),
        ] {
            if case != "any host" {
                assert_eq!(String::from_utf8(prefix(written)).unwrap(), as_prefix, "{case}");
            }
            assert_eq!(String::from_utf8(glob(written)).unwrap(), as_glob, "{case}");
        }
    }

    #[test]
    fn url_part_ends_at_the_first_nul() {
        let with_host = key(Http, "a.org", "/x", Some("b.org"));
        assert_eq!(url_part(&with_host), b"http://a.org/x");
        assert_eq!(url_part(&variant(&with_host, 7, b"\0")), b"http://a.org/x");
        assert_eq!(url_part(&segment(&[1; 16], 3)), b"");
    }

    #[test]
    fn path_ends_at_the_query() {
        for (path, want) in [("/", "/"), ("/a/b?c/d", "/a/b"), ("/x://y", "/x://y"), ("/?", "/")] {
            let with_host = key(Https, "a.org:8443", path, Some("b.org"));
            assert_eq!(super::path(&with_host), want.as_bytes());
        }
        assert_eq!(super::path(&segment(&[1; 16], 3)), b"");
    }

    #[test]
    fn aliases_lie_under_their_canonical_query() {
        for (url, host, canonical, want) in [
            ("/p?a=1&b", None, "a=1", "http://a.org/p?a=1\0n"),
            ("/p", None, "", "http://a.org/p\0n"),
            ("/p?", None, "", "http://a.org/p\0n"),
            ("/p?b", Some("b.org"), "", "http://a.org/p\0hb.org\0n"),
        ] {
            let primary = key(Http, "a.org", url, host);
            let alias = search_alias(&primary, canonical.as_bytes(), 7);
            assert_eq!(alias, [want.as_bytes(), &7_u64.to_be_bytes()].concat());
            assert!(is_search_alias(&alias) && is_search_alias(&variant(&alias, 1, b"x")));
            assert!(!is_search_alias(&primary) && !is_search_alias(&variant(&primary, 1, b"\0n")));
        }
        let primary = key(Http, "a.org", "/p?a?b", Some("b.org"));
        assert_eq!(split_query(&primary), (b"http://a.org/p\0hb.org".to_vec(), &b"a?b"[..]));
        assert_eq!(split_query(b"http://a.org/p"), (b"http://a.org/p".to_vec(), &b""[..]));
    }

    #[test]
    fn what_routes_add_is_told_apart() {
        let map = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("a", HeaderValue::from_static(line));
            }
            headers
        };
        let name = HeaderName::from_static("a");
        let rows = [
            vec![],
            vec![Added::Route("a")],
            vec![Added::Cookie("a", None)],
            vec![Added::Cookie("a", Some(""))],
            vec![Added::Cookie("a", Some("b"))],
            vec![Added::Route("a"), Added::Cookie("a", Some("b"))],
        ];
        let headers = [map(&[]), map(&[""]), map(&["x"]), map(&["x", "y"]), map(&["xy"])];
        let of_headers = headers.iter().map(|headers| vec![Added::Header(&name, headers)]);
        let mut seen = std::collections::HashSet::new();
        for parts in rows.into_iter().chain(of_headers) {
            let mut key = key(Http, "a.org", "/p", Some("b.org"));
            add(parts.iter().copied(), &mut key);
            assert_eq!(url_part(&key), b"http://a.org/p");
            let alias = search_alias(&key, b"", 7);
            assert!(is_search_alias(&alias) && !is_search_alias(&key), "{parts:?}");
            assert!(seen.insert(key), "{parts:?}");
        }
    }

    #[test]
    fn groups_are_of_an_origin() {
        let with_host = key(Https, "a.org:81", "/x//y?z", Some("b.org"));
        assert_eq!(group(&with_host, "n"), b"https://a.org:81\0gn");
        assert_eq!(url_part(&group(&with_host, "n")), b"https://a.org:81");
    }

    #[test]
    fn queries_differ_by_content_and_what_tells_of_it() {
        let query = |fields: &[(&'static str, &'static str)], content: &str| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let mut out = key(Http, "a.org", "/p", None);
            add_content(&headers, content.as_bytes(), 7, &mut out);
            assert_eq!(url_part(&out), b"http://a.org/p");
            out
        };
        let (kind, coding) = (("content-type", "a/b"), ("content-encoding", "gzip"));
        let one = query(&[kind, coding], "x");
        assert_eq!(query(&[coding, ("content-length", "1"), ("accept", "y"), kind], "x"), one);
        for other in [
            query(&[kind, coding], "y"),
            query(&[kind, coding], ""),
            query(&[kind], "x"),
            query(&[("content-type", "a/c"), coding], "x"),
            query(&[kind, coding, ("content-language", "de")], "x"),
            key(Http, "a.org", "/p", None),
        ] {
            assert_ne!(other, one);
        }
    }

    proptest! {
        #[test]
        fn different_requests_have_different_keys(
            one in request(), other in request(),
        ) {
            let write = |(scheme, authority, path, host): &Request| {
                key(*scheme, authority, path, host.as_deref())
            };
            prop_assert_eq!(write(&one) == write(&other), meaning(&one) == meaning(&other));
        }

        #[test]
        fn variants_of_different_requests_differ(
            one in request(), other in request(), generations in (any::<u64>(), any::<u64>()),
            values in ("[a,\0]{0,4}", "[a,\0]{0,4}"),
        ) {
            let write = |r: &Request, generation, values: &str| {
                let primary = key(r.0, &r.1, &r.2, r.3.as_deref());
                variant(&primary, generation, values.as_bytes())
            };
            let same = meaning(&one) == meaning(&other) && generations.0 == generations.1
                && values.0 == values.1;
            let keys = (write(&one, generations.0, &values.0), write(&other, generations.1, &values.1));
            prop_assert_eq!(keys.0 == keys.1, same);
        }

        #[test]
        fn segments_differ(
            one in (any::<[u8; 16]>(), 0..3_u32), other in (any::<[u8; 16]>(), 0..3_u32),
            same_id: bool,
        ) {
            let other = if same_id { (one.0, other.1) } else { other };
            let keys = (segment(&one.0, one.1), segment(&other.0, other.1));
            prop_assert_eq!(keys.0 == keys.1, one == other);
        }
    }

    type Request = (Scheme, String, String, Option<String>);

    /// Few letters, so that collisions would be found.
    fn request() -> impl Strategy<Value = Request> {
        let authority = "[aA][.]?b?(:80|:443|:8)?";
        (
            prop_oneof![Just(Http), Just(Https)],
            authority,
            "/[a/:?h]{0,3}",
            proptest::option::of(authority),
        )
    }

    fn meaning(request: &Request) -> (Scheme, String, String, String) {
        let plain = |text: &str| without_default_port(request.0, text).to_ascii_lowercase();
        let authority = plain(&request.1);
        let host = request.3.as_deref().map_or_else(|| authority.clone(), plain);
        (request.0, authority, request.2.clone(), host)
    }

    #[test]
    fn urls_as_people_write_them() {
        for (case, written, want) in [
            ("as keys have it", "http://a.org/x?y", "http://a.org/x?y"),
            ("capitals", "HTTP://A.org/X", "http://a.org/X"),
            ("default port", "https://a.org:443/", "https://a.org/"),
            ("the other's", "http://a.org:443/", "http://a.org:443/"),
            ("without path", "http://a.org", "http://a.org/"),
            ("a query alone", "http://a.org?q", "http://a.org/?q"),
            ("a fragment", "http://a.org/x?y#z/#", "http://a.org/x?y"),
            ("a path", "/x#y", "/x"),
            ("no scheme", "a.org/x", "a.org/x"),
            ("another scheme", "ftp://a.org/X", "ftp://a.org/X"),
            ("too short", "http:/", "http:/"),
            ("no ASCII", "httpé://a", "httpé://a"),
            ("nothing", "", ""),
        ] {
            assert_eq!(String::from_utf8(url(written)).unwrap(), want, "{case}: {written}");
        }
    }

    #[test]
    fn parts_are_told_apart_by_range_and_condition() {
        let whole = key(Http, "a.org", "/x", None);
        let one = part(&whole, b"bytes=0-1", b"\"a\"");
        assert_eq!(one, &b"http://a.org/x\0rbytes=0-1\0\"a\""[..]);
        assert_ne!(one, part(&whole, b"bytes=0-1", b""));
        assert_ne!(one, part(&whole, b"bytes=0-2", b"\"a\""));
        assert_eq!(url_part(&one), whole);
    }
}
