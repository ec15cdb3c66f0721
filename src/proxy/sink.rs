//! Where a body goes on its way into the store: inline while it is small, else in segments that
//! are stored as they fill.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::cache::entry::EntryId;
use crate::cache::pieces::{Place, Segments};
use crate::cache::tiers::Tiers;
use crate::semantics::key;
use crate::semantics::spans::Span;

/// Collects one body, or a part of one.
pub struct Sink {
    id: EntryId,
    /// Where in the whole it begins.
    base: u64,
    segment: usize,
    buffer: BytesMut,
    /// Segments stored so far.
    stored: u32,
    len: u64,
    segmented: bool,
    expected: Option<u64>,
}

impl Sink {
    /// For `expected` bytes, if their number is known, from `base` of a body on; their segments
    /// have the name `id`.
    pub fn new(id: EntryId, base: u64, segment: u64, expected: Option<u64>) -> Self {
        let segment = usize::try_from(segment).unwrap_or(usize::MAX).max(1);
        let room = expected.map_or(0, |len| usize::try_from(len).unwrap_or(segment).min(segment));
        Self {
            id,
            base,
            segment,
            buffer: BytesMut::with_capacity(room),
            stored: 0,
            len: 0,
            segmented: expected.is_some_and(|len| len > segment as u64),
            expected,
        }
    }

    /// Takes in `data`. False: a segment found no place in any tier; the body cannot be kept.
    pub async fn take(&mut self, tiers: &Arc<Tiers>, data: Bytes) -> bool {
        self.len += data.len() as u64;
        let mut data = data.as_ref();
        while !data.is_empty() {
            let room = self.segment.saturating_sub(self.buffer.len()).min(data.len());
            if room == 0 {
                self.segmented = true;
                if !self.store_segment(tiers).await {
                    return false;
                }
                continue;
            }
            let (now, later) = data.split_at(room); // room <= data.len()
            self.buffer.extend_from_slice(now);
            data = later;
        }
        // A reader that falls out of the window must find whole segments in the store.
        if self.segmented && self.buffer.len() >= self.segment {
            return self.store_segment(tiers).await;
        }
        true
    }

    async fn store_segment(&mut self, tiers: &Arc<Tiers>) -> bool {
        let bytes = Bytes::copy_from_slice(&self.buffer);
        self.buffer.clear();
        let whole = self.expected.unwrap_or(self.len);
        let in_memory = tiers.keeps_in_memory(whole);
        let stored = tiers.store_segment(&self.id, self.stored, bytes, in_memory).await;
        self.stored = self.stored.saturating_add(1);
        stored
    }

    /// From now on nothing is kept inline: another part of the body may be too long for that.
    pub fn in_segments(&mut self) {
        self.segmented = true;
    }

    /// Where all of it is. `None`: it could not be kept, or is not as long as was promised.
    pub async fn finish(&mut self, tiers: &Arc<Tiers>) -> Option<Place> {
        if self.expected.is_some_and(|expected| expected != self.len) {
            return None;
        }
        if self.stored == 0 && !self.segmented {
            // Copied: the buffer may be larger than what it holds.
            return Some(Place::Inline(Bytes::copy_from_slice(&self.buffer)));
        }
        if !self.buffer.is_empty() && !self.store_segment(tiers).await {
            return None;
        }
        let segment = u32::try_from(self.segment).ok()?;
        let span = Span::new(self.base, self.base.checked_add(self.len)?)?;
        Some(Place::Segments(Segments { id: self.id, span, segment }))
    }

    /// Forgets what was stored of a body that is not kept.
    pub fn discard(&self, tiers: &Tiers) {
        for index in 0..self.stored {
            tiers.remove(&key::segment(&self.id, index));
        }
    }
}
