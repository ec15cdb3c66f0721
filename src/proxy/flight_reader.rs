//! A reader of a fetch under way, with the way back to the store for when it falls behind.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http_body::Frame;

use crate::cache::entry::EntryId;
use crate::cache::flight::stream::{End, Next, StreamReader};
use crate::cache::pieces::Segments;
use crate::cache::tiers::Tiers;
use crate::proxy::body::Broken;
use crate::proxy::refill::Refill;
use crate::proxy::segments::{Extent, SegmentReader};
use crate::semantics::spans::Span;

/// Where the store keeps what a fetch brings.
#[derive(Clone)]
pub struct Kept {
    /// Asked for what has left the window.
    pub tiers: Arc<Tiers>,
    /// The response that it belongs to.
    pub entry: EntryId,
    /// Names the segments.
    pub id: EntryId,
    /// Bytes of each.
    pub segment: u32,
    /// Bytes of all, where that is known.
    pub len: Option<u64>,
    /// The segments live in the memory tier, too.
    pub in_memory: bool,
    /// Asked for what has left the store, too.
    pub refill: Option<Arc<Refill>>,
}

/// Reads a fetch's body, or some of it.
pub struct FlightReader {
    reader: StreamReader,
    /// Where in the whole the fetch begins.
    base: u64,
    /// Bytes to come, where that is known.
    left: Option<u64>,
    /// Nothing comes behind these bytes that would be of this answer.
    part: bool,
    kept: Kept,
    behind: Option<SegmentReader>,
}

impl FlightReader {
    /// Reads what `reader` has from where it stands on: `left` bytes, if that is known. The fetch
    /// begins at `base` of the whole.
    pub fn new(reader: StreamReader, base: u64, left: Option<u64>, kept: Kept) -> Self {
        Self { reader, base, left, part: false, kept, behind: None }
    }

    /// Ends behind the bytes to come, whatever the fetch still brings.
    #[must_use]
    pub fn only(mut self) -> Self {
        self.part = true;
        self
    }

    /// Bytes to come, where that is known.
    pub(super) fn len(&self) -> Option<u64> {
        self.left
    }

    /// The next frame.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.part && self.left == Some(0) {
            return Poll::Ready(None);
        }
        loop {
            if let Some(behind) = &mut self.behind {
                match ready!(behind.poll_next(cx)) {
                    Some(Ok(bytes)) => {
                        self.reader.skip(bytes.len() as u64);
                        return Poll::Ready(Some(Ok(self.counted(bytes))));
                    }
                    Some(Err(_)) => return Poll::Ready(Some(Err(Broken("fell too far behind")))),
                    None => self.behind = None,
                }
            }
            return Poll::Ready(match ready!(self.reader.poll_next(cx)) {
                Next::Chunk(chunk) => Some(Ok(self.counted(chunk))),
                Next::End(End::Complete(None)) => None,
                Next::End(End::Complete(Some(trailers))) => {
                    // Asked once: the end is all that is left.
                    self.reader.finish();
                    Some(Ok(Frame::trailers(trailers.as_ref().clone())))
                }
                Next::End(End::Broken) => Some(Err(Broken("the origin broke off"))),
                Next::Behind => match self.fall_behind() {
                    Some(behind) => {
                        self.behind = Some(behind);
                        continue;
                    }
                    None => Some(Err(Broken("fell too far behind"))),
                },
            });
        }
    }

    fn counted(&mut self, mut bytes: Bytes) -> Frame<Bytes> {
        if let Some(left) = &mut self.left {
            if self.part {
                bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            }
            *left = left.saturating_sub(bytes.remaining() as u64);
        }
        Frame::data(bytes)
    }

    /// Reads from the store to the end of the segment at hand, which is whole: the window is never
    /// smaller than one.
    fn fall_behind(&self) -> Option<SegmentReader> {
        let (at, size) = (self.reader.offset(), u64::from(self.kept.segment.max(1)));
        let end = at.checked_div(size)?.checked_add(1)?.checked_mul(size)?;
        let whole = self.kept.len.map_or(end, |len| end.min(len));
        let run = Span::new(self.base, self.base.checked_add(whole)?)?;
        let segments = Segments { id: self.kept.id, span: run, segment: self.kept.segment };
        let span = Span::new(self.base.checked_add(at)?, run.to())?;
        let extent =
            Extent { entry: self.kept.entry, segments, in_memory: self.kept.in_memory, span };
        Some(SegmentReader::new(self.kept.tiers.clone(), extent, self.kept.refill.clone()))
    }
}
