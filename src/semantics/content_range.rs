//! What a 206 says that it holds (RFC 9110 §14.4).

use http::header::CONTENT_RANGE;
use http::{HeaderMap, HeaderValue};

use super::spans::Span;

/// A Content-Range that can be worked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// The bytes that it holds; they lie within the whole.
    pub span: Span,
    /// Length of the whole.
    pub complete: u64,
}

impl ContentRange {
    /// Reads the one Content-Range of a response. `None`: there is not exactly one, it contradicts
    /// itself, or does not tell the length of the whole.
    pub fn of(response: &HeaderMap) -> Option<Self> {
        let mut lines = response.get_all(CONTENT_RANGE).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        let (unit, range) = line.to_str().ok()?.trim().split_once(' ')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (positions, complete) = range.trim_start().split_once('/')?;
        let (first, last) = positions.split_once('-')?;
        let [first, last, complete] = [exact(first)?, exact(last)?, exact(complete)?];
        let span = Span::new(first, last.checked_add(1)?)?;
        (span.to() <= complete).then_some(Self { span, complete })
    }

    /// As a header field's value.
    pub fn value(self) -> Option<HeaderValue> {
        let Self { span, complete } = self;
        HeaderValue::try_from(format!("bytes {}-{}/{complete}", span.from(), span.to() - 1)).ok()
    }
}

/// Digits only, and not more than can be counted.
fn exact(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        let of = |lines: &[&str]| {
            let mut map = HeaderMap::new();
            for line in lines {
                map.append(CONTENT_RANGE, HeaderValue::from_str(line).unwrap());
            }
            ContentRange::of(&map)
        };
        for (case, line, want) in [
            ("a part", "bytes 2-4/10", Some((2, 5, 10))),
            ("all", "bytes 0-9/10", Some((0, 10, 10))),
            ("unit in capitals", "BYTES 0-0/1", Some((0, 1, 1))),
            (
                "the last there can be",
                "bytes 0-18446744073709551614/18446744073709551615",
                Some((0, u64::MAX, u64::MAX)),
            ),
            ("beyond all numbers", "bytes 0-18446744073709551615/18446744073709551615", None),
            ("too large for a number", "bytes 0-1/99999999999999999999999", None),
            ("length unknown", "bytes 0-1/*", None),
            ("unsatisfied", "bytes */10", None),
            ("backwards", "bytes 4-2/10", None),
            ("beyond the end", "bytes 4-10/10", None),
            ("another unit", "lines 0-1/10", None),
            ("without a unit", "0-1/10", None),
            ("as a Range", "bytes=0-1/10", None),
            ("signs", "bytes +0-1/10", None),
            ("without length", "bytes 0-1", None),
            ("nothing", "", None),
        ] {
            let want = want.map(|(from, to, complete)| ContentRange {
                span: Span::new(from, to).unwrap(),
                complete,
            });
            assert_eq!(of(&[line]), want, "{case}: {line}");
            if let Some(range) = want.filter(|_| case != "unit in capitals") {
                assert_eq!(range.value().unwrap(), line, "{case}");
            }
        }
        assert_eq!(of(&["bytes 0-1/10", "bytes 0-1/10"]), None, "two lines");
        assert_eq!(of(&[]), None);
    }
}
