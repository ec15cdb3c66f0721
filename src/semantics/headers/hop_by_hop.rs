//! Fields that end at a connection (RFC 9110 §7.6.1).

use http::HeaderMap;
use http::header::{
    CONNECTION, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};

/// Never passed on, whether Connection names it or not. `Trailer` is end to end.
pub fn ends_here(name: &HeaderName) -> bool {
    match *name {
        // Two of them for a proxy that the client chose, which Larder never is (RFC 9110 §11.7).
        CONNECTION | TE | TRANSFER_ENCODING | UPGRADE | PROXY_AUTHENTICATE
        | PROXY_AUTHORIZATION => true,
        _ => matches!(
            name.as_str(),
            // The last one would ask the origin for h2c, which is not spoken here.
            "keep-alive" | "proxy-connection" | "proxy-authentication-info" | "http2-settings"
        ),
    }
}

/// What Connection cannot name: framing and routing, what caching is decided by, and what Larder
/// itself adds or relies on. Naming them is a way to make a proxy and its origin disagree.
const PROTECTED: [&str; 22] = [
    "age",
    "authorization",
    "cache-control",
    "cache-status",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expires",
    "forwarded",
    "host",
    "set-cookie",
    "trailer",
    "vary",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Removes the fields that end at this connection, those that Connection names among them. Before
/// anything else is decided by a message: what is judged must be what is passed on.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = options(headers)
        .filter(|option| !option.eq_ignore_ascii_case(b"keep-alive")) // goes in any case
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect();
    for name in named.iter().filter(|name| !PROTECTED.contains(&name.as_str())) {
        headers.remove(name);
    }
    while let Some(name) = headers.keys().find(|name| ends_here(name)).cloned() {
        headers.remove(name);
    }
}

/// A copy without the fields that end at this connection.
pub fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut copy = headers.clone();
    strip_hop_by_hop(&mut copy);
    copy
}

/// Connection names `option` (`close`, `upgrade`, …; lower case).
pub fn connection_has(headers: &HeaderMap, option: &str) -> bool {
    options(headers).any(|name| name.eq_ignore_ascii_case(option.as_bytes()))
}

/// The client takes trailers: TE says so (RFC 9110 §10.1.4). To be asked before stripping.
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(TE).iter().any(|line| {
        let mut members = line.as_bytes().split(|b| *b == b',');
        members.any(|member| member.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    })
}

fn options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(CONNECTION).iter();
    lines.flat_map(|line| line.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const ALWAYS: [&str; 10] = [
        "connection",
        "te",
        "transfer-encoding",
        "upgrade",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-authentication-info",
        "proxy-connection",
        "keep-alive",
        "http2-settings",
    ];

    fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn what_ends_here() {
        for (case, lines, want) in [
            ("nothing", &[("x-a", "1")][..], &[("x-a", "1")][..]),
            ("named", &[("connection", "X-A, close"), ("x-a", "1"), ("x-b", "2")], &[("x-b", "2")]),
            (
                "in a second line",
                &[("connection", "close"), ("connection", "x-a"), ("x-a", "1")],
                &[],
            ),
            ("all values", &[("connection", "x-a"), ("x-a", "1"), ("x-a", "2")], &[]),
            ("named close", &[("connection", "close"), ("close", "1")], &[]),
            ("not named", &[("keep-alive", "1"), ("te", "trailers"), ("upgrade", "h2c")], &[]),
            (
                "framing stays",
                &[("connection", "content-length"), ("content-length", "5")],
                &[("content-length", "5")],
            ),
            ("Host stays", &[("connection", "host"), ("host", "a")], &[("host", "a")]),
            (
                "ours stay",
                &[("connection", "x-forwarded-for, via"), ("via", "1.1 a")],
                &[("via", "1.1 a")],
            ),
            (
                "no name",
                &[("connection", "a b, , \u{7f}x".trim_end_matches("\u{7f}x")), ("x-a", "1")],
                &[("x-a", "1")],
            ),
        ] {
            let mut headers = map(lines);
            assert_eq!(end_to_end(&headers), map(want), "{case}");
            strip_hop_by_hop(&mut headers);
            assert_eq!(headers, map(want), "{case}");
        }
    }

    #[test]
    fn options_of_a_connection() {
        let headers = map(&[("connection", "keep-alive, Upgrade"), ("te", "gzip, Trailers")]);
        assert!(connection_has(&headers, "upgrade"));
        assert!(!connection_has(&headers, "close"));
        assert!(takes_trailers(&headers));
        assert!(!takes_trailers(&map(&[("te", "gzip")])));
    }

    proptest! {
        #[test]
        fn hop_by_hop_fields_are_never_forwarded(
            named in proptest::collection::vec("[a-z]{1,3}(-[a-z]{1,3})?", 0..6),
            others in proptest::collection::vec("[a-z]{1,3}(-[a-z]{1,3})?", 0..6),
            upper: bool, lines: bool,
        ) {
            let mut headers = HeaderMap::new();
            for name in named.iter().chain(&others) {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                headers.append(name, HeaderValue::from_static("v"));
            }
            for name in ALWAYS {
                headers.append(name, HeaderValue::from_static("v"));
            }
            headers.remove(CONNECTION);
            let written: Vec<String> = named.iter()
                .map(|name| if upper { name.to_ascii_uppercase() } else { name.clone() }).collect();
            let options = if lines { written.clone() } else { vec![written.join(" , ")] };
            for option in &options {
                headers.append(CONNECTION, HeaderValue::from_str(option).unwrap());
            }
            let forwarded = end_to_end(&headers);
            for name in ALWAYS.into_iter().chain(named.iter().map(String::as_str)) {
                prop_assert!(PROTECTED.contains(&name) || !forwarded.contains_key(name), "{name}");
            }
            for name in others.iter().filter(|name| !named.contains(name)) {
                let always = ALWAYS.contains(&name.as_str());
                prop_assert!(always || forwarded.contains_key(name.as_str()), "{name} was lost");
            }
        }
    }
}
