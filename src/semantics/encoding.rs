//! What may be coded or decoded here, and what must stay as it is.

use http::header::{CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::cache_control::ResponseDirectives;
use super::coding::Coding;

/// Digests of the content as it is sent, which a coding put on or off here would belie (RFC 9530).
pub const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// Drops the digests of a message's content, as opposed to those of a representation: a part of it
/// has others (RFC 9530 §2, RFC 1864).
pub fn drop_digests_of_content(headers: &mut HeaderMap) {
    headers.remove("content-digest");
    headers.remove("content-md5");
}

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

/// The coding that may be taken off a response's content for a client that cannot take it: the
/// only one, and known, of whole content, without no-transform. `lines`: of Content-Encoding.
pub fn decodable<'a>(
    status: u16,
    no_transform: bool,
    lines: impl Iterator<Item = &'a HeaderValue>,
) -> Option<Coding> {
    Coding::of(lines).filter(|_| status != 206 && !no_transform)
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

    #[test]
    fn what_can_be_decoded() {
        for (case, status, bound, lines, want) in [
            ("one", 200, false, &["gzip"][..], Some(Coding::Gzip)),
            ("by its old name, in capitals", 404, false, &[" X-GZIP"], Some(Coding::Gzip)),
            ("brotli", 200, false, &["br"], Some(Coding::Br)),
            ("a part", 206, false, &["gzip"], None),
            ("no-transform", 200, true, &["gzip"], None),
            ("two in a line", 200, false, &["gzip, br"], None),
            ("two lines", 200, false, &["gzip", "br"], None),
            ("not known", 200, false, &["deflate"], None),
            ("none", 200, false, &[], None),
        ] {
            let values: Vec<_> = lines.iter().map(|line| HeaderValue::from_static(line)).collect();
            assert_eq!(decodable(status, bound, values.iter()), want, "{case}");
        }
    }

    #[test]
    fn digests_of_content_go_and_those_of_the_representation_stay() {
        let mut headers = map(&[
            ("content-digest", "sha-256=:a:"),
            ("content-md5", "a"),
            ("repr-digest", "sha-256=:b:"),
            ("etag", "x"),
        ]);
        drop_digests_of_content(&mut headers);
        assert_eq!(headers, map(&[("repr-digest", "sha-256=:b:"), ("etag", "x")]));
    }
}
