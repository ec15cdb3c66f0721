//! A segmented body, read piece by piece and one piece ahead (DESIGN D3).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::cache::entry::EntryId;
use crate::cache::tiers::{Part, Tiers};

type Read = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

/// Which bytes of which stored body.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Names the entry.
    pub id: EntryId,
    /// Which of its bodies.
    pub part: Part,
    /// Bytes a segment.
    pub segment: u32,
    /// The segments live in the memory tier, too.
    pub in_memory: bool,
    /// First byte wanted.
    pub from: u64,
    /// Behind the last byte wanted.
    pub to: u64,
}

/// Reads an [`Extent`]. A segment that is gone is an error: the message must not end cleanly.
pub struct SegmentReader {
    tiers: Arc<Tiers>,
    extent: Extent,
    /// The read under way, for the segment at `extent.from`.
    read: Option<Read>,
    /// The read of the segment behind that.
    ahead: Option<(u32, Read)>,
}

/// A segment of the body is in no tier any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a part of the stored body is gone")]
pub struct SegmentGone;

impl SegmentReader {
    /// Reads `extent` from `tiers`.
    pub fn new(tiers: Arc<Tiers>, extent: Extent) -> Self {
        Self { tiers, extent, read: None, ahead: None }
    }

    fn begin(&self, index: u32) -> Read {
        let (tiers, extent) = (self.tiers.clone(), self.extent);
        Box::pin(
            async move { tiers.segment(&extent.id, extent.part, index, extent.in_memory).await },
        )
    }

    /// The end of this message, and of the entry.
    fn gone(&mut self) -> SegmentGone {
        self.tiers.lost_part(&self.extent.id);
        self.extent.from = self.extent.to;
        SegmentGone
    }

    /// Bytes that are still to come.
    pub fn remaining(&self) -> u64 {
        self.extent.to.saturating_sub(self.extent.from)
    }

    /// The next piece; `None` at the end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, SegmentGone>>> {
        if self.remaining() == 0 {
            return Poll::Ready(None);
        }
        let size = u64::from(self.extent.segment.max(1));
        let index = u32::try_from(self.extent.from / size).unwrap_or(u32::MAX);
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
        let Some(bytes) = ready!(polled) else {
            return Poll::Ready(Some(Err(self.gone())));
        };
        let skip = self.extent.from % size;
        let end = (self.remaining() + skip).min(bytes.len() as u64);
        // The last segment may be short; any other that is has been damaged.
        if end <= skip || (end < size && self.extent.from - skip + end < self.extent.to) {
            return Poll::Ready(Some(Err(self.gone())));
        }
        let range = usize::try_from(skip).unwrap_or(0)..usize::try_from(end).unwrap_or(0);
        self.extent.from += end - skip;
        if self.remaining() > 0 {
            let next = index.saturating_add(1);
            let mut ahead = self.begin(next);
            // Polled once so that the disk is at work while the client takes this piece.
            self.ahead = match ahead.as_mut().poll(cx) {
                Poll::Ready(ready) => Some((next, Box::pin(std::future::ready(ready)))),
                Poll::Pending => Some((next, ahead)),
            };
        }
        Poll::Ready(Some(Ok(bytes.slice(range))))
    }
}
