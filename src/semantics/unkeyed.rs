//! Unkeyed input: request header fields that are no part of the key, that no Vary names, and that
//! apps and frameworks are known to write into their answers. Whoever sends one would choose what
//! is stored for everybody (web cache poisoning), so it is dropped from requests whose answer may
//! be stored, whoever sent it, before anything is judged: neither the origin nor Vary sees it.

use http::header::{CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, HeaderName, TRANSFER_ENCODING};
use http::{HeaderMap, Method};

/// Dropped unless the user allows them. Larder writes none of them itself (DESIGN D2).
pub const KNOWN: [HeaderName; 10] = [
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-forwarded-scheme"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-host"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-method-override"),
];

/// Written anew for the origin from what is keyed, or framing: never anybody's to drop.
const OURS: [HeaderName; 8] = [
    HOST,
    CONNECTION,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
];

/// Larder itself relies on this field or writes it: it cannot be dropped.
pub fn is_ours(name: &HeaderName) -> bool {
    OURS.contains(name) || matches!(name.as_str(), "via" | "x-real-ip")
}

/// The fields that are dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unkeyed {
    names: Box<[HeaderName]>,
    /// Bit n: a name of n bytes (modulo 64) is among them. Most fields of most requests are told
    /// apart by it alone.
    lengths: u64,
}

impl Unkeyed {
    /// [`KNOWN`] and `dropped`, without `allowed`.
    pub fn new(dropped: &[HeaderName], allowed: &[HeaderName]) -> Self {
        let mut names: Vec<_> = KNOWN.iter().chain(dropped).cloned().collect();
        names.retain(|name| !allowed.contains(name) && !is_ours(name));
        let lengths = names.iter().fold(0, |bits, name| bits | bit(name));
        Self { names: names.into(), lengths }
    }

    /// Drops them from a request. True: there were some.
    pub fn drop_from(&self, headers: &mut HeaderMap) -> bool {
        let mut any = false;
        while let Some(found) = headers.keys().find_map(|name| self.position(name)) {
            let Some(name) = self.names.get(found) else { break };
            headers.remove(name);
            any = true;
        }
        any
    }

    /// There are some in a request that keeps them.
    pub fn are_in(&self, headers: &HeaderMap) -> bool {
        headers.keys().any(|name| self.position(name).is_some())
    }

    fn position(&self, name: &HeaderName) -> Option<usize> {
        if self.lengths & bit(name) == 0 {
            return None;
        }
        self.names.iter().position(|known| known == name)
    }
}

fn bit(name: &HeaderName) -> u64 {
    1 << (name.as_str().len() & 63)
}

/// The answer to a request of this method may be stored, now or by a later rule. Others keep their
/// fields: a method override in POST is an app's own business.
pub fn concerns(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::QUERY)
}

/// Drops what a gateway (CGI, WSGI, PHP) would take for a field that Larder writes: to it
/// `X_Forwarded_For` and `X-Forwarded-For` are one, and the client's might win. Of every request.
pub fn drop_twins(headers: &mut HeaderMap) {
    let twins: Vec<HeaderName> =
        headers.keys().filter(|name| is_odd_name(name) && is_twin(name)).cloned().collect();
    for name in &twins {
        headers.remove(name);
    }
}

/// A name with anything but letters, digits and hyphens: gateways fold such names into others.
pub fn is_odd_name(name: &HeaderName) -> bool {
    !name.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_twin(name: &HeaderName) -> bool {
    let plain: String =
        name.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    HeaderName::from_bytes(plain.as_bytes()).is_ok_and(|plain| is_ours(&plain))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn what_is_dropped() {
        let own = HeaderName::from_static("x-theme");
        let prefix = HeaderName::from_static("x-forwarded-prefix");
        let lines = [
            ("host", "a"),
            ("x-forwarded-prefix", "/p"),
            ("x-theme", "dark"),
            ("x-host", "b"),
            ("x-host", "c"),
            ("x-forwarded-host", "a"),
            ("x-hosts", "of another name"),
            ("accept", "*/*"),
        ];
        for (case, dropped, allowed, left) in [
            ("by default", &[][..], &[][..], &["host", "x-theme", "x-forwarded-host"][..]),
            ("one more", std::slice::from_ref(&own), &[], &["host", "x-forwarded-host"]),
            (
                "one allowed",
                &[],
                std::slice::from_ref(&prefix),
                &["host", "x-theme", "x-forwarded-host", "x-forwarded-prefix"],
            ),
            (
                "what is ours stays",
                &[HOST, HeaderName::from_static("x-forwarded-host")],
                &[],
                &["host", "x-theme", "x-forwarded-host"],
            ),
        ] {
            let mut headers = map(&lines);
            assert!(Unkeyed::new(dropped, allowed).drop_from(&mut headers), "{case}");
            let mut got: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
            let mut want = [left, &["accept", "x-hosts"]].concat();
            got.sort_unstable();
            want.sort_unstable();
            assert_eq!(got, want, "{case}");
        }
        let mut plain = map(&[("host", "a"), ("accept", "*/*"), ("user-agent", "x")]);
        let before = plain.clone();
        assert!(!Unkeyed::new(&[], &[]).drop_from(&mut plain));
        assert_eq!(plain, before);
        let mut all = map(&[]);
        all.extend(KNOWN.map(|name| (name, HeaderValue::from_static("x"))));
        assert!(Unkeyed::new(&[], &[]).drop_from(&mut all));
        assert!(all.is_empty(), "each of them: {all:?}");
    }

    #[test]
    fn larder_writes_none_of_what_is_dropped() {
        assert!(!KNOWN.iter().any(is_ours));
        assert!(concerns(&Method::GET) && concerns(&Method::HEAD) && !concerns(&Method::POST));
    }

    #[test]
    fn twins_of_what_larder_writes() {
        for (name, dropped) in [
            ("x_forwarded_for", true),
            ("x-forwarded_proto", true),
            ("x.real.ip", true),
            ("content_length", true),
            ("transfer_encoding", true),
            ("x-forwarded-for", false),
            ("x_forwarded_forx", false),
            ("api_key", false),
        ] {
            let mut headers = map(&[(name, "1")]);
            drop_twins(&mut headers);
            assert_eq!(headers.is_empty(), dropped, "{name}");
        }
    }

    #[test]
    fn what_is_in_a_request() {
        let unkeyed = Unkeyed::new(&[], &[]);
        for (name, want) in [("x-host", true), ("x-hosts", false), ("x-hose", false)] {
            assert_eq!(unkeyed.are_in(&map(&[("accept", "a"), (name, "b")])), want, "{name}");
        }
        assert!(!unkeyed.are_in(&HeaderMap::new()));
    }

    #[test]
    fn one_name_of_any_length() {
        let long = HeaderName::from_bytes("x".repeat(70).as_bytes()).unwrap();
        for name in [HeaderName::from_static("x-theme"), long] {
            let unkeyed = Unkeyed::new(std::slice::from_ref(&name), &KNOWN);
            let mut headers = map(&[("x-them", "other"), ("accept", "*/*")]);
            let before = headers.clone();
            assert!(!unkeyed.drop_from(&mut headers), "{name}");
            headers.insert(&name, HeaderValue::from_static("dark"));
            assert!(unkeyed.drop_from(&mut headers), "{name}");
            assert_eq!(headers, before);
        }
    }
}
