//! Vary: what selects is written so that no two lists of values read alike, and reads back.

#![no_main]

use arbitrary::Arbitrary;
use http::header::VARY;
use http::{HeaderMap, HeaderName, HeaderValue};
use larder::semantics::vary::{self, VaryRule};
use larder_fuzz::{field, joined};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 5] = ["x-a", "x-b", "cookie", "accept-language", "accept"];

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    vary: &'a [u8],
    negotiates: bool,
    /// Which of the names select.
    mask: u8,
    one: Vec<(u8, &'a [u8])>,
    other: Vec<(u8, &'a [u8])>,
}

fuzz_target!(|input: Input| {
    rule(input.vary, input.negotiates);
    let names: Vec<HeaderName> = (NAMES.iter().enumerate())
        .filter(|(nth, _)| input.mask & (1 << nth) != 0)
        .map(|(_, name)| HeaderName::from_static(name))
        .collect();
    let (one, other) = (request(&input.one), request(&input.other));
    let (first, second) = (values(&names, &one), values(&names, &other));
    let same = names.iter().all(|name| normal(name, &one) == normal(name, &other));
    assert_eq!(first == second, same, "{names:?} {one:?} {other:?}");
    let read: Vec<Option<&[u8]>> = vary::components(&first).collect();
    let want: Vec<Option<Vec<u8>>> = names.iter().map(|name| normal(name, &one)).collect();
    assert_eq!(read, want.iter().map(Option::as_deref).collect::<Vec<_>>());
});

fn rule(text: &[u8], negotiates: bool) {
    let headers = field(&VARY, text);
    let rule = vary::parse(&headers, negotiates);
    assert_eq!(vary::parse(&joined(&VARY, &headers), negotiates), rule, "one line or several");
    let lines = headers.get_all(VARY).iter().map(HeaderValue::as_bytes);
    let members: Vec<_> =
        lines.flat_map(|line| line.split(|b| *b == b',')).map(<[u8]>::trim_ascii).collect();
    let star = members.iter().any(|member| {
        *member == b"*" || (!member.is_empty() && HeaderName::from_bytes(member).is_err())
    });
    assert_eq!(rule == VaryRule::Star, star);
    assert_eq!(vary::is_star(&headers), star);
    if let VaryRule::On(names) = &rule {
        assert!(!names.is_empty() && names.windows(2).all(|two| two[0].as_str() < two[1].as_str()));
        assert!(
            names.iter().all(|name| members
                .iter()
                .any(|m| m.eq_ignore_ascii_case(name.as_str().as_bytes())))
        );
        assert!(!negotiates || names.iter().all(|name| *name != "accept-encoding"));
    }
    let named = members.iter().filter(|m| !m.is_empty());
    let counted = |m: &&&[u8]| !(negotiates && m.eq_ignore_ascii_case(b"accept-encoding"));
    assert_eq!(rule == VaryRule::None, !star && named.filter(counted).count() == 0);
}

fn request(lines: &[(u8, &[u8])]) -> HeaderMap {
    let mut request = HeaderMap::new();
    for (name, value) in lines {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            request.append(NAMES[usize::from(*name) % NAMES.len()], value);
        }
    }
    request
}

fn values(names: &[HeaderName], request: &HeaderMap) -> Vec<u8> {
    let mut out = Vec::new();
    vary::selecting_values(names, request, &mut out);
    out
}

/// RFC 9111 §4.1: lines combined, white space round separators removed, and where that keeps the
/// meaning letter case.
fn normal(name: &HeaderName, request: &HeaderMap) -> Option<Vec<u8>> {
    let separators: &[u8] = if name.as_str().starts_with("accept") { b",;" } else { b"," };
    let lines: Vec<&[u8]> =
        request.get_all(name).iter().map(|l| l.as_bytes().trim_ascii()).collect();
    if lines.is_empty() {
        return None;
    }
    let plain = |line: &&[u8]| {
        if line.contains(&b'"') {
            return line.to_vec();
        }
        let mut out: Vec<u8> = Vec::new();
        for (nth, part) in line.split_inclusive(|b| separators.contains(b)).enumerate() {
            let (text, mark) = match part.split_last() {
                Some((last, text)) if separators.contains(last) => (text, Some(*last)),
                _ => (part, None),
            };
            let _ = nth;
            let blank = |b: &u8| matches!(b, b' ' | b'\t');
            let from = text.iter().position(|b| !blank(b)).unwrap_or(text.len());
            let to = text.iter().rposition(|b| !blank(b)).map_or(from, |at| at + 1);
            out.extend_from_slice(&text[from..to]);
            out.extend(mark);
        }
        out
    };
    let mut joined = lines.iter().map(plain).collect::<Vec<_>>().join(&b","[..]);
    if name == "accept-language" {
        joined.make_ascii_lowercase();
    }
    Some(joined)
}
