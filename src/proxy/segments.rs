//! A body in segments, read piece by piece and one piece ahead (DESIGN D3).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::cache::entry::EntryId;
use crate::cache::pieces::Segments;
use crate::cache::tiers::Tiers;
use crate::proxy::refill::{Mend, Refill, Refilling};
use crate::semantics::spans::Span;

type Read = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

/// Segments that are asked for again in one request at most, as far as they are seen to be gone.
const REFILL_AT_ONCE: u32 = 64;

/// Which bytes of which stored body.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// The response that they belong to.
    pub entry: EntryId,
    /// Where they lie.
    pub segments: Segments,
    /// The segments live in the memory tier, too.
    pub in_memory: bool,
    /// What is wanted of them; within their span.
    pub span: Span,
}

/// Reads an [`Extent`]. A segment that is gone is asked for again at the origin; where that gives
/// nothing it is an error: the message must not end cleanly.
pub struct SegmentReader {
    tiers: Arc<Tiers>,
    extent: Extent,
    /// The next byte.
    at: u64,
    refill: Option<Arc<Refill>>,
    /// The read under way, for the segment at `at`.
    read: Option<Read>,
    /// The read of the segment behind that.
    ahead: Option<(u32, Read)>,
    refilling: Option<Refilling>,
}

/// A segment of the body is in no tier any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a part of the stored body is gone")]
pub struct SegmentGone;

impl SegmentReader {
    /// Reads `extent` from `tiers`; what is gone comes from `refill`.
    pub fn new(tiers: Arc<Tiers>, extent: Extent, refill: Option<Arc<Refill>>) -> Self {
        let at = extent.span.from();
        Self { tiers, extent, at, refill, read: None, ahead: None, refilling: None }
    }

    fn begin(&self, index: u32) -> Read {
        let (tiers, extent) = (self.tiers.clone(), self.extent);
        Box::pin(async move { tiers.segment(&extent.segments.id, index, extent.in_memory).await })
    }

    /// The end of this message, and of the entry.
    fn gone(&mut self) -> SegmentGone {
        self.tiers.lost_part(&self.extent.entry);
        self.at = self.extent.span.to();
        SegmentGone
    }

    /// Asks the origin for segment number `index` and those behind it that are gone, too.
    fn begin_refill(&mut self, index: u32) -> bool {
        let Some(refill) = &self.refill else { return false };
        let segments = self.extent.segments;
        let end = (index + 1..index.saturating_add(REFILL_AT_ONCE))
            .find(|next| self.tiers.has_segment(&segments.id, *next))
            .and_then(|next| segments.span_of(next))
            .map_or(self.extent.span.to(), Span::from);
        let start = segments.span_of(index).map_or(self.at, Span::from);
        let most = start.saturating_add(u64::from(segments.segment) * u64::from(REFILL_AT_ONCE));
        let Some(run) = Span::new(start, end.min(most).min(self.extent.span.to())) else {
            return false;
        };
        let mend = Mend::new(self.tiers.clone(), segments, self.extent.in_memory, index);
        tracing::debug!(segment = index, bytes = run.len(), "asked for again at the origin");
        self.refilling = Some(Refilling::begin(refill, run, self.at, mend));
        self.ahead = None;
        true
    }

    /// The next piece; `None` at the end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, SegmentGone>>> {
        let to = self.extent.span.to();
        while self.at < to {
            if let Some(refilling) = &mut self.refilling {
                match ready!(refilling.poll_next(cx)) {
                    Some(Ok(bytes)) => {
                        self.at += bytes.len() as u64;
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                    Some(Err(_)) => return Poll::Ready(Some(Err(self.gone()))),
                    None => self.refilling = None,
                }
                continue;
            }
            let Some((index, segment)) = self.extent.segments.at(self.at) else {
                return Poll::Ready(Some(Err(self.gone())));
            };
            let mut read = match self.read.take() {
                Some(read) => read,
                None => match self.ahead.take() {
                    Some((ahead, read)) if ahead == index => read,
                    _ => self.begin(index),
                },
            };
            let polled = read.as_mut().poll(cx);
            if polled.is_pending() {
                self.read = Some(read);
            }
            let bytes = ready!(polled).and_then(|bytes| self.piece(segment, &bytes));
            let Some(bytes) = bytes else {
                if self.begin_refill(index) {
                    continue;
                }
                return Poll::Ready(Some(Err(self.gone())));
            };
            self.at += bytes.len() as u64;
            if self.at < to {
                let next = index.saturating_add(1);
                let mut ahead = self.begin(next);
                // Polled once so that the disk is at work while the client takes this piece.
                self.ahead = match ahead.as_mut().poll(cx) {
                    Poll::Ready(ready) => Some((next, Box::pin(std::future::ready(ready)))),
                    Poll::Pending => Some((next, ahead)),
                };
            }
            return Poll::Ready(Some(Ok(bytes)));
        }
        Poll::Ready(None)
    }

    /// What is wanted of `bytes`, which are the `segment`; `None`: they are too few.
    fn piece(&self, segment: Span, bytes: &Bytes) -> Option<Bytes> {
        let wanted = Span::new(self.at, self.extent.span.to().min(segment.to()))?;
        let at = |position: u64| usize::try_from(position - segment.from()).ok();
        let (from, to) = (at(wanted.from())?, at(wanted.to())?);
        (to <= bytes.len()).then(|| bytes.slice(from..to))
    }
}
