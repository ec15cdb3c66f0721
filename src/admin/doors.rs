//! Who may come in to `/` and `/api/`. Pure: a request head, an address and the settings give an
//! answer; nothing is read or waited for.
//!
//! The admin port listens on loopback by default, where every program and every web page of this
//! machine's user can reach it. So three things are asked of a request, in this order:
//!
//! 1. Is it meant for this port? Host must be an IP literal, localhost or configured: a page whose
//!    name was made to resolve to 127.0.0.1 (DNS rebinding) sends its own name.
//! 2. Does a foreign page send it? A browser says so in Origin and Sec-Fetch-Site.
//! 3. Is the sender known? By the token, or by being on this machine.
//!
//! Writing asks for `Content-Type: application/json` besides: no form of a foreign page can send
//! it without the browser asking first, and that is answered with no.

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName};
use http::uri::Authority;
use http::{StatusCode, request};

use crate::config::snapshot::{Admin, Secret};

/// Between whom a request travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// The address the listener is bound to.
    pub listener: IpAddr,
    /// The client's address.
    pub peer: IpAddr,
}

impl Path {
    /// Both ends on loopback: nothing came over a network.
    fn is_local(self) -> bool {
        self.listener.to_canonical().is_loopback() && self.peer.to_canonical().is_loopback()
    }
}

/// Why a request was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No Host, several, or none that can be read.
    #[error("exactly one valid Host is needed")]
    NoHost,
    /// A Host that is not this port's.
    #[error(
        "this Host is not served: use an IP address or localhost, or add the name to admin.hosts"
    )]
    ForeignHost,
    /// A page of another origin sent it.
    #[error("requests from pages of another origin are refused")]
    ForeignOrigin,
    /// No token is configured, and the client is not on this machine.
    #[error("from other machines this needs a token, and none is configured: set admin.token")]
    NoTokenSet,
    /// The token is missing.
    #[error("this needs the header Authorization: Bearer with the token of admin.token")]
    TokenMissing,
    /// The token is another one.
    #[error("the token is wrong")]
    TokenWrong,
    /// A write without the right Content-Type.
    #[error("writing needs Content-Type: application/json")]
    NotJson,
}

impl Refusal {
    /// The status code that says so.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::NoHost => StatusCode::BAD_REQUEST,
            Self::ForeignHost => StatusCode::MISDIRECTED_REQUEST,
            Self::ForeignOrigin | Self::NoTokenSet => StatusCode::FORBIDDEN,
            Self::TokenMissing | Self::TokenWrong => StatusCode::UNAUTHORIZED,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }
}

/// May this request come in to `/` and `/api/`?
pub fn enter(head: &request::Parts, path: Path, settings: &Admin) -> Result<(), Refusal> {
    let host = host(head)?;
    if !serves(&host, &settings.hosts) {
        return Err(Refusal::ForeignHost);
    }
    if is_foreign(&head.headers, &host) {
        return Err(Refusal::ForeignOrigin);
    }
    // What a proxy on this machine passes on comes from elsewhere, whatever its address.
    if path.is_local() && !is_forwarded(&head.headers) {
        return Ok(());
    }
    token(&head.headers, settings)
}

/// May this request, once in, write? Its method is the router's to check.
pub fn write(headers: &HeaderMap) -> Result<(), Refusal> {
    let value = only(headers, &header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = value.and_then(|value| value.split(';').next()).map(str::trim);
    match media_type {
        Some(name) if name.eq_ignore_ascii_case("application/json") => Ok(()),
        _ => Err(Refusal::NotJson),
    }
}

/// The authority that the client used: of an absolute-form target, else Host (RFC 9112 §3.2.2).
fn host(head: &request::Parts) -> Result<Authority, Refusal> {
    let field = only(&head.headers, &header::HOST).ok_or(Refusal::NoHost)?;
    let authority = match head.uri.authority() {
        Some(authority) => authority.clone(),
        None => Authority::try_from(field.as_bytes()).map_err(|_| Refusal::NoHost)?,
    };
    if authority.as_str().contains('@') { Err(Refusal::NoHost) } else { Ok(authority) }
}

fn serves(authority: &Authority, hosts: &[String]) -> bool {
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|known| {
            known.eq_ignore_ascii_case(host) || known.eq_ignore_ascii_case(authority.as_str())
        })
}

/// Whether a browser says that a page of another origin (scheme, host and port) sent this.
fn is_foreign(headers: &HeaderMap, host: &Authority) -> bool {
    let origin_is_ours = |origin: &http::HeaderValue| {
        let Ok(origin) = origin.to_str() else { return false };
        let authority = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host.as_str()))
    };
    let site_is_ours =
        |site: &http::HeaderValue| matches!(site.as_bytes(), b"same-origin" | b"none");
    let site = HeaderName::from_static("sec-fetch-site");
    !headers.get_all(header::ORIGIN).iter().all(origin_is_ours)
        || !headers.get_all(site).iter().all(site_is_ours)
}

fn is_forwarded(headers: &HeaderMap) -> bool {
    ["forwarded", "x-forwarded-for", "x-real-ip", "via"]
        .iter()
        .any(|name| headers.contains_key(*name))
}

fn token(headers: &HeaderMap, settings: &Admin) -> Result<(), Refusal> {
    let known = settings.token.as_ref().map(Secret::reveal);
    let Some(known) = known.filter(|token| !token.is_empty()) else {
        return Err(Refusal::NoTokenSet);
    };
    let field = only(headers, &header::AUTHORIZATION).ok_or(Refusal::TokenMissing)?;
    let (scheme, given) =
        field.as_bytes().split_at_checked("Bearer ".len()).ok_or(Refusal::TokenMissing)?;
    if !scheme.eq_ignore_ascii_case(b"Bearer ") {
        return Err(Refusal::TokenMissing);
    }
    let given = given.trim_ascii();
    if given.is_empty() {
        return Err(Refusal::TokenMissing);
    }
    if same(given, known.as_bytes()) { Ok(()) } else { Err(Refusal::TokenWrong) }
}

/// Compares in a time that depends on the lengths only.
fn same(given: &[u8], known: &[u8]) -> bool {
    let differing = given.iter().zip(known).fold(0_u8, |sum, (a, b)| {
        // black_box: no early exit may be made of this.
        std::hint::black_box(sum | (a ^ b))
    });
    differing == 0 && given.len() == known.len()
}

/// The field's value where it was sent exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a http::HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: Path = Path {
        listener: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        peer: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    };

    fn settings(token: Option<&str>) -> Admin {
        Admin {
            listen: "127.0.0.1:0".parse().unwrap(),
            token: token.map(Secret::new),
            hosts: vec!["Larder.internal".into()],
        }
    }

    fn head(uri: &str, headers: &[(&str, &str)]) -> request::Parts {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn hosts() {
        use Refusal::{ForeignHost, NoHost};
        for (case, uri, headers, want) in [
            ("an address", "/", vec![("host", "127.0.0.1:9180")], Ok(())),
            ("an IPv6 address", "/", vec![("host", "[::1]:9180")], Ok(())),
            ("localhost", "/", vec![("host", "LocalHost:9180")], Ok(())),
            ("configured", "/", vec![("host", "larder.internal:9180")], Ok(())),
            ("rebound", "/", vec![("host", "evil.example:9180")], Err(ForeignHost)),
            ("a part of the name", "/", vec![("host", "localhost.evil.example")], Err(ForeignHost)),
            (
                "an address as a name",
                "/",
                vec![("host", "127.0.0.1.evil.example")],
                Err(ForeignHost),
            ),
            ("none", "/", vec![], Err(NoHost)),
            ("two", "/", vec![("host", "localhost"), ("host", "localhost")], Err(NoHost)),
            ("userinfo", "/", vec![("host", "localhost@evil.example")], Err(NoHost)),
            ("unreadable", "/", vec![("host", "local host")], Err(NoHost)),
            ("empty", "/", vec![("host", "")], Err(NoHost)),
            (
                "an absolute target outranks Host",
                "http://evil.example/",
                vec![("host", "localhost")],
                Err(ForeignHost),
            ),
        ] {
            assert_eq!(enter(&head(uri, &headers), LOCAL, &settings(None)), want, "{case}");
        }
    }

    #[test]
    fn pages_of_other_origins() {
        for (case, header, fine) in [
            ("our own page", ("origin", "http://localhost:9180"), true),
            ("our own page behind TLS", ("origin", "https://localhost:9180"), true),
            ("another port", ("origin", "http://localhost:3000"), false),
            ("another host", ("origin", "http://evil.example"), false),
            ("a sandbox", ("origin", "null"), false),
            ("a prefix", ("origin", "http://localhost:9180.evil.example"), false),
            ("typed in", ("sec-fetch-site", "none"), true),
            ("same origin", ("sec-fetch-site", "same-origin"), true),
            ("same site, other port", ("sec-fetch-site", "same-site"), false),
            ("cross site", ("sec-fetch-site", "cross-site"), false),
        ] {
            let head = head("/", &[("host", "localhost:9180"), header]);
            assert_eq!(enter(&head, LOCAL, &settings(None)).is_ok(), fine, "{case}");
        }
    }

    #[test]
    fn tokens() {
        use Refusal::{NoTokenSet, TokenMissing, TokenWrong};
        let far = Path { peer: "192.0.2.1".parse().unwrap(), ..LOCAL };
        let open = Path { listener: "0.0.0.0".parse().unwrap(), ..LOCAL };
        let mapped =
            Path { listener: "::1".parse().unwrap(), peer: "::ffff:127.0.0.1".parse().unwrap() };
        for (case, path, token, authorization, want) in [
            ("on this machine", LOCAL, Some("s3cret"), None, Ok(())),
            ("on this machine, mapped", mapped, None, None, Ok(())),
            ("from afar", far, Some("s3cret"), None, Err(TokenMissing)),
            ("listening to all", open, Some("s3cret"), None, Err(TokenMissing)),
            ("none set", far, None, Some("Bearer "), Err(NoTokenSet)),
            ("an empty one set", far, Some(""), Some("Bearer "), Err(NoTokenSet)),
            ("right", far, Some("s3cret"), Some("Bearer s3cret"), Ok(())),
            ("right, scheme in small letters", far, Some("s3cret"), Some("bearer s3cret"), Ok(())),
            ("wrong", far, Some("s3cret"), Some("Bearer s3creT"), Err(TokenWrong)),
            ("a prefix", far, Some("s3cret"), Some("Bearer s3c"), Err(TokenWrong)),
            ("longer", far, Some("s3cret"), Some("Bearer s3cretx"), Err(TokenWrong)),
            ("empty", far, Some("s3cret"), Some("Bearer "), Err(TokenMissing)),
            ("Basic", far, Some("s3cret"), Some("Basic s3cret"), Err(TokenMissing)),
            ("bare", far, Some("s3cret"), Some("s3cret"), Err(TokenMissing)),
        ] {
            let mut headers = vec![("host", "127.0.0.1:9180")];
            headers.extend(authorization.map(|value| ("authorization", value)));
            let got = enter(&head("/", &headers), path, &settings(token));
            assert_eq!(got, want, "{case}");
        }
        let twice =
            [("host", "[::1]"), ("authorization", "Bearer x"), ("authorization", "Bearer s3cret")];
        let got = enter(&head("/", &twice), far, &settings(Some("s3cret")));
        assert_eq!(got, Err(TokenMissing));
    }

    #[test]
    fn what_a_local_proxy_passes_on_is_not_local() {
        let headers = [("host", "127.0.0.1:9180"), ("x-forwarded-for", "192.0.2.1")];
        let got = enter(&head("/", &headers), LOCAL, &settings(Some("s3cret")));
        assert_eq!(got, Err(Refusal::TokenMissing));
    }

    #[test]
    fn content_types() {
        for (value, fine) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/plain", false),
            ("text/plain; application/json", false),
            ("application/jsonp", false),
            ("application/x-www-form-urlencoded", false),
            ("", false),
        ] {
            let head = head("/", &[("content-type", value)]);
            assert_eq!(write(&head.headers).is_ok(), fine, "{value:?}");
        }
        assert!(write(&HeaderMap::new()).is_err());
    }
}
