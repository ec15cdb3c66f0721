//! Requests as bytes: what the scanner lets pass, another parser reads alike, message by message;
//! and however the bytes are cut the verdict is the same.

#![no_main]

use larder::semantics::wire::{RequestScanner, Scan, Violation, WireLimits};
use larder_fuzz::{Body, Piece, chunked_end, stream};
use libfuzzer_sys::fuzz_target;

/// What streams are put together from, beside any bytes.
const KNOWN: [&str; 25] = [
    "GET / HTTP/1.1\r\nHost: h\r\n",
    "POST /a HTTP/1.1\r\nHost: h\r\n",
    "GET / HTTP/1.1\r\n",
    "GET / HTTP/1.0\r\n",
    "Host: h\r\n",
    "HEAD http://h/ HTTP/1.1\r\nHost: h\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "CONNECT h:1 HTTP/1.1\r\n",
    "Expect: 100-continue\r\n",
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
    bad: Option<(usize, Violation)>,
    heads: u64,
    /// Bytes of a head that is not complete.
    held: usize,
}

fuzz_target!(|input: (u8, Vec<Piece>)| {
    let (step, pieces) = input;
    let stream = &stream(&pieces, &KNOWN)[..];
    let limits = WireLimits { head_size: 2048, head_fields: 16, ..WireLimits::default() };
    let whole = verdict(limits, stream, usize::MAX);
    assert_eq!(verdict(limits, stream, usize::from(step.max(1))), whole, "in pieces of {step}");
    // What stands before the first bad byte, and before a head that is not complete, are messages
    // that another parser finds, too.
    let end = whole.bad.map_or(stream.len() - whole.held, |(at, _)| at);
    let others = messages(&stream[..end], &limits);
    let own = whole.heads
        - u64::from(matches!(whole.bad, Some((_, what)) if in_head(limits, stream, what)));
    assert_eq!(others, own, "another parser finds {others} heads, the scanner {own}");
});

/// Feeds the stream as the wrappers do: holds back, feeds again, refuses each upgrade.
fn verdict(limits: WireLimits, stream: &[u8], step: usize) -> Verdict {
    let mut scanner = RequestScanner::new(limits);
    let (mut begin, mut end) = (0, 0);
    while end < stream.len() {
        end = end.saturating_add(step).min(stream.len());
        loop {
            match scanner.feed(&stream[begin..end]) {
                Scan::Pass => begin = end,
                Scan::Partial { from } => begin += from,
                Scan::Bad { at, what, .. } => {
                    return Verdict {
                        bad: Some((begin + at, what)),
                        heads: scanner.heads(),
                        held: 0,
                    };
                }
                Scan::Upgrade { at } => {
                    begin += at;
                    scanner.resume();
                    continue;
                }
            }
            break;
        }
    }
    Verdict { bad: None, heads: scanner.heads(), held: stream.len() - begin }
}

/// The bad bytes are a head, which the scanner counts.
fn in_head(limits: WireLimits, stream: &[u8], _: Violation) -> bool {
    let mut scanner = RequestScanner::new(limits);
    let mut begin = 0;
    loop {
        match scanner.feed(&stream[begin..]) {
            Scan::Bad { in_head, .. } => return in_head,
            Scan::Upgrade { at } => {
                begin += at;
                scanner.resume();
            }
            Scan::Pass | Scan::Partial { .. } => return false,
        }
    }
}

/// How many heads another parser finds; it must find each, and each body's end.
fn messages(mut rest: &[u8], limits: &WireLimits) -> u64 {
    let mut heads = 0;
    loop {
        // Empty lines before a request (RFC 9112 §2.2).
        while let Some(after) = rest.strip_prefix(b"\r\n") {
            rest = after;
        }
        let mut fields = vec![httparse::EMPTY_HEADER; limits.head_fields];
        let mut request = httparse::Request::new(&mut fields);
        let len = match request.parse(rest) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return heads,
            Err(error) => panic!("{error} in {:?}", rest.escape_ascii().to_string()),
        };
        heads += 1;
        let hosts = request.headers.iter().filter(|f| f.name.eq_ignore_ascii_case("host")).count();
        assert!(hosts == 1 || (hosts == 0 && request.version == Some(0)), "{hosts} hosts");
        let body = framing(request.headers);
        rest = &rest[len..];
        match body {
            Body::None | Body::ToClose => {}
            Body::Length(len) if len > rest.len() => return heads,
            Body::Length(len) => rest = &rest[len..],
            Body::Chunked => match chunked_end(rest) {
                Some(end) => rest = &rest[end..],
                None => return heads,
            },
        }
    }
}

fn framing(fields: &[httparse::Header<'_>]) -> Body {
    let all = |name: &str| {
        fields.iter().filter(move |f| f.name.eq_ignore_ascii_case(name)).collect::<Vec<_>>()
    };
    let (codings, lengths) = (all("transfer-encoding"), all("content-length"));
    assert!(codings.len() + lengths.len() <= 1, "framed twice");
    if let Some(coding) = codings.first() {
        assert!(coding.value.trim_ascii().eq_ignore_ascii_case(b"chunked"));
        return Body::Chunked;
    }
    lengths.first().map_or(Body::None, |length| {
        let text = std::str::from_utf8(length.value).expect("digits").trim();
        assert!(text.bytes().all(|b| b.is_ascii_digit()), "{text}");
        Body::Length(text.parse().expect("a length"))
    })
}
