//! However a stream is cut into reads, the verdict is the same, at the same byte.

use http::Method;
use proptest::prelude::*;

use super::{RequestScanner, ResponseScanner, Scan, Violation, WireLimits};

const LIMITS: WireLimits =
    WireLimits { head_size: 300, head_fields: 6, target_size: 60, chunk_ext: 12, trailers: 60 };

/// What a whole stream came to: what was bad and where, or how much of a head was left over.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    bad: Option<(usize, Violation, bool)>,
    held: usize,
    heads: u64,
    upgrades: Vec<usize>,
}

/// Feeds the stream as the wrappers do: holds back, feeds again, refuses each upgrade.
fn verdict(stream: &[u8], cuts: &[usize]) -> Verdict {
    let mut scanner = RequestScanner::new(LIMITS);
    let mut upgrades = Vec::new();
    let (mut begin, mut end) = (0, 0);
    let mut cuts = cuts.iter().copied().chain(std::iter::repeat(usize::MAX));
    while end < stream.len() {
        end = end.saturating_add(cuts.next().unwrap_or(usize::MAX)).min(stream.len());
        loop {
            match scanner.feed(&stream[begin..end]) {
                Scan::Pass => begin = end,
                Scan::Partial { from } => begin += from,
                Scan::Bad { at, what, in_head } => {
                    let bad = Some((begin + at, what, in_head));
                    return Verdict { bad, held: 0, heads: scanner.heads(), upgrades };
                }
                Scan::Upgrade { at } => {
                    begin += at;
                    upgrades.push(begin);
                    scanner.resume();
                    continue;
                }
            }
            break;
        }
    }
    Verdict { bad: None, held: stream.len() - begin, heads: scanner.heads(), upgrades }
}

fn response_verdict(stream: &[u8], cuts: &[usize]) -> (Option<(usize, Violation, bool)>, bool) {
    let mut scanner = ResponseScanner::new(LIMITS);
    scanner.expect(&Method::GET, false);
    let (mut begin, mut end) = (0, 0);
    let mut cuts = cuts.iter().copied().chain(std::iter::repeat(usize::MAX));
    while end < stream.len() {
        end = end.saturating_add(cuts.next().unwrap_or(usize::MAX)).min(stream.len());
        match scanner.feed(&stream[begin..end]) {
            Scan::Pass => begin = end,
            Scan::Partial { from } => begin += from,
            Scan::Bad { at, what, in_head } => return (Some((begin + at, what, in_head)), false),
            Scan::Upgrade { .. } => panic!("no upgrade in responses"),
        }
    }
    (None, scanner.complete())
}

fn chunked() -> impl Strategy<Value = Vec<u8>> {
    let chunk = (prop::collection::vec(any::<u8>(), 1..20), prop::option::of("[a-z]{1,3}"));
    (prop::collection::vec(chunk, 0..4), prop::option::of("[a-z ]{0,10}")).prop_map(
        |(chunks, trailer)| {
            let mut body = Vec::new();
            for (data, extension) in chunks {
                let extension = extension.map(|e| format!(";{e}")).unwrap_or_default();
                // Extensions in all must fit: at most three of four bytes.
                let extension = if body.len() < 40 { extension } else { String::new() };
                body.extend(format!("{:x}{extension}\r\n", data.len()).bytes());
                body.extend(data);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\n");
            if let Some(value) = trailer {
                body.extend(format!("X-Sum: {value}\r\n").bytes());
            }
            body.extend(b"\r\n");
            body
        },
    )
}

/// Fields for the head, and the body they announce.
fn framed() -> impl Strategy<Value = (String, Vec<u8>)> {
    prop_oneof![
        Just((String::new(), Vec::new())),
        prop::collection::vec(any::<u8>(), 0..40)
            .prop_map(|body| (format!("Content-Length: {}\r\n", body.len()), body)),
        chunked().prop_map(|body| ("Transfer-Encoding: chunked\r\n".to_owned(), body)),
    ]
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let upgrade = prop::bool::weighted(0.1);
    (0..3usize, "[A-Z]{1,6}", "/[!$-;=?-_a-~]{0,20}", "[ -~\t]{0,40}", framed(), upgrade).prop_map(
        |(blank, method, target, value, (fields, body), upgrade)| {
            let upgrade = if upgrade { "Connection: upgrade\r\nUpgrade: x\r\n" } else { "" };
            let head = format!(
                "{}{method} {target} HTTP/1.1\r\nHost: h\r\n{fields}{upgrade}X: {value}\r\n\r\n",
                "\r\n".repeat(blank)
            );
            [head.into_bytes(), body].concat()
        },
    )
}

/// A response with content, and whether its framing tells where it ends.
fn response() -> impl Strategy<Value = (Vec<u8>, bool)> {
    let status = prop::sample::select(vec![200u16, 206, 301, 404, 500, 799]);
    (0..3usize, status, framed()).prop_map(|(interim, status, (fields, body))| {
        let head = format!(
            "{}HTTP/1.1 {status} Why\r\n{fields}\r\n",
            "HTTP/1.1 103 Early\r\nLink: a\r\n\r\n".repeat(interim)
        );
        ([head.into_bytes(), body].concat(), !fields.is_empty())
    })
}

/// A byte of the stream replaced, put in or taken out: by what framing is made of.
fn damage() -> impl Strategy<Value = (prop::sample::Index, u8, Option<u8>)> {
    let byte = prop::sample::select(b"\r\n\0 \t:;,0aH/#\x7f\xff".to_vec());
    (any::<prop::sample::Index>(), 0..3u8, prop::option::of(byte))
}

fn damaged(mut stream: Vec<u8>, damages: &[(prop::sample::Index, u8, Option<u8>)]) -> Vec<u8> {
    for (index, how, byte) in damages {
        if stream.is_empty() {
            break;
        }
        let at = index.index(stream.len());
        match (how, byte) {
            (0, Some(byte)) => stream[at] = *byte,
            (1, Some(byte)) => stream.insert(at, *byte),
            _ => drop(stream.remove(at)),
        }
    }
    stream
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        prop::collection::vec(1..40usize, 0..60),
        Just(vec![1; 4000]),
        prop::collection::vec(1..3usize, 4000),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn valid_requests_pass_and_are_counted(
        requests in prop::collection::vec(request(), 1..6), cuts in cuts(),
    ) {
        let stream = requests.concat();
        let found = verdict(&stream, &cuts);
        prop_assert_eq!(found.bad, None, "{}", stream.escape_ascii());
        prop_assert_eq!(found.held, 0);
        prop_assert_eq!(found.heads, requests.len() as u64);
    }

    #[test]
    fn cutting_changes_nothing(
        requests in prop::collection::vec(request(), 1..5),
        damages in prop::collection::vec(damage(), 0..3),
        cuts in cuts(),
    ) {
        let stream = damaged(requests.concat(), &damages);
        let whole = verdict(&stream, &[]);
        prop_assert_eq!(verdict(&stream, &cuts), whole, "{}", stream.escape_ascii());
    }

    #[test]
    fn valid_responses_end_exactly_or_at_the_close(
        (response, framed) in response(), cuts in cuts(),
    ) {
        let found = response_verdict(&response, &cuts);
        prop_assert_eq!(found, (None, framed), "{}", response.escape_ascii());
    }

    #[test]
    fn cutting_changes_nothing_in_responses(
        (response, _) in response(),
        damages in prop::collection::vec(damage(), 0..3),
        cuts in cuts(),
    ) {
        let stream = damaged(response, &damages);
        let whole = response_verdict(&stream, &[]);
        prop_assert_eq!(response_verdict(&stream, &cuts), whole, "{}", stream.escape_ascii());
    }

    #[test]
    fn any_bytes_get_a_verdict(stream in prop::collection::vec(any::<u8>(), 0..400), cuts in cuts()) {
        prop_assert_eq!(verdict(&stream, &cuts), verdict(&stream, &[]));
    }
}
