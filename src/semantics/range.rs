//! Range requests on a stored full response (RFC 9110 §14, §13.1.5).

use http::HeaderValue;

use super::date;
use super::stored::Stored;

/// What a Range comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum RangeAnswer {
    /// 200: no range that is understood, several of them, or If-Range does not hold.
    Whole,
    /// 206 with these bytes; `start <= end_inclusive < len`.
    Part {
        /// First byte.
        start: u64,
        /// Last byte.
        end_inclusive: u64,
    },
    /// 416.
    Unsatisfiable,
}

/// Resolves the Range of a GET against a stored 200 of `len` bytes. Several ranges are answered
/// in full, which is always allowed (§14.2).
pub fn resolve(
    range: &HeaderValue,
    if_range: Option<&HeaderValue>,
    stored: &Stored,
    len: u64,
) -> RangeAnswer {
    if if_range.is_some_and(|condition| !holds(condition, stored)) {
        return RangeAnswer::Whole;
    }
    let Some(spec) = range.to_str().ok().and_then(single_spec) else {
        return RangeAnswer::Whole;
    };
    match spec {
        Spec::From { first, .. } if first >= len => RangeAnswer::Unsatisfiable,
        Spec::From { first, last } => {
            let end_inclusive = last.unwrap_or(u64::MAX).min(len - 1);
            RangeAnswer::Part { start: first, end_inclusive }
        }
        Spec::Last(0) => RangeAnswer::Unsatisfiable,
        // No Content-Range can be written for nothing.
        Spec::Last(_) if len == 0 => RangeAnswer::Whole,
        Spec::Last(count) => {
            RangeAnswer::Part { start: len.saturating_sub(count), end_inclusive: len - 1 }
        }
    }
}

/// If-Range: a strong entity tag, or exactly the Last-Modified where that is a strong validator,
/// that is at least a second before Date (§8.8.2.2).
fn holds(condition: &HeaderValue, stored: &Stored) -> bool {
    if let Some(tag) = &stored.etag
        && tag.strong_eq(condition.as_bytes().trim_ascii())
    {
        return true;
    }
    match (date::parse(condition), stored.last_modified) {
        (Some(since), Some(modified)) => since == modified && modified < stored.date,
        _ => false,
    }
}

enum Spec {
    From { first: u64, last: Option<u64> },
    Last(u64),
}

/// One valid byte range; `None` for several, another unit, or anything else.
fn single_spec(text: &str) -> Option<Spec> {
    let (unit, set) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim_matches([' ', '\t']).split_once('-')?;
    match (first, last) {
        ("", count) => Some(Spec::Last(number(count)?)),
        (first, "") => Some(Spec::From { first: number(first)?, last: None }),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Spec::From { first, last: Some(last) })
        }
    }
}

/// Digits only; what does not fit is larger than any body.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::etag::EntityTag;
    use super::super::stored::tests::minute;
    use super::*;

    fn part(start: u64, end_inclusive: u64) -> RangeAnswer {
        RangeAnswer::Part { start, end_inclusive }
    }

    #[test]
    fn ranges() {
        use RangeAnswer::{Unsatisfiable, Whole};
        for (case, range, len, want) in [
            ("first bytes", "bytes=0-4", 10, part(0, 4)),
            ("one byte", "bytes=9-9", 10, part(9, 9)),
            ("to the end", "bytes=5-", 10, part(5, 9)),
            ("beyond the end", "bytes=5-99", 10, part(5, 9)),
            ("last bytes", "bytes=-3", 10, part(7, 9)),
            ("more than there are", "bytes=-99", 10, part(0, 9)),
            ("unit in capitals", "Bytes=0-4", 10, part(0, 4)),
            ("too large for a number", "bytes=0-99999999999999999999999", 10, part(0, 9)),
            ("behind the end", "bytes=10-", 10, Unsatisfiable),
            ("far behind", "bytes=99999999999999999999999-", 10, Unsatisfiable),
            ("last nothing", "bytes=-0", 10, Unsatisfiable),
            ("of nothing", "bytes=0-", 0, Unsatisfiable),
            ("last of nothing", "bytes=-1", 0, Whole),
            ("backwards", "bytes=4-0", 10, Whole),
            ("several", "bytes=0-1,3-4", 10, Whole),
            ("another unit", "lines=0-1", 10, Whole),
            ("no number", "bytes=a-b", 10, Whole),
            ("signs", "bytes=+1-2", 10, Whole),
            ("only a dash", "bytes=-", 10, Whole),
            ("nothing", "", 10, Whole),
        ] {
            let got = resolve(&HeaderValue::from_static(range), None, &minute(), len);
            assert_eq!(got, want, "{case}: {range} of {len}");
        }
    }

    #[test]
    fn if_range_is_strong() {
        const MODIFIED: &str = "Mon, 12 Jan 1970 13:45:00 GMT";
        let text = |text| HeaderValue::from_static(text);
        let strong = Stored { etag: EntityTag::parse(b"\"a\""), ..minute() };
        let weak = Stored { etag: EntityTag::parse(b"W/\"a\""), ..minute() };
        let dated = Stored { last_modified: date::parse(&text(MODIFIED)), ..minute() };
        let just_now = Stored { date: dated.last_modified.unwrap(), ..dated.clone() };
        for (case, stored, condition, holds) in [
            ("same tag", &strong, "\"a\"", true),
            ("another tag", &strong, "\"b\"", false),
            ("weak of us", &weak, "W/\"a\"", false),
            ("weak of the client", &strong, "W/\"a\"", false),
            ("same date", &dated, MODIFIED, true),
            ("later date", &dated, "Mon, 12 Jan 1970 13:45:01 GMT", false),
            ("modified in the second it was sent", &just_now, MODIFIED, false),
            ("nothing to compare", &minute(), "\"a\"", false),
        ] {
            let got = resolve(&text("bytes=0-4"), Some(&text(condition)), stored, 10);
            let want = if holds { part(0, 4) } else { RangeAnswer::Whole };
            assert_eq!(got, want, "{case}");
        }
    }

    proptest! {
        #[test]
        fn a_part_lies_within_the_whole(range in "bytes=[0-9-]{0,24}", len: u64) {
            let range = HeaderValue::from_str(&range).unwrap();
            if let RangeAnswer::Part { start, end_inclusive } = resolve(&range, None, &minute(), len) {
                prop_assert!(start <= end_inclusive && end_inclusive < len);
            }
        }
    }
}
