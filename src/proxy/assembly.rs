//! A body put together from several places: the store, a fetch under way, and what stands between
//! the parts of a multipart answer.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;

use crate::proxy::body::Broken;
use crate::proxy::flight_reader::FlightReader;
use crate::proxy::segments::SegmentReader;

/// Where the next bytes come from.
pub enum Chunk {
    /// Here they are.
    Bytes(Bytes),
    /// From the store.
    Segments(Box<SegmentReader>),
    /// From a fetch under way.
    Flight(Box<FlightReader>),
}

type Polled = Option<Result<Frame<Bytes>, Broken>>;

/// One chunk after the other.
pub struct Assembly {
    chunks: VecDeque<Chunk>,
    /// What was read before its time.
    first: Option<Polled>,
    /// Bytes to come.
    left: u64,
}

impl Assembly {
    /// These chunks, of `len` bytes in all.
    pub fn new(chunks: VecDeque<Chunk>, len: u64) -> Self {
        Self { chunks, first: None, left: len }
    }

    /// Bytes to come.
    pub(super) fn len(&self) -> u64 {
        self.left
    }

    /// Reads the first bytes, before anything is promised to the client.
    ///
    /// # Errors
    /// They cannot be had.
    pub async fn prime(&mut self) -> Result<(), Broken> {
        if self.first.is_none() {
            self.first = match poll_fn(|cx| self.poll(cx)).await {
                Some(Err(broken)) => return Err(broken),
                Some(Ok(frame)) => {
                    self.left += frame.data_ref().map_or(0, |data| data.len() as u64); // not given out
                    Some(Some(Ok(frame)))
                }
                None => Some(None),
            };
        }
        Ok(())
    }

    /// The next frame.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Polled> {
        let frame = match self.first.take() {
            Some(first) => first,
            None => ready!(self.poll_chunks(cx)),
        };
        if let Some(Ok(frame)) = &frame {
            let len = frame.data_ref().map_or(0, |data| data.len() as u64);
            self.left = self.left.saturating_sub(len);
        }
        Poll::Ready(frame)
    }

    fn poll_chunks(&mut self, cx: &mut Context<'_>) -> Poll<Polled> {
        while let Some(chunk) = self.chunks.front_mut() {
            let polled = match chunk {
                Chunk::Bytes(bytes) => {
                    let bytes = std::mem::take(bytes);
                    (!bytes.is_empty()).then(|| Ok(Frame::data(bytes)))
                }
                Chunk::Segments(reader) => ready!(reader.poll_next(cx)).map(|piece| {
                    piece.map(Frame::data).map_err(|_| Broken("a part of the stored body is gone"))
                }),
                Chunk::Flight(reader) => ready!(reader.poll(cx)),
            };
            match polled {
                Some(frame) => return Poll::Ready(Some(frame)),
                None => drop(self.chunks.pop_front()),
            }
        }
        Poll::Ready(None)
    }
}
