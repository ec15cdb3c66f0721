//! Content codings: what a client takes, what the origin is asked for, what may be compressed.

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::cache_control::ResponseDirectives;

/// What a client takes (RFC 9110 §12.5.3), of the codings known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// gzip is taken, and not liked less than identity.
    pub gzip: bool,
    /// Content without a coding is taken.
    pub identity: bool,
}

/// Reads Accept-Encoding. Without it, and for members that are malformed, only identity is taken:
/// that is always understood.
pub fn accepted(headers: &HeaderMap) -> Accepted {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    for line in headers.get_all(ACCEPT_ENCODING) {
        for member in line.as_bytes().split(|b| *b == b',') {
            let mut parts = member.splitn(2, |b| *b == b';');
            let coding = parts.next().unwrap_or_default().trim_ascii();
            let Some(weight) = weight(parts.next()) else { continue };
            let is = |known: &[u8]| coding.eq_ignore_ascii_case(known);
            if is(b"gzip") || is(b"x-gzip") {
                gzip = gzip.max(Some(weight));
            } else if is(b"identity") {
                identity = identity.max(Some(weight));
            } else if is(b"*") {
                any = any.max(Some(weight));
            }
        }
    }
    let gzip = gzip.or(any).unwrap_or(0);
    Accepted {
        gzip: gzip > 0 && gzip >= identity.unwrap_or(0),
        identity: identity.or(any).is_none_or(|weight| weight > 0),
    }
}

/// gzip is what this client gets, where there is one.
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers.contains_key(ACCEPT_ENCODING) && accepted(headers).gzip
}

/// The Accept-Encoding that the origin is asked with: `gzip` or `identity`. The same for all
/// clients that take the same, so that it selects among two variants at most (DESIGN D6).
pub fn normalised_for_origin(headers: &HeaderMap) -> &'static str {
    if accepts_gzip(headers) { "gzip" } else { "identity" }
}

/// A weight in thousandths; `None` where it is none. Without one: 1000.
pub(super) fn weight(parameter: Option<&[u8]>) -> Option<u16> {
    let Some(parameter) = parameter else { return Some(1000) };
    let [b'q' | b'Q', b'=', number @ ..] = parameter.trim_ascii() else { return None };
    let (whole, fraction) = match number {
        [whole] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    if !matches!(whole, b'0' | b'1') || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |nth: usize| fraction.get(nth).map_or(0, |digit| u16::from(digit - b'0'));
    let weight = u16::from(whole - b'0') * 1000 + digit(0) * 100 + digit(1) * 10 + digit(2);
    (weight <= 1000).then_some(weight)
}

/// Digests of the content as it is sent, which a coding made here would belie (RFC 9530).
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// Whether a response's content may be compressed here and gains by it: a text-like type, no
/// coding yet, no no-transform, no digest, whole. Its size and status are the caller's question.
pub fn compressible(headers: &HeaderMap) -> bool {
    let gains = headers.get(CONTENT_TYPE).is_some_and(|kind| gains_by_coding(essence(kind)));
    let bound = || {
        headers.contains_key(CONTENT_ENCODING)
            || headers.contains_key(CONTENT_RANGE)
            || DIGESTS.iter().any(|name| headers.contains_key(name))
            || ResponseDirectives::parse(headers).no_transform
    };
    gains && !bound()
}

/// What streams by nature is never held back: event streams, gRPC, frames of a camera, and what
/// the origin marks by `X-Accel-Buffering: no`.
pub fn streams(headers: &HeaderMap) -> bool {
    let by_type = headers.get(CONTENT_TYPE).is_some_and(|kind| {
        let kind = essence(kind);
        let is = |known: &str| kind.eq_ignore_ascii_case(known.as_bytes());
        let grpc = kind
            .get(..b"application/grpc".len())
            .is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"));
        is("text/event-stream") || is("multipart/x-mixed-replace") || grpc
    });
    by_type
        || headers
            .get("x-accel-buffering")
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"no"))
}

/// The media type without its parameters.
fn essence(content_type: &HeaderValue) -> &[u8] {
    content_type.as_bytes().split(|b| *b == b';').next().unwrap_or_default().trim_ascii()
}

fn gains_by_coding(kind: &[u8]) -> bool {
    const TYPES: [&str; 14] = [
        "application/javascript",
        "application/json",
        "application/x-javascript",
        "application/x-ndjson",
        "application/xml",
        "application/wasm",
        "application/rtf",
        "application/vnd.ms-fontobject",
        "application/x-www-form-urlencoded",
        "application/graphql",
        "font/otf",
        "font/ttf",
        "image/bmp",
        "image/x-icon",
    ];
    let ends = |suffix: &[u8]| {
        kind.len() > suffix.len()
            && kind.get(kind.len() - suffix.len()..).is_some_and(|e| e.eq_ignore_ascii_case(suffix))
    };
    let text = kind.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"text/"));
    (text && !kind.eq_ignore_ascii_case(b"text/event-stream"))
        || TYPES.iter().any(|known| kind.eq_ignore_ascii_case(known.as_bytes()))
        || ends(b"+json")
        || ends(b"+xml")
}

/// The ETag of a coded answer: weak, since its bytes differ from those the origin named.
pub fn weaken(etag: &HeaderValue) -> HeaderValue {
    if etag.as_bytes().starts_with(b"W/") {
        return etag.clone();
    }
    let weak = [b"W/", etag.as_bytes()].concat();
    HeaderValue::from_bytes(&weak).unwrap_or_else(|_| etag.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn codings_by_weight() {
        for (case, lines, gzip, identity) in [
            ("absent", &[][..], false, true),
            ("empty", &[""], false, true),
            ("gzip", &["gzip"], true, true),
            ("a browser", &["gzip, deflate, br, zstd"], true, true),
            ("the old name", &["x-gzip"], true, true),
            ("capitals", &["GZip;Q=0.5"], true, true),
            ("refused", &["gzip;q=0"], false, true),
            ("refused, in full", &["gzip;q=0.000"], false, true),
            ("a thousandth", &["gzip;q=0.001"], true, true),
            ("any", &["*"], true, true),
            ("any but gzip", &["*, gzip;q=0"], false, true),
            ("only gzip", &["gzip, identity;q=0"], true, false),
            ("only gzip, by any", &["gzip, *;q=0"], true, false),
            ("nothing at all", &["*;q=0"], false, false),
            ("identity after all", &["*;q=0, identity;q=0.1"], false, true),
            ("identity liked more", &["gzip;q=0.5, identity;q=0.8"], false, true),
            ("gzip liked more", &["gzip;q=0.8, identity;q=0.5"], true, true),
            ("another only", &["br"], false, true),
            ("in a second line", &["br", "gzip"], true, true),
            ("no weight", &["gzip;q=x"], false, true),
            ("too heavy", &["gzip;q=1.5"], false, true),
            ("too exact", &["gzip;q=0.1234"], false, true),
            ("spaces", &["br , gzip ; q=1"], true, true),
            ("a longer name", &["gzipped"], false, true),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| ("accept-encoding", *line)).collect();
            let headers = map(&lines);
            assert_eq!(accepted(&headers), Accepted { gzip, identity }, "{case}: {lines:?}");
            assert_eq!(accepts_gzip(&headers), gzip, "{case}");
            let asked = if gzip { "gzip" } else { "identity" };
            assert_eq!(normalised_for_origin(&headers), asked, "{case}");
        }
    }

    #[test]
    fn what_gains() {
        let kind = "content-type";
        for (case, lines, want) in [
            ("HTML", &[(kind, "text/html; charset=utf-8")][..], true),
            ("capitals", &[(kind, "Application/JSON")], true),
            ("a suffix", &[(kind, "application/problem+json")], true),
            ("SVG", &[(kind, "image/svg+xml")], true),
            ("a picture", &[(kind, "image/png")], false),
            ("events", &[(kind, "text/event-stream")], false),
            ("gRPC", &[(kind, "application/grpc")], false),
            ("only a suffix", &[(kind, "+json")], false),
            ("no type", &[], false),
            ("coded already", &[(kind, "text/html"), ("content-encoding", "br")], false),
            ("a part", &[(kind, "text/html"), ("content-range", "bytes 0-1/2")], false),
            ("no-transform", &[(kind, "text/html"), ("cache-control", "no-transform")], false),
            ("max-age", &[(kind, "text/html"), ("cache-control", "max-age=1")], true),
            ("a digest", &[(kind, "text/html"), ("content-digest", "x")], false),
        ] {
            assert_eq!(compressible(&map(lines)), want, "{case}: {lines:?}");
        }
    }

    #[test]
    fn what_streams() {
        let kind = "content-type";
        for (case, lines, want) in [
            ("events", &[(kind, "text/event-stream; charset=utf-8")][..], true),
            ("gRPC", &[(kind, "application/grpc+proto")], true),
            ("a camera", &[(kind, "multipart/x-mixed-replace; boundary=x")], true),
            ("marked", &[(kind, "text/html"), ("x-accel-buffering", "no")], true),
            ("HTML", &[(kind, "text/html")], false),
            ("nothing", &[], false),
        ] {
            assert_eq!(streams(&map(lines)), want, "{case}");
        }
    }

    #[test]
    fn weak_tags() {
        for (tag, want) in [("\"a\"", "W/\"a\""), ("W/\"a\"", "W/\"a\"")] {
            assert_eq!(weaken(&HeaderValue::from_static(tag)), want);
        }
    }
}
