//! Chunked bodies: what the scanner lets pass another decoder reads alike, to the same end, and
//! however the bytes are cut the verdict is the same.

#![no_main]

use larder::semantics::wire::{RequestScanner, ResponseScanner, Scan, Violation, WireLimits};
use larder_fuzz::chunked_end;
use libfuzzer_sys::fuzz_target;

const REQUEST: &[u8] = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, body) = input;
    requests(cut, body);
    responses(body);
});

/// Where the body is bad, and why.
type Bad = Option<(usize, Violation)>;

fn fed(scanner: &mut RequestScanner, bytes: &[u8]) -> Bad {
    match scanner.feed(bytes) {
        Scan::Bad { at, what, .. } => Some((at, what)),
        _ => None,
    }
}

fn requests(cut: u8, body: &[u8]) {
    let mut scanner = RequestScanner::new(WireLimits::default());
    assert_eq!(scanner.feed(REQUEST), Scan::Pass);
    // The end of the first body, byte by byte.
    let mut end = None;
    let mut bad = None;
    for (at, byte) in body.iter().enumerate() {
        bad = fed(&mut scanner, &[*byte]).map(|(_, what)| (at, what));
        if bad.is_some() {
            break;
        }
        if scanner.between_messages() {
            end = Some(at + 1);
            break;
        }
    }
    if let Some(end) = end {
        assert_eq!(chunked_end(body), Some(end), "another decoder finds another end");
        assert_eq!(chunked_end(&body[..end - 1]), None, "it ended before");
    } else if bad.is_none() {
        assert_eq!(chunked_end(body), None, "another decoder finds an end");
    }
    // In two pieces, up to that end.
    let whole = &body[..end.unwrap_or(body.len())];
    let at = usize::from(cut).min(whole.len());
    let mut scanner = RequestScanner::new(WireLimits::default());
    assert_eq!(scanner.feed(REQUEST), Scan::Pass);
    let first = fed(&mut scanner, &whole[..at]);
    let second = if first.is_some() {
        first
    } else {
        fed(&mut scanner, &whole[at..]).map(|(bad, what)| (at + bad, what))
    };
    assert_eq!(second, bad, "in pieces of {at}");
    assert_eq!(scanner.between_messages(), end.is_some());
}

fn responses(body: &[u8]) {
    let mut scanner = ResponseScanner::new(WireLimits::default());
    scanner.expect(&http::Method::GET, false);
    assert_eq!(scanner.feed(RESPONSE), Scan::Pass);
    for at in 0..body.len() {
        if let Scan::Bad { .. } = scanner.feed(&body[at..=at]) {
            return;
        }
        if scanner.complete() {
            assert_eq!(chunked_end(body), Some(at + 1), "another decoder finds another end");
            return;
        }
    }
    assert_eq!(chunked_end(body), None, "another decoder finds an end");
}
