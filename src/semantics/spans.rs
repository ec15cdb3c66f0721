//! Arithmetic of byte positions: spans, and what a list of them covers.

/// The bytes `from..to` of a representation; never empty, so `from < to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    from: u64,
    to: u64,
}

impl Span {
    /// From `from` up to, not with, `to`. `None`: there is nothing between.
    pub const fn new(from: u64, to: u64) -> Option<Self> {
        if from < to { Some(Self { from, to }) } else { None }
    }

    /// The first position.
    pub const fn from(self) -> u64 {
        self.from
    }

    /// The position behind the last one.
    pub const fn to(self) -> u64 {
        self.to
    }

    /// How many bytes; at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a span is never empty")]
    pub const fn len(self) -> u64 {
        self.to - self.from // from < to
    }

    /// What both have.
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.from.max(other.from), self.to.min(other.to))
    }

    /// True where `other` lies within this one.
    pub const fn contains(self, other: Self) -> bool {
        self.from <= other.from && other.to <= self.to
    }

    /// What is left before and behind `other`.
    pub fn without(self, other: Self) -> [Option<Self>; 2] {
        let before = Self::new(self.from, self.to.min(other.from));
        let behind = Self::new(self.from.max(other.to), self.to);
        [before, behind]
    }
}

/// The parts of `within` that `held` does not cover. `held` is sorted and does not overlap.
pub fn gaps(held: impl IntoIterator<Item = Span>, within: Span) -> Vec<Span> {
    let mut gaps = Vec::new();
    let mut at = within.from;
    for span in held.into_iter().filter_map(|span| span.intersection(within)) {
        gaps.extend(Span::new(at, span.from));
        at = at.max(span.to);
    }
    gaps.extend(Span::new(at, within.to));
    gaps
}

/// Spans that overlap, touch, or are less than `slack` bytes apart become one. Each stands where
/// the first of those that it was made of stood.
pub fn coalesced(spans: Vec<Span>, slack: u64) -> Vec<Span> {
    let mut numbered: Vec<(usize, Span)> = spans.into_iter().enumerate().collect();
    numbered.sort_by_key(|(_, span)| span.from);
    let mut merged: Vec<(usize, Span)> = Vec::with_capacity(numbered.len());
    for (number, span) in numbered {
        match merged.last_mut() {
            Some((first, last)) if span.from <= last.to.saturating_add(slack) => {
                *first = number.min(*first);
                last.to = last.to.max(span.to);
            }
            _ => merged.push((number, span)),
        }
    }
    merged.sort_by_key(|(number, _)| *number);
    merged.into_iter().map(|(_, span)| span).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: u64 = 64;

    /// A span below [`SIZE`].
    pub(in super::super) fn small() -> impl Strategy<Value = Span> {
        (0..SIZE, 1..=SIZE).prop_map(|(from, len)| Span { from, to: (from + len).min(SIZE) })
    }

    fn bits(spans: &[Span]) -> Vec<bool> {
        (0..SIZE).map(|at| spans.iter().any(|span| (span.from..span.to).contains(&at))).collect()
    }

    fn is_sorted_and_apart(spans: &[Span]) -> bool {
        spans.windows(2).all(|pair| pair[0].to < pair[1].from)
    }

    #[test]
    fn nothing_overflows_at_the_end_of_all_numbers() {
        let last = Span::new(u64::MAX - 1, u64::MAX).unwrap();
        let all = Span::new(0, u64::MAX).unwrap();
        assert_eq!(coalesced(vec![last, all], u64::MAX), [all]);
        assert_eq!(gaps([last], all), [Span::new(0, u64::MAX - 1).unwrap()]);
        assert_eq!((all.len(), last.len()), (u64::MAX, 1));
        assert_eq!(Span::new(5, 5), None);
    }

    proptest! {
        #[test]
        fn as_a_bitmap_has_it(
            one in small(), other in small(), list in proptest::collection::vec(small(), 0..12),
        ) {
            let (a, b) = (bits(&[one]), bits(&[other]));
            let both: Vec<bool> = a.iter().zip(&b).map(|(a, b)| *a && *b).collect();
            let left: Vec<bool> = a.iter().zip(&b).map(|(a, b)| *a && !*b).collect();
            prop_assert_eq!(bits(&one.intersection(other).into_iter().collect::<Vec<_>>()), both);
            let rest: Vec<Span> = one.without(other).into_iter().flatten().collect();
            prop_assert_eq!(bits(&rest), left);
            prop_assert_eq!(one.contains(other), b.iter().zip(&a).all(|(b, a)| !*b || *a));

            let mut held = coalesced(list.clone(), 0);
            prop_assert_eq!(bits(&held), bits(&list));
            held.sort_by_key(|span| span.from());
            prop_assert!(is_sorted_and_apart(&held));
            let missing = gaps(held, one);
            let want: Vec<bool> =
                a.iter().zip(bits(&list)).map(|(asked, held)| *asked && !held).collect();
            prop_assert_eq!(bits(&missing), want);
            prop_assert!(is_sorted_and_apart(&missing));
        }

        #[test]
        fn coalescing_keeps_the_order_of_those_that_stay(
            list in proptest::collection::vec(small(), 0..12), slack in 0..8_u64,
        ) {
            let merged = coalesced(list.clone(), slack);
            let covered = bits(&merged);
            prop_assert!(bits(&list).iter().zip(&covered).all(|(before, now)| !*before || *now));
            let mut sorted = merged.clone();
            sorted.sort_by_key(|span| span.from());
            prop_assert!(sorted.windows(2).all(|pair| pair[1].from - pair[0].to > slack));
            let place = |span: &Span| list.iter().position(|own| span.contains(*own));
            prop_assert!(merged.windows(2).all(|pair| place(&pair[0]) < place(&pair[1])));
        }
    }
}
