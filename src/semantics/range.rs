//! Range requests and their answers (RFC 9110 §14), on what is stored in whole or in part.

use http::header::{DATE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE};
use http::{HeaderMap, HeaderValue};

use super::date;
use super::etag::EntityTag;
use super::spans::{Span, coalesced};
use super::stored::Stored;
use super::time::Timestamp;

/// More ranges than this in one request are ignored, which is always allowed (§14.2): the whole
/// is sent. Real clients ask for a dozen at most.
const MAX_RANGES: usize = 32;

/// Ranges closer to each other than the head of a part is long are sent as one (§15.3.7.2).
const PART_OVERHEAD: u64 = 80;

/// One range as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spec {
    From { first: u64, last: Option<u64> },
    Last(u64),
}

/// A valid Range: byte ranges, at least one, at most [`MAX_RANGES`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges {
    first: Spec,
    others: Vec<Spec>,
}

/// What a Range comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum RangeAnswer {
    /// 200: there is nothing that a part could be of, or If-Range does not hold.
    Whole,
    /// 206 with these bytes.
    Part(Span),
    /// 206 with several parts, in this order; none overlaps or touches another.
    Parts(Vec<Span>),
    /// 416.
    Unsatisfiable,
}

impl Ranges {
    /// The Range of a request, if it has exactly one that is understood. Whatever else stands
    /// there is to be ignored (§14.2).
    pub fn of(request: &HeaderMap) -> Option<Self> {
        let mut lines = request.get_all(RANGE).iter();
        match (lines.next(), lines.next()) {
            (Some(line), None) => Self::parse(line),
            _ => None,
        }
    }

    fn parse(value: &HeaderValue) -> Option<Self> {
        let (unit, set) = value.to_str().ok()?.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let mut specs = set.split(',').map(|spec| spec.trim_matches([' ', '\t']));
        let mut specs = specs.by_ref().filter(|spec| !spec.is_empty());
        let first = Spec::parse(specs.next()?)?;
        let mut others = Vec::new();
        for spec in specs {
            if others.len() + 1 == MAX_RANGES {
                return None;
            }
            others.push(Spec::parse(spec)?);
        }
        Some(Self { first, others })
    }

    /// It asks for one range only.
    pub fn is_single(&self) -> bool {
        self.others.is_empty()
    }

    /// What of a representation of `len` bytes is asked for.
    pub fn resolve(&self, len: u64) -> RangeAnswer {
        if len == 0 && self.specs().any(|spec| matches!(spec, Spec::Last(1..))) {
            return RangeAnswer::Whole; // no Content-Range can be written for nothing
        }
        if self.is_single() {
            let span = self.first.resolve(len);
            return span.map_or(RangeAnswer::Unsatisfiable, RangeAnswer::Part);
        }
        let spans = self.specs().filter_map(|spec| spec.resolve(len)).collect();
        let parts = coalesced(spans, PART_OVERHEAD);
        match parts.as_slice() {
            [] => RangeAnswer::Unsatisfiable,
            [one] => RangeAnswer::Part(*one),
            _ => RangeAnswer::Parts(parts),
        }
    }

    /// The same request with overlapping ranges made one, as far as that can be seen without
    /// knowing the length. `None`: it asks for the whole.
    pub fn coalesced(&self) -> Option<HeaderValue> {
        let spans = self.specs().filter_map(|spec| match spec {
            Spec::From { first, last } => {
                Span::new(first, last.map_or(u64::MAX, |last| last.saturating_add(1)))
            }
            Spec::Last(_) => None,
        });
        let mut specs = Vec::new();
        for span in coalesced(spans.collect(), 0) {
            specs.push(match (span.from(), span.to()) {
                (0, u64::MAX) => return None,
                (from, u64::MAX) => format!("{from}-"),
                (from, to) => format!("{from}-{}", to - 1), // to > from
            });
        }
        let suffix = self.specs().filter_map(|spec| match spec {
            Spec::Last(count) => Some(count),
            Spec::From { .. } => None,
        });
        specs.extend(suffix.max().map(|count| format!("-{count}")));
        if specs.is_empty() {
            specs.push(format!("{}-", u64::MAX)); // behind every byte that there can be
        }
        HeaderValue::try_from(format!("bytes={}", specs.join(","))).ok()
    }

    fn specs(&self) -> impl Iterator<Item = Spec> {
        std::iter::once(self.first).chain(self.others.iter().copied())
    }
}

impl Spec {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once('-')? {
            ("", count) => Some(Self::Last(number(count)?)),
            (first, "") => Some(Self::From { first: number(first)?, last: None }),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::From { first, last: Some(last) })
            }
        }
    }

    /// `None`: there is no such byte.
    fn resolve(self, len: u64) -> Option<Span> {
        match self {
            Self::From { first, last } => {
                Span::new(first, last.map_or(len, |last| last.saturating_add(1).min(len)))
            }
            Self::Last(count) => Span::new(len.saturating_sub(count), len),
        }
    }
}

/// Resolves the Range of a GET against a stored response to be answered with 200, of `len` bytes.
pub fn resolve(request: &HeaderMap, stored: &Stored, len: u64) -> RangeAnswer {
    if request.get(IF_RANGE).is_some_and(|condition| !holds(condition, stored)) {
        return RangeAnswer::Whole;
    }
    Ranges::of(request).map_or(RangeAnswer::Whole, |ranges| ranges.resolve(len))
}

/// If-Range: a strong entity tag, or exactly the Last-Modified where that is a strong validator.
fn holds(condition: &HeaderValue, stored: &Stored) -> bool {
    if let Some(tag) = &stored.etag
        && tag.strong_eq(condition.as_bytes().trim_ascii())
    {
        return true;
    }
    let modified = strong_date(stored.last_modified, Some(stored.date));
    modified.is_some() && modified == date::parse(condition).map(Strong::Date)
}

/// A strong validator: two parts that have it are of one representation (RFC 9111 §3.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strong {
    /// A strong entity tag.
    Tag(EntityTag),
    /// A Last-Modified, where there is no entity tag.
    Date(Timestamp),
}

impl Strong {
    /// That of `stored`, if it has one.
    pub fn of(stored: &Stored) -> Option<Self> {
        match &stored.etag {
            Some(tag) => (!tag.is_weak()).then(|| Self::Tag(tag.clone())),
            None => strong_date(stored.last_modified, Some(stored.date)),
        }
    }

    /// That of a response with these header fields.
    pub fn of_fields(fields: &HeaderMap) -> Option<Self> {
        if let Some(tag) = fields.get(ETAG) {
            let tag = EntityTag::parse(tag.as_bytes())?;
            return (!tag.is_weak()).then_some(Self::Tag(tag));
        }
        let date_of = |name| fields.get(name).and_then(date::parse);
        strong_date(date_of(LAST_MODIFIED), date_of(DATE))
    }

    /// The If-Range with which more is asked for (RFC 9110 §13.1.5).
    pub fn condition(&self) -> Option<HeaderValue> {
        match self {
            Self::Tag(tag) => HeaderValue::from_bytes(tag.as_bytes()).ok(),
            Self::Date(modified) => Some(date::format(*modified)),
        }
    }
}

/// The Range that asks for `span` of a whole of `len` bytes; to its end where it goes so far.
pub fn range_value(span: Span, len: u64) -> HeaderValue {
    let text = match span.to() {
        to if to >= len => format!("bytes={}-", span.from()),
        to => format!("bytes={}-{}", span.from(), to - 1), // a span is not empty
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("bytes=0-")) // always valid
}

/// Last-Modified is a strong validator where it is at least a second before Date (§8.8.2.2).
fn strong_date(modified: Option<Timestamp>, date: Option<Timestamp>) -> Option<Strong> {
    let modified = modified.filter(|modified| date.is_some_and(|date| *modified < date));
    modified.map(Strong::Date)
}

/// Digits only; what does not fit is larger than any body.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::stored::tests::minute;
    use super::*;

    fn span(from: u64, to: u64) -> Span {
        Span::new(from, to).unwrap()
    }

    fn part(first: u64, last: u64) -> RangeAnswer {
        RangeAnswer::Part(span(first, last + 1))
    }

    fn request(range: &str, if_range: Option<&str>) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.insert(RANGE, HeaderValue::from_str(range).unwrap());
        if let Some(condition) = if_range {
            map.insert(IF_RANGE, HeaderValue::from_str(condition).unwrap());
        }
        map
    }

    #[test]
    fn ranges() {
        use RangeAnswer::{Parts, Unsatisfiable, Whole};
        let many = |count: usize| format!("bytes={}", vec!["0-0"; count].join(","));
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
            ("another unit", "lines=0-1", 10, Whole),
            ("no number", "bytes=a-b", 10, Whole),
            ("signs", "bytes=+1-2", 10, Whole),
            ("only a dash", "bytes=-", 10, Whole),
            ("no range", "bytes=", 10, Whole),
            ("nothing", "", 10, Whole),
            ("two", "bytes=0-1,500-501", 600, Parts(vec![span(0, 2), span(500, 502)])),
            ("in their order", "bytes=-2, 0-1", 600, Parts(vec![span(598, 600), span(0, 2)])),
            ("empty members", "bytes=,0-1,,500-501,", 600, Parts(vec![span(0, 2), span(500, 502)])),
            ("overlapping", "bytes=0-5,3-8", 10, part(0, 8)),
            ("nearer than a part's head", "bytes=0-1,60-61", 600, part(0, 61)),
            ("one of two exists", "bytes=0-1,900-", 600, part(0, 1)),
            ("none of two exists", "bytes=700-,900-", 600, Unsatisfiable),
            ("one of two is none", "bytes=0-1,5-2", 10, Whole),
            ("thirty-two", &many(32), 600, part(0, 0)),
            ("too many", &many(33), 600, Whole),
        ] {
            let got = resolve(&request(range, None), &minute(), len);
            assert_eq!(got, want, "{case}: {range} of {len}");
        }
        let mut twice = request("bytes=0-1", None);
        twice.append(RANGE, HeaderValue::from_static("bytes=4-5"));
        assert_eq!(resolve(&twice, &minute(), 10), Whole, "two lines");
    }

    #[test]
    fn what_overlaps_is_one() {
        for (case, range, want) in [
            ("as it was", "bytes=0-4,500-", Some("bytes=0-4,500-")),
            ("out of order", "bytes=500-,0-4", Some("bytes=500-,0-4")),
            ("overlapping", "bytes=0-5,3-8,100-", Some("bytes=0-8,100-")),
            ("touching", "bytes=0-5,6-8", Some("bytes=0-8")),
            ("again and again", "bytes=5-,5-,5-,5-", Some("bytes=5-")),
            ("suffixes", "bytes=-5,-99,-1", Some("bytes=-99")),
            ("all", "bytes=0-,5-", None),
            (
                "behind any end",
                "bytes=18446744073709551615-,99999999999999999999-",
                Some("bytes=18446744073709551615-"),
            ),
            ("last nothing", "bytes=-0,-0", Some("bytes=-0")),
            ("the same beside others", "bytes=99999999999999999999-,-5", Some("bytes=-5")),
        ] {
            let ranges = Ranges::of(&request(range, None)).unwrap();
            let got = ranges.coalesced();
            assert_eq!(got.as_ref().map(|value| value.to_str().unwrap()), want, "{case}: {range}");
        }
    }

    const MODIFIED: &str = "Mon, 12 Jan 1970 13:45:00 GMT";

    fn tagged(tag: &str) -> Stored {
        Stored { etag: EntityTag::parse(tag.as_bytes()), ..minute() }
    }

    fn dated() -> Stored {
        let modified = date::parse(&HeaderValue::from_static(MODIFIED));
        Stored { last_modified: modified, ..minute() }
    }

    fn just_now() -> Stored {
        Stored { date: dated().last_modified.unwrap(), ..dated() }
    }

    #[test]
    fn if_range_is_strong() {
        for (case, stored, condition, holds) in [
            ("same tag", tagged("\"a\""), "\"a\"", true),
            ("another tag", tagged("\"a\""), "\"b\"", false),
            ("weak of us", tagged("W/\"a\""), "W/\"a\"", false),
            ("weak of the client", tagged("\"a\""), "W/\"a\"", false),
            ("same date", dated(), MODIFIED, true),
            ("later date", dated(), "Mon, 12 Jan 1970 13:45:01 GMT", false),
            ("modified in the second it was sent", just_now(), MODIFIED, false),
            ("nothing to compare", minute(), "\"a\"", false),
        ] {
            let got = resolve(&request("bytes=0-4", Some(condition)), &stored, 10);
            let want = if holds { part(0, 4) } else { RangeAnswer::Whole };
            assert_eq!(got, want, "{case}");
        }
    }

    #[test]
    fn only_a_strong_validator_tells_that_parts_are_of_one_whole() {
        let both = Stored { etag: tagged("W/\"a\"").etag, ..dated() };
        for (case, stored, want) in [
            ("a tag", tagged("\"a\""), Some("\"a\"")),
            ("a weak tag", tagged("W/\"a\""), None),
            ("a date", dated(), Some(MODIFIED)),
            ("a date of that second", just_now(), None),
            ("a weak tag, and a date", both, None),
            ("nothing", minute(), None),
        ] {
            let strong = Strong::of(&stored);
            let got = strong.as_ref().and_then(Strong::condition);
            assert_eq!(got.as_ref().map(|value| value.to_str().unwrap()), want, "{case}");
        }
    }

    #[test]
    fn validators_of_what_has_just_come() {
        const NOW: &str = "Mon, 12 Jan 1970 13:46:40 GMT";
        let tag = || EntityTag::parse(b"\"a\"").map(Strong::Tag);
        let (etag, modified, date) = ("etag", "last-modified", "date");
        for (case, lines, want) in [
            ("a tag", &[(etag, "\"a\"")][..], tag()),
            ("a tag and a date", &[(etag, "\"a\""), (modified, MODIFIED), (date, NOW)], tag()),
            ("a date", &[(modified, MODIFIED), (date, NOW)], Strong::of(&dated())),
            (
                "a weak tag and a date",
                &[(etag, "W/\"a\""), (modified, MODIFIED), (date, NOW)],
                None,
            ),
            ("no tag at all", &[(etag, "a"), (modified, MODIFIED), (date, NOW)], None),
            ("a date without Date", &[(modified, MODIFIED)], None),
            ("just modified", &[(modified, NOW), (date, NOW)], None),
            ("nothing", &[], None),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in lines {
                map.insert(*name, HeaderValue::from_static(value));
            }
            assert_eq!(Strong::of_fields(&map), want, "{case}");
        }
    }

    proptest! {
        #[test]
        fn parts_are_what_was_asked_for_and_lie_within_the_whole(
            specs in proptest::collection::vec((0..300_u64, 0..300_u64, 0..3_u8), 1..6),
            len in 0..300_u64,
        ) {
            let texts: Vec<String> = specs.iter().map(|(a, b, kind)| match kind {
                0 => format!("{}-{}", a.min(b), a.max(b)),
                1 => format!("{a}-"),
                _ => format!("-{a}"),
            }).collect();
            let asked = |at: u64| specs.iter().any(|(a, b, kind)| match kind {
                0 => at >= *a.min(b) && at <= *a.max(b),
                1 => at >= *a,
                _ => at + a >= len,
            });
            let range = format!("bytes={}", texts.join(", "));
            let parts = match resolve(&request(&range, None), &minute(), len) {
                RangeAnswer::Part(one) => vec![one],
                RangeAnswer::Parts(parts) => parts,
                RangeAnswer::Unsatisfiable => vec![],
                RangeAnswer::Whole => {
                    prop_assert_eq!(len, 0);
                    return Ok(());
                }
            };
            let sent = |at: u64| parts.iter().filter(|p| (p.from()..p.to()).contains(&at)).count();
            for at in 0..len {
                prop_assert!(sent(at) == 1 || (sent(at) == 0 && !asked(at)), "{} at {}", range, at);
            }
            prop_assert!(parts.iter().all(|part| part.to() <= len));
        }

        #[test]
        fn whatever_is_asked_nothing_panics(range in "bytes=[0-9,-]{0,40}", len: u64) {
            let request = request(&range, None);
            let _ = Ranges::of(&request).map(|ranges| ranges.coalesced());
            match resolve(&request, &minute(), len) {
                RangeAnswer::Part(part) => prop_assert!(part.to() <= len),
                RangeAnswer::Parts(parts) => prop_assert!(parts.iter().all(|part| part.to() <= len)),
                RangeAnswer::Whole | RangeAnswer::Unsatisfiable => {}
            }
        }
    }

    #[test]
    fn what_is_asked_of_the_origin() {
        for (case, wanted, len, want) in [
            ("inside", span(3, 5), 10, "bytes=3-4"),
            ("one byte", span(0, 1), 10, "bytes=0-0"),
            ("to the end", span(3, 10), 10, "bytes=3-"),
            ("beyond it", span(3, 11), 10, "bytes=3-"),
        ] {
            assert_eq!(range_value(wanted, len), want, "{case}");
        }
    }

    #[test]
    fn one_range_or_several() {
        for (range, single) in [("bytes=0-1", true), ("bytes=-5", true), ("bytes=0-1,5-6", false)] {
            assert_eq!(Ranges::of(&request(range, None)).unwrap().is_single(), single, "{range}");
        }
    }
}
