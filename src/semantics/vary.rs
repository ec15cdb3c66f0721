//! Vary: the header fields that select among stored responses (RFC 9111 §4.1).

use http::header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE, VARY};
use http::{HeaderMap, HeaderName};

use super::coding::Accepted;

/// What a response's Vary asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VaryRule {
    /// One response for all.
    None,
    /// No stored response fits any request.
    Star,
    /// These select: lower case, sorted, each once.
    On(Box<[HeaderName]>),
}

/// Reads Vary. `*` anywhere, and what is no field name, counts as `*`. With `negotiates` Larder
/// itself answers for Accept-Encoding, which is left out then.
pub fn parse(headers: &HeaderMap, negotiates: bool) -> VaryRule {
    let mut names = Vec::new();
    for line in headers.get_all(VARY) {
        for member in line.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            if member.is_empty() {
                continue;
            }
            // `*` is a valid field name to the grammar.
            match HeaderName::from_bytes(member) {
                Ok(name) if name.as_str() != "*" => names.push(name),
                _ => return VaryRule::Star,
            }
        }
    }
    if negotiates {
        names.retain(|name| *name != ACCEPT_ENCODING);
    }
    names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    if names.is_empty() { VaryRule::None } else { VaryRule::On(names.into()) }
}

/// Vary says that no stored response fits.
pub fn is_star(headers: &HeaderMap) -> bool {
    headers.contains_key(VARY) && parse(headers, false) == VaryRule::Star
}

/// Writes the request's values of `names` behind what `out` holds. Each is preceded by its
/// length, so that no two lists of values read alike; absent and empty differ.
///
/// Normalised where that keeps the meaning (RFC 9111 §4.1): lines combined, white space round the
/// commas of lists removed (in the lists named `Accept…` round semicolons, too), Accept-Language in
/// lower case, Accept-Encoding as the origin is asked.
pub fn selecting_values(names: &[HeaderName], request: &HeaderMap, out: &mut Vec<u8>) {
    for name in names {
        if *name == ACCEPT_ENCODING {
            push_value(out, |out| {
                out.extend_from_slice(Accepted::of(request).for_origin().as_bytes());
            });
            continue;
        }
        let mut lines = request.get_all(name).iter().peekable();
        if lines.peek().is_none() {
            out.push(ABSENT);
            continue;
        }
        let separators: &[u8] = if name.as_str().starts_with("accept") { b",;" } else { b"," };
        push_value(out, |out| {
            let start = out.len();
            for (nth, line) in lines.enumerate() {
                if nth > 0 {
                    out.push(b',');
                }
                push_list(line.as_bytes().trim_ascii(), separators, out);
            }
            if *name == ACCEPT_LANGUAGE
                && let Some(written) = out.get_mut(start..)
            {
                written.make_ascii_lowercase();
            }
        });
    }
}

/// The values that [`selecting_values`] wrote, one a name; `None`: the field was absent.
pub fn components(mut written: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    std::iter::from_fn(move || {
        let (mark, rest) = written.split_first()?;
        if *mark == ABSENT {
            written = rest;
            return Some(None);
        }
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        written = rest;
        Some(Some(value))
    })
}

const ABSENT: u8 = 0;
const PRESENT: u8 = 1;

/// A mark, the length, the value that `write` appends.
fn push_value(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(PRESENT);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let len = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    if let Some(slot) = out.get_mut(at..at + 4) {
        slot.copy_from_slice(&len.to_be_bytes());
    }
}

/// A list without white space around its separators; with quoted strings in it as it is.
fn push_list(value: &[u8], separators: &[u8], out: &mut Vec<u8>) {
    if value.contains(&b'"') {
        out.extend_from_slice(value);
        return;
    }
    let start = out.len();
    for byte in value.iter().copied() {
        let separates = |b: &u8| separators.contains(b);
        match byte {
            b' ' | b'\t' if out.len() == start || out.last().is_some_and(separates) => {}
            _ if separates(&byte) => {
                while out.len() > start && matches!(out.last(), Some(b' ' | b'\t')) {
                    out.pop();
                }
                out.push(byte);
            }
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn rules() {
        for (case, lines, want) in [
            ("absent", &[][..], Some(&[][..])),
            ("empty", &[""], Some(&[])),
            ("one", &["Accept"], Some(&["accept"])),
            ("sorted, once each", &["b, A", "a,,B"], Some(&["a", "b"])),
            ("star", &["*"], None),
            ("star among others", &["a, *"], None),
            ("star in a later line", &["a", "*, b"], None),
            ("no field name", &["a b"], None),
            ("Accept-Encoding", &["accept-encoding, a"], Some(&["a", "accept-encoding"])),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| ("vary", *line)).collect();
            let got = parse(&headers(&lines), false);
            let want = match want {
                None => VaryRule::Star,
                Some([]) => VaryRule::None,
                Some(names) => {
                    VaryRule::On(names.iter().map(|name| HeaderName::from_static(name)).collect())
                }
            };
            assert_eq!(got, want, "{case}");
            assert_eq!(is_star(&headers(&lines)), want == VaryRule::Star, "{case}");
        }
        let negotiated = parse(&headers(&[("vary", "Accept-Encoding")]), true);
        assert_eq!(negotiated, VaryRule::None, "Larder answers for codings");
    }

    fn values(names: &[&'static str], lines: &[(&'static str, &str)]) -> Vec<u8> {
        let names: Vec<_> = names.iter().map(|name| HeaderName::from_static(name)).collect();
        let mut out = Vec::new();
        selecting_values(&names, &headers(lines), &mut out);
        out
    }

    #[test]
    fn values_that_mean_the_same_are_the_same() {
        for (case, name, one, other, same) in [
            ("equal", "x", &["a"][..], &["a"][..], true),
            ("different", "x", &["a"], &["b"], false),
            ("absent is not empty", "x", &[], &[""], false),
            ("letter case counts", "x", &["a"], &["A"], false),
            ("white space around", "x", &["a"], &["a "], true),
            ("white space round commas", "x", &[" a ,b "], &["a, b"], true),
            ("lines", "x", &["a", "b"], &["a, b"], true),
            ("white space within members counts", "x", &["a b"], &["a  b"], false),
            ("white space round semicolons", "x", &["a; b"], &["a;b"], false),
            ("within quotes", "x", &["\"a, b\""], &["\"a,b\""], false),
            ("letter case of languages", "accept-language", &["En, dE"], &["en,de"], true),
            ("letter case of types", "accept", &["a/b"], &["A/b"], false),
            ("nor in Accept lists", "accept-language", &["a , b; q=1"], &["a,b;q=1"], true),
            ("lines of a list", "accept-language", &["a", "b"], &["a, b"], true),
            ("order counts", "accept-language", &["a,b"], &["b,a"], false),
            ("codings by what they allow", "accept-encoding", &["deflate, gzip"], &["gzip"], true),
            ("no coding at all", "accept-encoding", &["identity"], &[], true),
            ("gzip or not", "accept-encoding", &["gzip"], &["gzip;q=0"], false),
        ] {
            let line = |values: &'static [&str]| -> Vec<_> {
                values.iter().map(|value| (name, *value)).collect()
            };
            let got = values(&[name], &line(one)) == values(&[name], &line(other));
            assert_eq!(got, same, "{case}: {one:?} {other:?}");
        }
    }

    #[test]
    fn values_are_read_as_they_were_written() {
        let written = values(&["a", "b", "c"], &[("a", "1"), ("c", "")]);
        let read: Vec<_> = components(&written).collect();
        assert_eq!(read, [Some(&b"1"[..]), None, Some(&b""[..])]);
        assert_eq!(components(&written[..3]).count(), 0, "cut off");
    }

    proptest! {
        #[test]
        fn values_never_run_together(
            one in proptest::collection::vec(proptest::option::of("[a\u{1}]{0,3}"), 2),
            other in proptest::collection::vec(proptest::option::of("[a\u{1}]{0,3}"), 2),
        ) {
            let clean = |v: &[Option<String>]| -> Vec<Option<String>> {
                v.iter().map(|o| o.as_ref().map(|s| s.replace('\u{1}', ","))).collect()
            };
            let (one, other) = (clean(&one), clean(&other));
            let write = |v: &[Option<String>]| {
                let lines: Vec<_> = ["x", "y"].into_iter().zip(v)
                    .filter_map(|(name, value)| Some((name, value.as_deref()?))).collect();
                values(&["x", "y"], &lines)
            };
            prop_assert_eq!(write(&one) == write(&other), one == other);
        }
    }

    #[test]
    fn a_list_leaves_what_stands_before_it() {
        let mut out = b"a ".to_vec();
        push_list(b" ,b , c", b",", &mut out);
        assert_eq!(out, b"a ,b,c");
    }
}
