//! A body that is held in part, or was put together from parts (RFC 9111 §3.3, §3.4): which bytes
//! there are, and where they lie.

use bytes::{Bytes, BytesMut};

use crate::cache::entry::EntryId;
use crate::semantics::spans::{self, Span};

/// Pieces of one body at most: beyond it the shortest are forgotten.
const MAX_PIECES: usize = 512;

/// Some bytes of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Which ones.
    pub span: Span,
    /// Where they are.
    pub place: Place,
}

/// Where the bytes of a piece are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Here; exactly those of the piece's span.
    Inline(Bytes),
    /// In numbered segments.
    Segments(Segments),
}

/// A run of segments; a piece may have lost some of its ends to other pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segments {
    /// Names the segments.
    pub id: EntryId,
    /// What they hold of the body.
    pub span: Span,
    /// Bytes of each segment but the last; never 0.
    pub segment: u32,
}

impl Segments {
    /// How many there are.
    pub fn count(&self) -> u32 {
        let size = u64::from(self.segment.max(1));
        u32::try_from(self.span.len().div_ceil(size)).unwrap_or(u32::MAX)
    }

    /// What segment number `index` holds.
    pub fn span_of(&self, index: u32) -> Option<Span> {
        let size = u64::from(self.segment.max(1));
        let from = self.span.from().checked_add(u64::from(index).checked_mul(size)?)?;
        Span::new(from, from.saturating_add(size).min(self.span.to()))
    }

    /// The segment that holds the byte at `position`.
    pub fn at(&self, position: u64) -> Option<(u32, Span)> {
        let offset = position.checked_sub(self.span.from())?;
        let index = u32::try_from(offset / u64::from(self.segment.max(1))).ok()?;
        Some((index, self.span_of(index)?))
    }
}

impl Piece {
    /// What of this piece lies within `span`.
    fn clipped(&self, span: Span) -> Option<Self> {
        let kept = self.span.intersection(span)?;
        let place = match &self.place {
            Place::Inline(bytes) => {
                let at = |position: u64| usize::try_from(position - self.span.from()).ok();
                let (from, to) = (at(kept.from())?, at(kept.to())?);
                Place::Inline((to <= bytes.len()).then(|| bytes.slice(from..to))?)
            }
            Place::Segments(segments) => Place::Segments(*segments),
        };
        Some(Self { span: kept, place })
    }

    /// Both as one, where both are inline, one ends where the other begins, and the whole is no
    /// longer than `limit`.
    fn joined(&self, next: &Self, limit: u64) -> Option<Self> {
        let (Place::Inline(one), Place::Inline(other)) = (&self.place, &next.place) else {
            return None;
        };
        let span = Span::new(self.span.from(), next.span.to())?;
        if self.span.to() != next.span.from() || span.len() > limit {
            return None;
        }
        let mut both = BytesMut::with_capacity(one.len() + other.len());
        both.extend_from_slice(one);
        both.extend_from_slice(other);
        Some(Self { span, place: Place::Inline(both.freeze()) })
    }
}

/// What is held of one body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pieces {
    len: u64,
    /// Sorted; none overlaps another.
    list: Vec<Piece>,
    whole: bool,
}

impl Pieces {
    /// Nothing yet of a body of `len` bytes.
    pub fn none(len: u64) -> Self {
        Self { len, list: Vec::new(), whole: len == 0 }
    }

    /// As they were written down. `None`: they overlap, or lie beyond the end.
    pub fn of(len: u64, list: Vec<Piece>) -> Option<Self> {
        let sorted = list.windows(2).all(|pair| match pair {
            [one, next] => one.span.to() <= next.span.from(),
            _ => true,
        });
        let within = list.last().is_none_or(|last| last.span.to() <= len);
        (sorted && within).then(|| Self::new(len, list))
    }

    fn new(len: u64, list: Vec<Piece>) -> Self {
        let mut pieces = Self { len, list, whole: false };
        pieces.whole =
            Span::new(0, len).is_none_or(|all| spans::gaps(pieces.spans(), all).is_empty());
        pieces
    }

    /// Where the one piece is, if there is just one.
    pub fn only(&self) -> Option<&Place> {
        match self.list.as_slice() {
            [one] => Some(&one.place),
            _ => None,
        }
    }

    /// Length of the whole body in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Nothing is held.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Nothing is missing.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// The pieces in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Piece> {
        self.list.iter()
    }

    fn spans(&self) -> impl Iterator<Item = Span> {
        self.list.iter().map(|piece| piece.span)
    }

    /// What is missing of `span`.
    pub fn gaps(&self, span: Span) -> Vec<Span> {
        spans::gaps(self.spans(), span)
    }

    /// What is held of `span`, in order.
    pub fn within(&self, span: Span) -> impl Iterator<Item = Piece> {
        self.list.iter().filter_map(move |piece| piece.clipped(span))
    }

    /// With one piece more, which replaces what is held of the same bytes: older segments leave
    /// the disk earlier. One that is held already is not taken. Neighbours are joined where that
    /// makes no more than `inline` bytes.
    #[must_use]
    pub fn with(&self, new: Piece, inline: u64) -> Self {
        if new.span.to() > self.len || self.list.iter().any(|old| old.span.contains(new.span)) {
            return self.clone();
        }
        let left = self.list.iter().flat_map(|old| {
            let [before, behind] = old.span.without(new.span);
            [before, behind].into_iter().flatten().filter_map(|rest| old.clipped(rest))
        });
        let mut list: Vec<Piece> = left.collect();
        list.push(new);
        list.sort_by_key(|piece| piece.span.from());
        let mut joined: Vec<Piece> = Vec::with_capacity(list.len());
        for piece in list {
            match joined.last().and_then(|last| last.joined(&piece, inline)) {
                Some(both) => {
                    joined.pop();
                    joined.push(both);
                }
                None => joined.push(piece),
            }
        }
        while joined.len() > MAX_PIECES {
            let lens = joined.iter().enumerate().map(|(at, piece)| (piece.span.len(), at));
            let Some((_, shortest)) = lens.min() else { break };
            joined.remove(shortest);
        }
        Self::new(self.len, joined)
    }

    /// Bytes that are held inline.
    pub fn inline_len(&self) -> usize {
        self.list
            .iter()
            .map(|piece| match &piece.place {
                Place::Inline(bytes) => bytes.len(),
                Place::Segments(_) => 0,
            })
            .sum()
    }

    /// The places, to be moved elsewhere: inline bytes that became too many.
    pub fn places_mut(&mut self) -> impl Iterator<Item = (Span, &mut Place)> {
        self.list.iter_mut().map(|piece| (piece.span, &mut piece.place))
    }

    /// The runs of segments that are used.
    pub fn segments(&self) -> impl Iterator<Item = Segments> {
        self.list.iter().filter_map(|piece| match piece.place {
            Place::Segments(segments) => Some(segments),
            Place::Inline(_) => None,
        })
    }

    /// Memory that the pieces take, in bytes.
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.list.len() * size_of::<Piece>() + self.inline_len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEN: u64 = 64;
    const SEGMENT: u32 = 4;

    fn span(from: u64, to: u64) -> Span {
        Span::new(from, to).unwrap()
    }

    /// The body that everything is a part of.
    fn byte(at: u64) -> u8 {
        u8::try_from(at).unwrap() ^ 0x55
    }

    fn bytes(span: Span) -> Bytes {
        (span.from()..span.to()).map(byte).collect()
    }

    fn inline(span: Span) -> Piece {
        Piece { span, place: Place::Inline(bytes(span)) }
    }

    fn segmented(span: Span, id: u8) -> Piece {
        let place = Place::Segments(Segments { id: [id; 16], span, segment: SEGMENT });
        Piece { span, place }
    }

    /// Reads a piece as a reader of segments would.
    fn read(piece: &Piece) -> Bytes {
        match &piece.place {
            Place::Inline(bytes) => bytes.clone(),
            Place::Segments(segments) => {
                assert!(segments.span.contains(piece.span), "{piece:?}");
                bytes(piece.span)
            }
        }
    }

    #[test]
    fn parts_become_a_whole() {
        let pieces = Pieces::none(10).with(inline(span(0, 4)), 100).with(inline(span(6, 10)), 100);
        assert_eq!((pieces.is_whole(), pieces.iter().len()), (false, 2));
        assert_eq!(pieces.gaps(span(0, 10)), [span(4, 6)]);
        let whole = pieces.with(inline(span(3, 7)), 100);
        assert!(whole.is_whole());
        assert_eq!(whole.iter().collect::<Vec<_>>(), [&inline(span(0, 10))]);
        let apart = pieces.with(inline(span(3, 7)), 5);
        assert!(apart.is_whole() && apart.iter().len() > 1, "too long to be joined");
    }

    #[test]
    fn nothing_beyond_the_end_is_taken() {
        assert!(Pieces::none(10).with(inline(span(8, 12)), 100).is_empty());
        assert_eq!(Pieces::of(10, vec![inline(span(8, 12))]), None);
        assert_eq!(Pieces::of(10, vec![inline(span(0, 4)), inline(span(3, 6))]), None);
        assert_eq!(Pieces::of(10, vec![inline(span(4, 6)), inline(span(0, 2))]), None);
        assert!(Pieces::none(0).is_whole());
    }

    #[test]
    fn tiny_pieces_are_bounded() {
        let len = 4 * MAX_PIECES as u64;
        let one =
            |at| Piece { span: span(at, at + 1), place: Place::Inline(Bytes::from_static(b"x")) };
        let pieces = (0..len / 2).fold(Pieces::none(len), |held, at| held.with(one(2 * at), 100));
        assert_eq!(pieces.iter().len(), MAX_PIECES);
    }

    proptest! {
        #[test]
        fn whatever_comes_in_is_held_once_and_right(
            parts in proptest::collection::vec((0..LEN, 1..=LEN, any::<bool>()), 0..20),
            asked in (0..LEN, 1..=LEN), limit in 0..LEN,
        ) {
            let mut held = Pieces::none(LEN);
            let mut map = vec![false; usize::try_from(LEN).unwrap()];
            for (number, (from, len, in_segments)) in parts.into_iter().enumerate() {
                let part = span(from, (from + len).min(LEN));
                let piece = if in_segments {
                    segmented(part, u8::try_from(number).unwrap())
                } else {
                    inline(part)
                };
                held = held.with(piece, limit);
                (part.from()..part.to()).for_each(|at| map[usize::try_from(at).unwrap()] = true);
            }
            prop_assert_eq!(held.is_whole(), map.iter().all(|held| *held));
            let again = Pieces::of(LEN, held.iter().cloned().collect());
            prop_assert_eq!(again.as_ref(), Some(&held), "sorted and apart");
            let asked = span(asked.0, (asked.0 + asked.1).min(LEN));
            // Pieces and gaps follow each other without a byte between or twice.
            let mut all: Vec<(Span, Option<Bytes>)> =
                held.within(asked).map(|piece| (piece.span, Some(read(&piece)))).collect();
            all.extend(held.gaps(asked).into_iter().map(|gap| (gap, None)));
            all.sort_by_key(|(part, _)| part.from());
            let mut at = asked.from();
            for (part, bytes_held) in all {
                prop_assert_eq!(part.from(), at);
                at = part.to();
                let is_held = map[usize::try_from(part.from()).unwrap()];
                prop_assert_eq!(bytes_held.is_some(), is_held);
                if let Some(got) = bytes_held {
                    prop_assert_eq!(got, bytes(part));
                }
            }
            prop_assert_eq!(at, asked.to());
            let segments: Vec<Segments> = held.segments().collect();
            prop_assert!(segments.iter().all(|run| u64::from(run.count()) == run.span.len().div_ceil(4)));
        }
    }
}
