//! Responses as bytes: another parser finds the same head, framing and end.

#![no_main]

use arbitrary::Arbitrary;
use http::Method;
use larder::semantics::wire::{ResponseScanner, Scan, WireLimits};
use larder_fuzz::{Body, Piece, chunked_end, stream};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    head: bool,
    upgrade: bool,
    step: u8,
    pieces: Vec<Piece<'a>>,
}

/// What streams are put together from, beside any bytes.
const KNOWN: [&str; 25] = [
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 200 \r\n",
    "HTTP/1.0 200 OK\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n",
    "HTTP/1.1 101 Switching\r\n",
    "HTTP/1.1 204 No\r\n",
    "HTTP/1.1 304 Not\r\n",
    "HTTP/1.1 206 Part\r\n",
    "\r\n",
    "Transfer-Encoding: chunked\r\n",
    "transfer-encoding: gzip, chunked\r\n",
    "Content-Length: 5\r\n",
    "content-length: 0\r\n",
    "Content-Length: 5, 5\r\n",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\nX: y\r\n\r\n",
    "5;a=b\r\nhello\r\n",
    "hello",
    "\n",
    "X-A: b\r\n",
    " folded\r\n",
    "Connection: upgrade\r\nUpgrade: websocket\r\n",
    "Connection: close\r\n",
];

/// What became of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    bad: Option<(usize, String)>,
    complete: bool,
    to_close: bool,
    tunnelled: bool,
    held: usize,
}

fuzz_target!(|input: Input| {
    let limits = WireLimits { head_size: 2048, head_fields: 16, ..WireLimits::default() };
    let stream = stream(&input.pieces, &KNOWN);
    let whole = verdict(limits, &input, &stream, usize::MAX);
    let pieces = verdict(limits, &input, &stream, usize::from(input.step.max(1)));
    assert_eq!(pieces, whole, "in pieces of {}", input.step);
    if whole.bad.is_some() || whole.held > 0 || stream.is_empty() {
        return;
    }
    let other = other(&input, &stream, &limits);
    assert_eq!((whole.complete, whole.to_close, whole.tunnelled), other);
});

fn verdict(limits: WireLimits, input: &Input, stream: &[u8], step: usize) -> Verdict {
    let mut scanner = ResponseScanner::new(limits);
    let method = if input.head { Method::HEAD } else { Method::GET };
    scanner.expect(&method, input.upgrade);
    let (mut begin, mut end) = (0, 0);
    let mut bad = None;
    while end < stream.len() && bad.is_none() {
        end = end.saturating_add(step).min(stream.len());
        match scanner.feed(&stream[begin..end]) {
            Scan::Pass => begin = end,
            Scan::Partial { from } => begin += from,
            Scan::Bad { at, what, .. } => bad = Some((begin + at, format!("{what:?}"))),
            Scan::Upgrade { .. } => panic!("no upgrade in responses"),
        }
    }
    Verdict {
        held: if bad.is_none() { end - begin } else { 0 },
        bad,
        complete: scanner.complete(),
        to_close: scanner.reads_to_close(),
        tunnelled: scanner.tunnelled(),
    }
}

/// The same by another parser: (complete, read to the close, a tunnel).
fn other(input: &Input, stream: &[u8], limits: &WireLimits) -> (bool, bool, bool) {
    let mut rest = stream;
    loop {
        let mut fields = vec![httparse::EMPTY_HEADER; limits.head_fields];
        let mut response = httparse::Response::new(&mut fields);
        let mut lenient = httparse::ParserConfig::default();
        lenient.ignore_invalid_headers_in_responses(true);
        let len = match lenient.parse_response(&mut response, rest) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return (false, false, false),
            Err(error) => panic!("{error} in {:?}", rest.escape_ascii().to_string()),
        };
        let status = response.code.expect("complete");
        rest = &rest[len..];
        match status {
            101 => return (false, false, true),
            100..=199 => continue,
            _ => {}
        }
        let body = if input.head || matches!(status, 204 | 304) {
            Body::None
        } else {
            framing(response.headers)
        };
        return match body {
            Body::None => (true, false, false),
            Body::ToClose => (false, true, false),
            // Bytes behind it are bad, or cut off where the origin said so.
            Body::Length(len) => (rest.len() >= len, false, false),
            Body::Chunked => (chunked_end(rest).is_some(), false, false),
        };
    }
}

/// RFC 9112 §6.3
fn framing(fields: &[httparse::Header<'_>]) -> Body {
    let all = |name: &str| {
        fields.iter().filter(move |f| f.name.eq_ignore_ascii_case(name)).collect::<Vec<_>>()
    };
    let (codings, lengths) = (all("transfer-encoding"), all("content-length"));
    if let Some(coding) = codings.last() {
        let last = coding.value.rsplit(|b| *b == b',').next().unwrap_or_default();
        let chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        return if chunked { Body::Chunked } else { Body::ToClose };
    }
    match lengths.first() {
        None => Body::ToClose,
        Some(length) => {
            let text = std::str::from_utf8(length.value).expect("digits").trim();
            match text.parse().expect("a length") {
                0 => Body::None,
                len => Body::Length(len),
            }
        }
    }
}
