//! Which bytes of a representation an answer has (RFC 9110 §14, §15.3.7), and where they come from.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::cache::entry::{Entry, EntryId, StoredBody};
use crate::cache::pieces::{Piece, Pieces, Place};
use crate::cache::tiers::Tiers;
use crate::proxy::ask::Ask;
use crate::proxy::assembly::{Assembly, Chunk};
use crate::proxy::body::Source;
use crate::proxy::filling::Filling;
use crate::proxy::flight_reader::{FlightReader, Kept};
use crate::proxy::refill::Refill;
use crate::proxy::segments::{Extent, SegmentReader};
use crate::proxy::worker::Worker;
use crate::semantics::content_range::ContentRange;
use crate::semantics::range::{self, RangeAnswer};
use crate::semantics::spans::{self, Span};
use crate::semantics::stored::Stored;
use crate::semantics::validation::{self, Precondition};
use crate::semantics::{digits, encoding};

/// What `ask` wants of a stored response of `len` bytes, as the origin sent it.
pub(super) fn asked_for(ask: &Ask, stored: &Stored, len: u64) -> RangeAnswer {
    if !ask.asked.has_range || ask.asked.is_head() || stored.status != 200 {
        return RangeAnswer::Whole;
    }
    range::resolve(&ask.head.headers, stored, len)
}

/// What `ask` wants of `entry`: never a part, where its coding is taken off on the way.
pub(super) fn wanted_of(ask: &Ask, entry: &Entry) -> RangeAnswer {
    if entry.decodes.is_some_and(|coding| ask.must_decode(coding)) {
        return RangeAnswer::Whole;
    }
    asked_for(ask, &entry.stored, entry.identity.len())
}

/// What is missing of `entry` to answer `ask`; nothing, where it takes no body of it.
pub(super) fn lacking(ask: &Ask, entry: &Entry) -> Vec<Span> {
    let StoredBody::Pieces(pieces) = &entry.identity else { return Vec::new() };
    if pieces.is_whole() || ask.asked.is_head() || answers_condition(ask, &entry.stored) {
        return Vec::new();
    }
    let wanted = match wanted_of(ask, entry) {
        RangeAnswer::Part(span) => vec![span],
        RangeAnswer::Parts(spans) => spans,
        RangeAnswer::Unsatisfiable => Vec::new(),
        RangeAnswer::Whole => Span::new(0, pieces.len()).into_iter().collect(),
    };
    let mut gaps: Vec<Span> = wanted.into_iter().flat_map(|span| pieces.gaps(span)).collect();
    gaps.sort_by_key(|gap| gap.from());
    gaps
}

fn answers_condition(ask: &Ask, stored: &Stored) -> bool {
    ask.asked.has_if_none_match
        && validation::precondition(
            &ask.head.headers,
            stored.etag.as_ref(),
            stored.modified(),
            true,
        ) != Precondition::Proceed
}

/// Some parts of a whole, with what stands between them.
pub(super) struct Cut {
    spans: Vec<Span>,
    /// Before each part, and behind the last; nothing at all for a single one.
    between: Vec<Bytes>,
}

impl Cut {
    /// Makes `response`, the head of a 200 of `len` bytes, that of the 206 with this part.
    pub(super) fn one(response: &mut Response<Source>, span: Span, len: u64) -> Self {
        let fields = partial_content(response);
        if let Some(value) = (ContentRange { span, complete: len }).value() {
            fields.insert(CONTENT_RANGE, value);
        }
        fields.insert(CONTENT_LENGTH, digits::value(span.len()));
        Self { spans: vec![span], between: Vec::new() }
    }

    /// The same for several parts.
    pub(super) fn several(response: &mut Response<Source>, spans: Vec<Span>, len: u64) -> Self {
        let fields = partial_content(response);
        let boundary = boundary();
        let kind = fields.get(CONTENT_TYPE).cloned();
        let heads = spans.iter().enumerate().map(|(number, span)| {
            let mut head = Vec::with_capacity(160);
            head.extend_from_slice(if number == 0 { b"--" } else { b"\r\n--" });
            head.extend_from_slice(boundary.as_bytes());
            let range = ContentRange { span: *span, complete: len }.value();
            for (name, value) in [("content-type", &kind), ("content-range", &range)] {
                if let Some(value) = value {
                    head.extend_from_slice(b"\r\n");
                    head.extend_from_slice(name.as_bytes());
                    head.extend_from_slice(b": ");
                    head.extend_from_slice(value.as_bytes());
                }
            }
            head.extend_from_slice(b"\r\n\r\n");
            Bytes::from(head)
        });
        let mut between: Vec<Bytes> = heads.collect();
        between.push(Bytes::from(format!("\r\n--{boundary}--\r\n")));
        let cut = Self { spans, between };
        let kind = format!("multipart/byteranges; boundary={boundary}");
        if let Ok(kind) = HeaderValue::try_from(kind) {
            fields.insert(CONTENT_TYPE, kind);
        }
        fields.insert(CONTENT_LENGTH, digits::value(cut.len()));
        cut
    }

    fn len(&self) -> u64 {
        let parts = self.spans.iter().map(|span| span.len());
        let between = self.between.iter().map(|bytes| bytes.len() as u64);
        parts.chain(between).fold(0, u64::saturating_add)
    }

    /// The body; `read` adds what a span has.
    pub(super) fn source(self, mut read: impl FnMut(Span, &mut VecDeque<Chunk>)) -> Source {
        let len = self.len();
        let mut between = self.between.into_iter();
        let mut chunks = VecDeque::new();
        for span in self.spans {
            chunks.extend(between.next().map(Chunk::Bytes));
            read(span, &mut chunks);
        }
        chunks.extend(between.next().map(Chunk::Bytes));
        if chunks.len() == 1 {
            match chunks.pop_front() {
                Some(Chunk::Bytes(bytes)) => return Source::Full(bytes),
                other => chunks.extend(other),
            }
        }
        Source::Assembly(Box::new(Assembly::new(chunks, len)))
    }
}

/// Makes `response` a 206, whose content is not the one that a digest was made of.
fn partial_content(response: &mut Response<Source>) -> &mut HeaderMap {
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let fields = response.headers_mut();
    encoding::drop_digests_of_content(fields);
    fields
}

/// Makes `response` the 416 for a representation of `len` bytes.
pub(super) fn unsatisfiable(response: &mut Response<Source>, len: u64) {
    *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    let fields: &mut HeaderMap = response.headers_mut();
    encoding::drop_digests_of_content(fields);
    for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING] {
        fields.remove(name);
    }
    if let Ok(value) = HeaderValue::try_from(format!("bytes */{len}")) {
        fields.insert(CONTENT_RANGE, value);
    }
}

fn boundary() -> String {
    let random = || getrandom::u64().unwrap_or_else(|_| crate::clock::monotonic_ns());
    format!("larder-{:016x}{:016x}", random(), random())
}

/// Where the bytes of one response are taken from, for one client.
pub(super) struct Shelf<'a> {
    worker: &'a Arc<Worker>,
    ask: &'a Ask,
    id: EntryId,
    stored: &'a Stored,
    /// Length of the whole, where that is known.
    len: Option<u64>,
    refill: OnceCell<Option<Arc<Refill>>>,
}

impl<'a> Shelf<'a> {
    /// Of the response that has this id and metadata.
    pub(super) fn of(
        worker: &'a Arc<Worker>,
        ask: &'a Ask,
        id: EntryId,
        stored: &'a Stored,
        len: Option<u64>,
    ) -> Self {
        Self { worker, ask, id, stored, len, refill: OnceCell::new() }
    }

    fn tiers(&self) -> &'a Arc<Tiers> {
        &self.worker.house.tiers
    }

    fn refill(&self) -> Option<Arc<Refill>> {
        let made = self.refill.get_or_init(|| {
            self.len.and_then(|len| Refill::of(self.worker, self.ask, self.stored, len))
        });
        made.clone()
    }

    /// A body that is held whole. `as_sent`: the origin could send it again.
    pub(super) fn whole(&self, body: &StoredBody, as_sent: bool) -> Source {
        let pieces = match body {
            StoredBody::Inline(bytes) => return Source::Full(bytes.clone()),
            StoredBody::Pieces(pieces) => pieces,
        };
        let mut chunks = VecDeque::new();
        if let Some(all) = Span::new(0, pieces.len()) {
            chunks.extend(pieces.within(all).map(|piece| self.chunk(piece, as_sent)));
        }
        Source::Assembly(Box::new(Assembly::new(chunks, pieces.len())))
    }

    /// Adds what is held of `span`.
    pub(super) fn held(&self, pieces: &Pieces, span: Span, chunks: &mut VecDeque<Chunk>) {
        chunks.extend(pieces.within(span).map(|piece| self.chunk(piece, true)));
    }

    fn chunk(&self, piece: Piece, as_sent: bool) -> Chunk {
        let segments = match piece.place {
            Place::Inline(bytes) => return Chunk::Bytes(bytes),
            Place::Segments(segments) => segments,
        };
        let tiers = self.tiers();
        let in_memory = tiers.keeps_in_memory(segments.span.len());
        let extent = Extent { entry: self.id, segments, in_memory, span: piece.span };
        let refill = if as_sent { self.refill() } else { None };
        Chunk::Segments(Box::new(SegmentReader::new(tiers.clone(), extent, refill)))
    }

    /// Adds what is held, or on its way, of `span`. What is both comes from the origin: many gaps
    /// are asked for as one, with what is held between them.
    pub(super) fn coming(&self, filling: &Filling, span: Span, chunks: &mut VecDeque<Chunk>) {
        let mut parts: Vec<(u64, Chunk)> = Vec::new();
        let mut asked = Vec::with_capacity(filling.gaps.len());
        for gap in &filling.gaps {
            let to = gap.to.or(filling.len).unwrap_or(u64::MAX);
            if let Some(wanted) = Span::new(gap.from, to).and_then(|gap| gap.intersection(span)) {
                let reader = gap.stream.reader_at(wanted.from() - gap.from); // it lies within
                let kept = self.kept(gap.id, gap.to.map(|to| to - gap.from));
                let reader = FlightReader::new(reader, gap.from, Some(wanted.len()), kept).only();
                parts.push((wanted.from(), Chunk::Flight(Box::new(reader))));
                asked.push(wanted);
            }
        }
        if let Some(base) = &filling.base {
            let pieces = base.identity.pieces();
            let held = spans::gaps(asked, span).into_iter().flat_map(|rest| pieces.within(rest));
            parts.extend(held.map(|piece| (piece.span.from(), self.chunk(piece, true))));
        }
        parts.sort_by_key(|(from, _)| *from);
        chunks.extend(parts.into_iter().map(|(_, chunk)| chunk));
    }

    /// Where the store keeps `len` bytes, if their number is known, that are coming in as `id`.
    pub(super) fn kept(&self, id: EntryId, len: Option<u64>) -> Kept {
        let segment = self.ask.view.snapshot.cache.segment_size;
        Kept {
            tiers: self.tiers().clone(),
            entry: self.id,
            id,
            segment: u32::try_from(segment).unwrap_or(u32::MAX),
            len,
            in_memory: len.is_some_and(|len| self.tiers().keeps_in_memory(len)),
            refill: self.refill(),
        }
    }
}
