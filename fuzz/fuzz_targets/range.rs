//! Ranges: parts lie within the content, none touches another, and they cover what was asked for.

#![no_main]

use arbitrary::Arbitrary;
use http::header::{CONTENT_RANGE, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue};
use larder::semantics::content_range::ContentRange;
use larder::semantics::range::{self, RangeAnswer, Ranges};
use larder::semantics::spans::Span;
use larder::semantics::stored::Stored;
use larder::semantics::time::Timestamp;
use larder_fuzz::field;
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    range: Asked<'a>,
    if_range: Option<&'a [u8]>,
    len: u64,
    content_range: &'a [u8],
    span: (u64, u64),
}

#[derive(Debug, Arbitrary)]
enum Asked<'a> {
    Raw(&'a [u8]),
    Written(Vec<Spec>),
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Spec {
    From(u64),
    To(u64, u64),
    Last(u64),
}

impl Spec {
    fn text(self) -> String {
        match self {
            Self::From(first) => format!("{first}-"),
            Self::To(first, last) => format!("{first}-{last}"),
            Self::Last(count) => format!("-{count}"),
        }
    }

    /// RFC 9110 §14.1.2, over positions that cannot overflow.
    fn of(self, len: u64) -> Option<Span> {
        let (from, to) = match self {
            Self::From(first) => (u128::from(first), u128::from(len)),
            Self::To(first, last) => (u128::from(first), (u128::from(last) + 1).min(len.into())),
            Self::Last(count) => (u128::from(len.saturating_sub(count)), u128::from(len)),
        };
        let fits = |n: u128| u64::try_from(n).ok();
        Span::new(fits(from)?, fits(to)?)
    }
}

fuzz_target!(|input: Input| {
    let text = match &input.range {
        Asked::Raw(text) => text.to_vec(),
        Asked::Written(specs) => {
            let specs: Vec<String> = specs.iter().map(|spec| spec.text()).collect();
            format!("bytes={}", specs.join(", ")).into_bytes()
        }
    };
    let mut request = field(&RANGE, &text);
    let answer = range::resolve(&request, &stored(), input.len);
    sound(&answer, input.len);
    if let Asked::Written(specs) = &input.range {
        covers(specs, &answer, input.len);
    }
    forwarded(&request, input.len);
    if let Some(condition) = input.if_range.and_then(|text| HeaderValue::from_bytes(text).ok()) {
        request.insert(IF_RANGE, condition);
        let answer = range::resolve(&request, &stored(), input.len);
        assert_eq!(answer, RangeAnswer::Whole, "without a validator nothing holds");
    }
    content_range(input.content_range);
    if let Some(span) = Span::new(input.span.0, input.span.1) {
        asked_again(span, input.len);
    }
});

fn spans(answer: &RangeAnswer) -> Vec<Span> {
    match answer {
        RangeAnswer::Part(span) => vec![*span],
        RangeAnswer::Parts(spans) => spans.clone(),
        RangeAnswer::Whole | RangeAnswer::Unsatisfiable => Vec::new(),
    }
}

fn sound(answer: &RangeAnswer, len: u64) {
    let mut spans = spans(answer);
    assert!(spans.iter().all(|span| span.from() < span.to() && span.to() <= len), "{answer:?}");
    assert!(!matches!(answer, RangeAnswer::Parts(_)) || spans.len() > 1, "{answer:?}");
    spans.sort_by_key(|span| span.from());
    assert!(spans.windows(2).all(|two| two[0].to() < two[1].from()), "{answer:?}");
}

fn covers(specs: &[Spec], answer: &RangeAnswer, len: u64) {
    let bad = |spec: &Spec| matches!(spec, Spec::To(first, last) if first > last);
    if specs.is_empty() || specs.len() > 32 || specs.iter().any(bad) {
        assert_eq!(*answer, RangeAnswer::Whole, "ignored");
        return;
    }
    let nothing = len == 0 && specs.iter().any(|spec| matches!(spec, Spec::Last(1..)));
    let wanted: Vec<Span> = specs.iter().filter_map(|spec| spec.of(len)).collect();
    match answer {
        RangeAnswer::Whole => assert!(nothing),
        RangeAnswer::Unsatisfiable => assert!(wanted.is_empty() && !nothing),
        RangeAnswer::Part(_) | RangeAnswer::Parts(_) => {
            let sent = spans(answer);
            let within = |span: &Span| sent.iter().any(|sent| sent.contains(*span));
            assert!(!wanted.is_empty() && wanted.iter().all(within), "{specs:?} {answer:?}");
            // No more than what was asked for and the heads that were saved.
            let asked: u128 = wanted.iter().map(|span| u128::from(span.len())).sum();
            let total: u128 = sent.iter().map(|span| u128::from(span.len())).sum();
            assert!(total <= asked + 80 * (specs.len() as u128 - 1), "{specs:?} {answer:?}");
        }
    }
}

/// What is forwarded asks for the same bytes, and forwarding it again changes nothing.
fn forwarded(request: &HeaderMap, len: u64) {
    let Some(ranges) = Ranges::of(request) else { return };
    let Some(value) = ranges.coalesced() else {
        let whole = Span::new(0, len).map_or(RangeAnswer::Unsatisfiable, RangeAnswer::Part);
        let answer = ranges.resolve(len);
        assert!(answer == whole || answer == RangeAnswer::Whole, "{ranges:?} {answer:?}");
        return;
    };
    let mut again = HeaderMap::new();
    again.insert(RANGE, value.clone());
    let read = Ranges::of(&again).expect("what Larder writes");
    assert_eq!(read.coalesced(), Some(value), "{ranges:?}");
    let sorted = |ranges: &Ranges| {
        let mut spans = spans(&ranges.resolve(len));
        spans.sort_by_key(|span| span.from());
        spans
    };
    assert_eq!(sorted(&read), sorted(&ranges), "{ranges:?} {read:?} of {len}");
}

/// What is read is written alike and reads back.
fn content_range(text: &[u8]) {
    let Some(found) = ContentRange::of(&field(&CONTENT_RANGE, text)) else { return };
    assert!(found.span.to() <= found.complete);
    let mut again = HeaderMap::new();
    again.insert(CONTENT_RANGE, found.value().expect("plain"));
    assert_eq!(ContentRange::of(&again), Some(found));
}

fn asked_again(span: Span, len: u64) {
    let mut request = HeaderMap::new();
    request.insert(RANGE, range::range_value(span, len));
    let want = Span::new(0, len).and_then(|all| all.intersection(span));
    let answer = Ranges::of(&request).expect("what Larder writes").resolve(len);
    assert_eq!(answer, want.map_or(RangeAnswer::Unsatisfiable, RangeAnswer::Part));
}

/// Without any validator.
fn stored() -> Stored {
    Stored {
        status: 200,
        request_time: Timestamp::EPOCH,
        response_time: Timestamp::EPOCH,
        date: Timestamp::EPOCH,
        initial_age: Default::default(),
        lifetime: Default::default(),
        heuristic: false,
        must_revalidate: false,
        no_cache: false,
        no_transform: false,
        immutable: false,
        stale_if_error: None,
        stale_while_revalidate: None,
        etag: None,
        last_modified: None,
        validator: false,
        groups: Vec::new(),
        tags: Default::default(),
    }
}
